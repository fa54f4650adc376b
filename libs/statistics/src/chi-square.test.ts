import { expect, test } from "@jest/globals";
import { chiSquareCdf, chiSquareQuantile } from "./chi-square.ts";

// SciPy 1.17.1: python -c "from scipy.stats import chi2
// print([[df, p, float(chi2.ppf(p, df))] for p in (.5, .95, .99, .999) for df in (1, 2, 3, 5, 9, 10, 19, 50, 100)])"
const scipy: readonly (readonly [number, number, number])[] = [
  [1, 0.5, 0.454936423119572],
  [2, 0.5, 1.386294361119891],
  [3, 0.5, 2.3659738843753377],
  [5, 0.5, 4.351460191095526],
  [9, 0.5, 8.342832692252955],
  [10, 0.5, 9.34181776559197],
  [19, 0.5, 18.337652896756474],
  [50, 0.5, 49.33493673397683],
  [100, 0.5, 99.33412923598846],
  [1, 0.95, 3.841458820694124],
  [2, 0.95, 5.991464547107979],
  [3, 0.95, 7.814727903251179],
  [5, 0.95, 11.070497693516351],
  [9, 0.95, 16.918977604620448],
  [10, 0.95, 18.307038053275146],
  [19, 0.95, 30.14352720564616],
  [50, 0.95, 67.5048065495412],
  [100, 0.95, 124.34211340400407],
  [1, 0.99, 6.6348966010212145],
  [2, 0.99, 9.21034037197618],
  [3, 0.99, 11.344866730144373],
  [5, 0.99, 15.08627246938899],
  [9, 0.99, 21.665994333461924],
  [10, 0.99, 23.209251158954356],
  [19, 0.99, 36.19086912927004],
  [50, 0.99, 76.1538912490127],
  [100, 0.99, 135.80672317102676],
  [1, 0.999, 10.827566170662733],
  [2, 0.999, 13.815510557964274],
  [3, 0.999, 16.26623619623813],
  [5, 0.999, 20.515005652432873],
  [9, 0.999, 27.877164871256568],
  [10, 0.999, 29.58829844507442],
  [19, 0.999, 43.82019596451753],
  [50, 0.999, 86.66081519040317],
  [100, 0.999, 149.44925277903886],
];

test("the chi-square quantile is SciPy's to nine digits", () => {
  for (const [degreesOfFreedom, probability, expected] of scipy) {
    const actual = chiSquareQuantile(probability, degreesOfFreedom);
    expect({ degreesOfFreedom, probability, ok: Math.abs(actual / expected - 1) < 1e-9, actual }).toMatchObject({
      ok: true,
    });
    expect(chiSquareCdf(expected, degreesOfFreedom)).toBeCloseTo(probability, 10);
  }
});

test("edges: no degrees of freedom is 0, a probability outside (0, 1) is refused, 256 degrees converge", () => {
  expect(chiSquareQuantile(0.99, 0)).toBe(0);
  expect(chiSquareQuantile(0.99, -1)).toBe(0);
  expect(() => chiSquareQuantile(1, 3)).toThrow(RangeError);
  expect(() => chiSquareQuantile(0, 3)).toThrow(RangeError);
  // SciPy 1.17.1: chi2.ppf(.99, 256)
  expect(chiSquareQuantile(0.99, 256)).toBeCloseTo(311.56034312693504, 6);
});
