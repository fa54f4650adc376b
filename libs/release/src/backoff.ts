/** Bounds of the waits between tries. */
export interface BackoffLimits {
  readonly minMs: number;
  readonly maxMs: number;
}

/**
 * How long to wait after this many failures in a row (from 1): doubles from `minMs` up to `maxMs`, of which a random half
 * is taken off so that many callers do not come back together. `random` answers from 0 to below 1.
 */
export function backoffMs(failures: number, limits: BackoffLimits, random: () => number): number {
  const whole = Math.min(limits.maxMs, limits.minMs * 2 ** Math.min(failures - 1, 30));
  return whole * (1 - random() / 2);
}
