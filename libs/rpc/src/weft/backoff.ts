/** Growing waits between attempts. */
export interface Backoff {
  /** Before the second attempt, milliseconds. */
  readonly firstMs: number;
  /** Longest, before jitter, milliseconds. */
  readonly maxMs: number;
}

const factor = 1.6;
const jitter = 0.2;

/** The wait after so many attempts that failed before, 20 % more or less (gRPC's connection backoff). */
export function backoffMs({ firstMs, maxMs }: Backoff, attempts: number, random: () => number): number {
  return Math.min(maxMs, firstMs * factor ** attempts) * (1 + jitter * (2 * random() - 1));
}
