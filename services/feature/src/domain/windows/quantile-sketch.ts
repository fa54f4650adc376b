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

/** A packed bucket: its code, made positive, in the upper bits, and its count, below 2^34, in the lower. */
const countSpan = 2 ** 34;
const codeOffset = 2 ** 17;
/** Values added one by one that wait to be merged. */
const looseMax = 512;

/**
 * DDSketch (Masson, Rim, Lee 2019) with buckets that are linear inside an octave: counts by bucket, so that sketches add
 * up. Where there are more than `quantileBucketsMax` buckets the lowest are taken together, which leaves the upper
 * quantiles as they are; what is left does not depend on when that happened. Packed: words that follow, then a word a
 * bucket, in order.
 */
export class QuantileSketch implements Sketch {
  /** Buckets in order, packed. */
  #buckets = new Float64Array(64);
  #size = 0;
  /** What the next merge writes into. */
  #spare = new Float64Array(64);
  readonly #loose = new Float64Array(looseMax);
  #looseCount = 0;

  clear(): void {
    this.#size = 0;
    this.#looseCount = 0;
  }

  add(code: number): void {
    if (Number.isNaN(code)) return;
    if (this.#looseCount === looseMax) this.#settle();
    this.#loose[this.#looseCount++] = (code + codeOffset) * countSpan + 1;
  }

  addPacked(words: Float64Array, from: number): number {
    const end = from + 1 + (words[from] ?? 0);
    this.#merge(words, from + 1, end);
    return end;
  }

  packedWords(): number {
    this.#settle();
    return 1 + this.#size;
  }

  pack(words: Float64Array, to: number): number {
    this.#settle();
    words[to] = this.#size;
    words.set(this.#buckets.subarray(0, this.#size), to + 1);
    return to + 1 + this.#size;
  }

  /** The value at place floor(quantile * (count - 1)) of the values in order, within `quantileRelativeError`; NaN where there is none. */
  quantile(quantile: number): number {
    this.#settle();
    let total = 0;
    for (let i = 0; i < this.#size; i++) total += (this.#buckets[i] ?? 0) % countSpan;
    let after = Math.floor(quantile * (total - 1)) + 1;
    for (let i = 0; i < this.#size; i++) {
      const bucket = this.#buckets[i] ?? 0;
      after -= bucket % countSpan;
      if (after <= 0) return quantileValue(Math.floor(bucket / countSpan) - codeOffset);
    }
    return Number.NaN;
  }

  /** Merges what was added one by one. */
  #settle(): void {
    if (this.#looseCount === 0) return;
    const loose = this.#loose.subarray(0, this.#looseCount).sort();
    this.#looseCount = 0;
    this.#merge(loose, 0, loose.length);
  }

  /** Merges packed buckets that are in order; where some have the same code, they are added up. */
  #merge(others: Float64Array, from: number, end: number): void {
    const own = this.#buckets;
    const most = this.#size + end - from;
    if (this.#spare.length < most) this.#spare = new Float64Array(2 * most);
    const into = this.#spare;
    let size = 0;
    let code = -1;
    let at = 0;
    let other = from;
    while (at < this.#size || other < end) {
      const a = at < this.#size ? (own[at] ?? 0) : Number.POSITIVE_INFINITY;
      const b = other < end ? (others[other] ?? 0) : Number.POSITIVE_INFINITY;
      const bucket = Math.min(a, b);
      if (a <= b) at++;
      else other++;
      const next = Math.floor(bucket / countSpan);
      if (next === code) into[size - 1] = (into[size - 1] ?? 0) + (bucket - next * countSpan);
      else into[size++] = bucket;
      code = next;
    }
    this.#spare = own;
    this.#buckets = into;
    this.#size = size;
    this.#bound();
  }

  /** Takes the lowest buckets together where there are too many. */
  #bound(): void {
    const excess = this.#size - quantileBucketsMax;
    if (excess <= 0) return;
    const buckets = this.#buckets;
    let taken = 0;
    for (let i = 0; i < excess; i++) taken += (buckets[i] ?? 0) % countSpan;
    buckets.copyWithin(0, excess, this.#size);
    this.#size = quantileBucketsMax;
    buckets[0] = (buckets[0] ?? 0) + taken;
  }
}
