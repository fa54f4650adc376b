/** Of the window, consumed before a round trip is measured: small traffic measures nothing. */
const measuredShare = 1 / 4;
/** Of the window, consumed within a round trip: from here on the window is what limits the peer. */
const limitingShare = 1 / 2;

/**
 * Grows the window that a peer gets on each stream to what the path carries and the readers take: when half of it is
 * consumed within one round trip, timed by a PING, it doubles. A reader that does not keep up gets no larger window. After
 * the estimator of bandwidth and delay in grpc-go, which counts what has come where this counts what was read.
 */
export class PathWindow {
  /** The window, in bytes. */
  bytes: number;
  readonly #bytesMax: number;
  #consumed = 0;
  #timing = false;

  constructor(bytes: number, bytesMax: number) {
    this.bytes = bytes;
    this.#bytesMax = bytesMax;
  }

  /** Counts bytes that a reader has taken; answers whether a PING is to be sent, whose answer `answered` wants to hear of. */
  consumed(bytes: number): boolean {
    if (this.bytes >= this.#bytesMax) return false;
    this.#consumed += bytes;
    if (this.#timing || this.#consumed < this.bytes * measuredShare) return false;
    this.#timing = true;
    this.#consumed = 0;
    return true;
  }

  /** The PING was answered: answers whether the window has grown. */
  answered(): boolean {
    if (!this.#timing) return false;
    this.#timing = false;
    const grows = this.#consumed >= this.bytes * limitingShare;
    this.#consumed = 0;
    if (grows) this.bytes = Math.min(this.#bytesMax, this.bytes * 2);
    return grows;
  }
}
