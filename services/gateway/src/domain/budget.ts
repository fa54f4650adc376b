/** Least time that a call to a peer is worth, in milliseconds. */
export const callMs = 1;

/**
 * Splits a deadline over the stages of a pipeline. A stage gets its own budget while all that are still to run fit; else
 * what is left is shared in proportion to their budgets, so that a slow stage never takes a later one's time, and what a
 * fast one leaves goes to the later ones.
 */
export class DeadlineBudget {
  readonly #budgetsMs: readonly number[];
  /** Sum of the budgets from a stage to the last. */
  readonly #restMs: readonly number[];
  readonly #answerMs: number;

  /** `answerMs`: time kept back for the fallback and the answer, at most a fifth of the deadline. */
  constructor(budgetsMs: readonly number[], answerMs: number) {
    this.#budgetsMs = budgetsMs;
    this.#restMs = budgetsMs.map((_, stage) => budgetsMs.slice(stage).reduce((sum, budget) => sum + budget, 0));
    this.#answerMs = answerMs;
  }

  /** The moment at which the stages must be over, for a deadline `totalMs` after `startMs`. */
  endMs(startMs: number, totalMs: number): number {
    return startMs + totalMs - Math.min(this.#answerMs, totalMs / 5);
  }

  /** Greatest time that a stage may take now, in milliseconds; below `callMs` it is not worth a start. */
  timeoutMs(stage: number, endMs: number, nowMs: number): number {
    const availableMs = endMs - nowMs;
    if (availableMs <= 0) return 0;
    const ownMs = this.#budgetsMs[stage] ?? 0;
    const restMs = this.#restMs[stage] ?? 0;
    return restMs <= availableMs ? ownMs : (availableMs * ownMs) / restMs;
  }
}
