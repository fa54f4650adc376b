/** Names the decision of a score: the first threshold from the top that it reaches. Thresholds may come in any order. */
export class DecisionTable {
  readonly #thresholds: Float64Array;
  readonly #decisions: readonly string[];

  constructor(decisions: readonly { readonly decision: string; readonly atLeast: number }[]) {
    const descending = [...decisions].sort((one, other) => other.atLeast - one.atLeast);
    this.#thresholds = Float64Array.from(descending, ({ atLeast }) => atLeast);
    this.#decisions = descending.map(({ decision }) => decision);
  }

  /** The decision; the lowest one for a score below every threshold. */
  decide(score: number): string {
    const last = this.#decisions.length - 1;
    for (let index = 0; index < last; index++)
      if (score >= (this.#thresholds[index] ?? 0)) return this.#decisions[index] ?? "";
    return this.#decisions[last] ?? "";
  }
}
