/** Lets at most so many events pass in each second. */
export class RateLimit {
  readonly #max: number;
  #left: number;
  #sinceMs = performance.now();

  constructor(perSecondMax: number) {
    this.#max = perSecondMax;
    this.#left = perSecondMax;
  }

  /** Takes one; answers whether it was within the limit. The clock is read only when the allowance is spent. */
  take(): boolean {
    if (this.#left > 0) {
      this.#left--;
      return true;
    }
    const nowMs = performance.now();
    if (nowMs - this.#sinceMs < 1_000) return false;
    this.#sinceMs = nowMs;
    this.#left = this.#max - 1;
    return true;
  }
}
