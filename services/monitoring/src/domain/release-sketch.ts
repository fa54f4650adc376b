import { compareWithReference, type Stability } from "@weft/statistics";
import { BucketedHistogram } from "./histogram.ts";
import type { PayloadNumbers } from "./payload.ts";
import type { PredictionLayout } from "./prediction.ts";
import type { Reference } from "./reference.ts";
import type { ModelParts, ReleaseParts } from "./release-parts.ts";

/** A feature or score compared. */
export interface ComparedDistribution extends Stability {
  /** Feature reference, or `score:<model>`. */
  readonly name: string;
  /** Model whose reference it was compared with. */
  readonly model: string;
  readonly edges: readonly number[];
  readonly currentCount: number;
  readonly referenceCount: number;
}

/** What a release's sketch says of a window. */
export interface ComparedWindow {
  readonly predictionCount: number;
  readonly distributions: readonly ComparedDistribution[];
}

/**
 * Histograms of everything one release predicted, over the bins of its models' references and in buckets of event time.
 * It covers rows of the log up to `cursor` and those after `until`; what lies between is still to be read from the log.
 */
export class ReleaseSketch {
  readonly parts: ReleaseParts;
  readonly until: number;
  cursor = 0;
  /** Questions that wait for it. */
  userCount = 0;
  readonly #bucketUs: number;
  readonly #rows: BucketedHistogram;
  readonly #features = new Map<string, FeatureSketch>();
  readonly #scores = new Map<string, ScoreSketch>();
  readonly #plans = new WeakMap<PredictionLayout, LayoutPlan>();

  constructor(parts: ReleaseParts, until: number, buckets: { readonly us: number; readonly max: number }) {
    this.parts = parts;
    this.until = until;
    this.#bucketUs = buckets.us;
    this.#rows = new BucketedHistogram([], buckets.max);
    for (const model of parts.models) {
      const { reference } = model;
      if (reference === undefined) {
        continue;
      }
      const columns = model.features.map((name) => reference.features[name]?.edges ?? []);
      const histogram = new BucketedHistogram(columns, buckets.max);
      this.#features.set(model.name, { model, reference, histogram });
      if (reference.scores !== undefined) {
        const scoreHistogram = new BucketedHistogram([reference.scores.edges], buckets.max);
        this.#scores.set(model.name, { model, reference, histogram: scoreHistogram });
      }
    }
  }

  /** True where a model of the release has a reference to compare with. */
  get hasReference(): boolean {
    return this.#features.size > 0;
  }

  get isComplete(): boolean {
    return this.cursor >= this.until;
  }

  /** Whether the row at this place of the log is counted. */
  covers(sequence: number): boolean {
    return sequence <= this.cursor || sequence > this.until;
  }

  /** Counts (1) or takes back (-1) a row. Answers false where its columns are not the model's: it counts as a row only. */
  count(
    layout: PredictionLayout,
    eventTimeUs: number,
    numbers: PayloadNumbers,
    payloadStart: number,
    by: 1 | -1,
  ): boolean {
    const plan = this.#plan(layout);
    const bucket = Math.floor(eventTimeUs / this.#bucketUs);
    this.#rows.count(bucket, numbers.float32, 0, by);
    const scoresStart = numbers.scoresStart(payloadStart);
    for (let i = 0; i < plan.scores.length; i++) {
      plan.scores[i]?.count(bucket, numbers.float64, scoresStart + i, by);
    }
    const featureCount = numbers.featureCount(payloadStart);
    if (plan.features === undefined || featureCount === 0) {
      return true;
    }
    if (plan.features.columnCount !== featureCount) {
      return false;
    }
    plan.features.count(bucket, numbers.float32, numbers.featuresStart(payloadStart), by);
    return true;
  }

  /** Compares the buckets that event times from `fromUs` to `toUs` (both inclusive) fall in. */
  compare(fromUs: number, toUs: number): ComparedWindow {
    const first = Math.floor(fromUs / this.#bucketUs);
    const last = Math.floor(toUs / this.#bucketUs);
    const distributions: ComparedDistribution[] = [];
    for (const { model, reference, histogram } of this.#features.values()) {
      const sum = histogram.sum(first, last);
      if (sum.rows === 0) {
        continue;
      }
      for (const [column, name] of model.features.entries()) {
        const distribution = reference.features[name];
        if (distribution !== undefined) {
          distributions.push({
            name,
            model: model.name,
            edges: distribution.edges,
            currentCount: sum.rows,
            referenceCount: reference.rows,
            ...compareWithReference(distribution, reference.rows, sum.column(column)),
          });
        }
      }
    }
    for (const { model, reference, histogram } of this.#scores.values()) {
      const sum = histogram.sum(first, last);
      if (sum.rows > 0 && reference.scores !== undefined) {
        distributions.push({
          name: `score:${model.name}`,
          model: model.name,
          edges: reference.scores.edges,
          currentCount: sum.rows,
          referenceCount: reference.rows,
          ...compareWithReference(reference.scores, reference.rows, sum.column(0)),
        });
      }
    }
    return { predictionCount: this.#rows.sum(first, last).rows, distributions };
  }

  #plan(layout: PredictionLayout): LayoutPlan {
    let plan = this.#plans.get(layout);
    if (plan === undefined) {
      plan = {
        features: this.#features.get(layout.featureModel)?.histogram,
        scores: layout.models.map(({ model }) => this.#scores.get(model)?.histogram),
      };
      this.#plans.set(layout, plan);
    }
    return plan;
  }
}

interface FeatureSketch {
  readonly model: ModelParts;
  readonly reference: Reference;
  readonly histogram: BucketedHistogram;
}

type ScoreSketch = FeatureSketch;

interface LayoutPlan {
  readonly features: BucketedHistogram | undefined;
  readonly scores: readonly (BucketedHistogram | undefined)[];
}
