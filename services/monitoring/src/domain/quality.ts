/** Scores of one model beside the truth, for rows whose truth is known. */
export interface LabelledScores {
  readonly scores: Float64Array;
  readonly labels: Float64Array;
}

/** How well scores agree with the truth. */
export interface Quality {
  readonly labelledCount: number;
  /** Area under the ROC curve; absent where labels are not 0 and 1, or all alike. */
  readonly auc?: number;
  /** Mean of (score - label)^2; absent without rows. */
  readonly brierScore?: number;
}

/** Computes both statistics in O(n log n). */
export function quality({ scores, labels }: LabelledScores): Quality {
  const count = scores.length;
  if (count === 0) {
    return { labelledCount: 0 };
  }
  let squares = 0;
  for (let i = 0; i < count; i++) {
    const error = (scores[i] as number) - (labels[i] as number);
    squares += error * error;
  }
  const auc = areaUnderRoc(scores, labels);
  const brierScore = squares / count;
  return auc === undefined ? { labelledCount: count, brierScore } : { labelledCount: count, auc, brierScore };
}

/**
 * Share of (positive, negative) pairs in which the positive has the greater score, ties as one half (Mann-Whitney U).
 * Undefined where a label is neither 0 nor 1, or where there is one class only.
 */
export function areaUnderRoc(scores: Float64Array, labels: Float64Array): number | undefined {
  let positiveCount = 0;
  for (const label of labels) {
    if (label === 1) {
      positiveCount++;
    } else if (label !== 0) {
      return undefined;
    }
  }
  const negativeCount = labels.length - positiveCount;
  if (positiveCount === 0 || negativeCount === 0) {
    return undefined;
  }
  const positives = new Float64Array(positiveCount);
  const negatives = new Float64Array(negativeCount);
  let p = 0;
  let n = 0;
  for (let i = 0; i < labels.length; i++) {
    if (labels[i] === 1) {
      // + 0 turns -0 into 0: typed arrays sort them apart, and they are a tie.
      positives[p++] = (scores[i] as number) + 0;
    } else {
      negatives[n++] = (scores[i] as number) + 0;
    }
  }
  positives.sort();
  negatives.sort();
  let below = 0;
  let notAbove = 0;
  let pairs = 0;
  for (const score of positives) {
    while (below < negativeCount && (negatives[below] as number) < score) {
      below++;
    }
    while (notAbove < negativeCount && (negatives[notAbove] as number) <= score) {
      notAbove++;
    }
    pairs += (below + notAbove) / 2;
  }
  return pairs / (positiveCount * negativeCount);
}

/** Collects rows in arrays that grow by doubling. */
export class LabelledScoresCollector {
  #scores = new Float64Array(1024);
  #labels = new Float64Array(1024);
  #count = 0;

  add(score: number, label: number): void {
    if (this.#count === this.#scores.length) {
      this.#scores = grown(this.#scores);
      this.#labels = grown(this.#labels);
    }
    this.#scores[this.#count] = score;
    this.#labels[this.#count] = label;
    this.#count++;
  }

  collected(): LabelledScores {
    return { scores: this.#scores.subarray(0, this.#count), labels: this.#labels.subarray(0, this.#count) };
  }
}

function grown(from: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const to = new Float64Array(from.length * 2);
  to.set(from);
  return to;
}
