import { describe, expect, test } from "@jest/globals";
import { seededRandom } from "@weft/testkit";
import { DistinctSketch, distinctCode, distinctStandardError } from "./distinct-sketch.ts";
import {
  QuantileSketch,
  quantileBucketsMax,
  quantileCode,
  quantileRelativeError,
  quantileValue,
} from "./quantile-sketch.ts";
import type { Sketch } from "./sketch.ts";

const seed = Number(process.env.TEST_SEED ?? 7);

function packed(sketch: Sketch): Float64Array {
  const words = new Float64Array(sketch.packedWords());
  expect(sketch.pack(words, 0)).toBe(words.length);
  return words;
}

/** Spreads codes over sketches that are merged, packed, in another order. */
function merged<S extends Sketch>(create: () => S, codes: readonly number[], random: () => number): S {
  const parts = Array.from({ length: 5 }, create);
  for (const code of codes) parts[Math.floor(random() * 5)]?.add(code);
  const whole = create();
  for (const part of parts.sort(() => random() - 0.5)) whole.addPacked(packed(part), 0);
  return whole;
}

describe("a distinct sketch", () => {
  test.each([1, 10, 100, 1_000, 10_000, 200_000])("estimates %d within 4 standard errors", (count) => {
    const sketches = {
      integer: (i: number) => BigInt(i),
      large: (i: number) => 9_007_199_254_740_993n + 2n * BigInt(i),
      text: (i: number) => `user-${i}`,
      number: (i: number) => i / 7,
    };
    for (const [kind, value] of Object.entries(sketches)) {
      const sketch = new DistinctSketch();
      for (let i = 0; i < count; i++) sketch.add(distinctCode(value(i)));
      const error = Math.abs(sketch.estimate() - count) / count;
      if (error > 4 * distinctStandardError) expect({ kind, count, error }).toEqual({ kind, count, error: 0 });
    }
  });

  test("is the same bits whatever the order, repeats and merges; sparse and dense", () => {
    const random = seededRandom(seed);
    for (const count of [0, 1, 300, 511, 512, 513, 2_000, 50_000]) {
      const codes = Array.from({ length: count }, (_, i) => distinctCode(BigInt(i)));
      const direct = new DistinctSketch();
      for (const code of [...codes, ...codes.slice(0, 10)]) direct.add(code);
      const other = merged(() => new DistinctSketch(), codes, random);
      expect(packed(other)).toEqual(packed(direct));
      expect(other.estimate()).toBe(direct.estimate());
    }
  });

  test("an empty one estimates 0, and a cleared one is empty", () => {
    const sketch = new DistinctSketch();
    expect(sketch.estimate()).toBe(0);
    sketch.add(distinctCode("a"));
    sketch.add(Number.NaN);
    expect(sketch.estimate()).toBe(1);
    sketch.clear();
    expect(sketch.estimate()).toBe(0);
    expect(sketch.packedWords()).toBe(1);
  });
});

describe("a quantile sketch", () => {
  test("codes are in the order of the numbers, and values near them", () => {
    const random = seededRandom(seed);
    const numbers = Array.from({ length: 20_000 }, () => (random() - 0.5) * 2 ** Math.floor(random() * 1_800 - 900));
    numbers.push(0, -0, 1, -1, Number.MAX_VALUE, -Number.MAX_VALUE, 2 ** -1022, Number.MIN_VALUE, 5e-320);
    numbers.sort((a, b) => a - b);
    let before = Number.NEGATIVE_INFINITY;
    for (const number of numbers) {
      const code = quantileCode(number);
      expect(code).toBeGreaterThanOrEqual(before);
      before = code;
      const wanted = Math.abs(number) < 2 ** -1022 ? 0 : number;
      if (!(Math.abs(quantileValue(code) - wanted) <= quantileRelativeError * Math.abs(wanted)))
        expect({ number, value: quantileValue(code) }).toEqual({ number, value: wanted });
    }
    expect(quantileCode(Number.NaN)).toBeNaN();
  });

  test("is the same bits whatever the order and merges, and below its bound on buckets too", () => {
    const random = seededRandom(seed);
    for (const octaves of [1, 20, 200]) {
      const codes = Array.from({ length: 30_000 }, () =>
        quantileCode((random() < 0.3 ? -1 : 1) * 2 ** (random() * octaves)),
      );
      const direct = new QuantileSketch();
      for (const code of codes) direct.add(code);
      const other = merged(() => new QuantileSketch(), codes, random);
      expect(packed(other)).toEqual(packed(direct));
      expect(direct.packedWords()).toBeLessThanOrEqual(1 + 2 * quantileBucketsMax);
      for (const quantile of [0, 0.5, 0.99, 1]) expect(other.quantile(quantile)).toBe(direct.quantile(quantile));
      // The upper quantiles stay within the error even where the lowest buckets were taken together.
      const sorted = codes.toSorted((a, b) => a - b);
      expect(direct.quantile(0.99)).toBe(quantileValue(sorted[Math.floor(0.99 * 29_999)] ?? 0));
    }
  });

  test("an empty one has no quantile", () => {
    expect(new QuantileSketch().quantile(0.5)).toBeNaN();
  });
});
