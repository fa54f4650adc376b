import type { WeftError } from "@weft/errors";

/** Lets a bounded number of callers in; the next is refused at once. */
export class Gate {
  readonly #limit: number;
  readonly #refuse: (limit: number) => WeftError;
  #inside = 0;

  constructor(limit: number, refuse: (limit: number) => WeftError) {
    this.#limit = limit;
    this.#refuse = refuse;
  }

  /** Goes in; the answer leaves again, once. */
  enter(): () => void {
    if (this.#inside >= this.#limit) throw this.#refuse(this.#limit);
    this.#inside++;
    let left = false;
    return () => {
      if (!left) this.#inside--;
      left = true;
    };
  }
}
