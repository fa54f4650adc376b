import type { Sketch } from "./sketch.ts";

/** Buckets of one octave, as bits of the mantissa. */
const octaveBits = 6;
const bucketsPerOctave = 1 << octaveBits;
/** Code of the bucket of the smallest normal magnitude, 2^-1022; anything smaller counts as 0. */
const leastCode = bucketsPerOctave;

/** Most buckets of a sketch; the lowest are taken together beyond. 2,048 buckets of one sign span 32 octaves. */
export const quantileBucketsMax = 2_048;

/** Greatest relative error of a quantile's magnitude. */
export const quantileRelativeError = 1 / (2 * bucketsPerOctave);

const bits = new DataView(new ArrayBuffer(8));

/**
 * Code of the bucket that holds a number; codes are ordered as the numbers are. The exponent and the first bits of the
 * mantissa make it, so that no logarithm rounds differently anywhere. NaN for NaN.
 */
export function quantileCode(value: number): number {
  if (Number.isNaN(value)) return Number.NaN;
  bits.setFloat64(0, Math.abs(value));
  const code = bits.getUint32(0) >>> (20 - octaveBits);
  if (code < leastCode) return 0;
  return value < 0 ? -code : code;
}

/** The number that stands for a bucket: the one whose relative distance to both ends is the same. */
export function quantileValue(code: number): number {
  if (code === 0) return 0;
  const low = edgeOf(Math.abs(code));
  const high = edgeOf(Math.abs(code) + 1);
  // 2 * low * high / (low + high), without running over.
  const value = Number.isFinite(high) ? (2 * low) / (low / high + 1) : low;
  return code < 0 ? -value : value;
}

function edgeOf(code: number): number {
  bits.setUint32(0, code << (20 - octaveBits));
  bits.setUint32(4, 0);
  return bits.getFloat64(0);
}

/**
 * DDSketch (Masson, Rim, Lee 2019) with buckets that are linear inside an octave: counts by bucket, so that sketches add
 * up. Where there are more than `quantileBucketsMax` buckets the lowest are taken together, which leaves the upper
 * quantiles as they are; what is left does not depend on when that happened. Packed: words that follow, then code and
 * count of each bucket, in order.
 */
export class QuantileSketch implements Sketch {
  readonly #counts = new Map<number, number>();
  #total = 0;

  clear(): void {
    this.#counts.clear();
    this.#total = 0;
  }

  add(code: number): void {
    if (!Number.isNaN(code)) this.#add(code, 1);
  }

  addPacked(words: Float64Array, from: number): number {
    const end = from + 1 + (words[from] ?? 0);
    for (let at = from + 1; at < end; at += 2) this.#add(words[at] ?? 0, words[at + 1] ?? 0);
    return end;
  }

  packedWords(): number {
    return 1 + 2 * Math.min(this.#counts.size, quantileBucketsMax);
  }

  pack(words: Float64Array, to: number): number {
    let at = to + 1;
    for (const [code, count] of this.#buckets()) {
      words[at] = code;
      words[at + 1] = count;
      at += 2;
    }
    words[to] = at - to - 1;
    return at;
  }

  /** The value at place floor(quantile * (count - 1)) of the values in order, within `quantileRelativeError`; NaN where there is none. */
  quantile(quantile: number): number {
    let after = Math.floor(quantile * (this.#total - 1)) + 1;
    for (const [code, count] of this.#buckets()) {
      after -= count;
      if (after <= 0) return quantileValue(code);
    }
    return Number.NaN;
  }

  #add(code: number, count: number): void {
    this.#counts.set(code, (this.#counts.get(code) ?? 0) + count);
    this.#total += count;
  }

  /** Buckets in order, bounded. */
  #buckets(): [number, number][] {
    const sorted = [...this.#counts].sort(([a], [b]) => a - b);
    const excess = sorted.length - quantileBucketsMax;
    if (excess <= 0) return sorted;
    const kept = sorted.slice(excess);
    const lowest = kept[0];
    if (lowest !== undefined) for (let i = 0; i < excess; i++) lowest[1] += sorted[i]?.[1] ?? 0;
    return kept;
  }
}
