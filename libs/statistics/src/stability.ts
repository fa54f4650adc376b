import { chiSquareQuantile } from "./chi-square.ts";
import type { ReferenceDistribution } from "./distribution.ts";

/** A window compared with its reference. All shares are of all rows, so each list sums to 1 - its missing share. */
export interface Stability {
  /** Population stability index, 0 and up. */
  readonly psi: number;
  /** PSI that no change exceeds with probability 0.01 at these counts. */
  readonly threshold: number;
  /** True where psi is above both the threshold and `DRIFT_MINIMUM`. */
  readonly drifted: boolean;
  /** Share of the window's rows without a value. */
  readonly missingRatio: number;
  readonly referenceShares: readonly number[];
  readonly currentShares: readonly number[];
}

/** PSI below which a change is too small to matter, however sure it is. */
export const DRIFT_MINIMUM = 0.1;
/** Probability of a false alarm, for one feature and one look. */
export const FALSE_ALARM = 0.01;

/**
 * Compares the rows of a window with a reference by the population stability index
 * `sum over bins of (current - reference) * ln(current / reference)`.
 *
 * Missing values are one more bin, so values that stop coming are drift. A bin that is empty on one side counts as half
 * a row on that side (a fixed floor would be too high for large windows and too low for small ones); a bin that is
 * empty on both sides is no bin. Without change `psi / (1/n + 1/m)` follows a chi-square distribution with one degree
 * of freedom fewer than bins (n rows in the window, m in the reference), which gives the threshold. With few rows a bin
 * the tail is heavier: at 10 rows a bin about 2 % of windows without change pass it.
 *
 * `counts` holds the window's rows by bin and, last, the rows without a value.
 */
export function compareWithReference(
  reference: ReferenceDistribution,
  referenceRows: number,
  counts: ArrayLike<number>,
): Stability {
  const bins = reference.shares.length;
  let rows = 0;
  for (let bin = 0; bin <= bins; bin++) {
    rows += counts[bin] ?? 0;
  }
  const referenceShares = reference.shares.map((share) => share * (1 - reference.missingRatio));
  const currentShares: number[] = [];
  let psi = 0;
  let usedBins = 0;
  for (let bin = 0; bin <= bins; bin++) {
    const expected = bin < bins ? (referenceShares[bin] ?? 0) : reference.missingRatio;
    const actual = rows === 0 ? 0 : (counts[bin] ?? 0) / rows;
    if (bin < bins) {
      currentShares.push(actual);
    }
    if (expected === 0 && actual === 0) {
      continue;
    }
    usedBins++;
    const p = expected === 0 ? 0.5 / referenceRows : expected;
    const q = actual === 0 ? 0.5 / rows : actual;
    psi += (q - p) * Math.log(q / p);
  }
  const threshold = (1 / rows + 1 / referenceRows) * quantile(usedBins - 1);
  return {
    psi,
    threshold,
    drifted: psi > threshold && psi > DRIFT_MINIMUM,
    missingRatio: (counts[bins] ?? 0) / rows,
    referenceShares,
    currentShares,
  };
}

const quantiles: number[] = [];

/** The quantile depends on the number of bins alone: at most 257 of them. */
function quantile(degreesOfFreedom: number): number {
  const known = quantiles[degreesOfFreedom];
  if (known !== undefined) {
    return known;
  }
  const computed = chiSquareQuantile(1 - FALSE_ALARM, degreesOfFreedom);
  quantiles[Math.max(0, degreesOfFreedom)] = computed;
  return computed;
}
