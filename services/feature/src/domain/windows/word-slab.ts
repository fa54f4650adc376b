const slabBytes = 65_536;

/**
 * Hands out 8-byte aligned pieces of larger buffers, so that a small piece costs no allocation of its own. A piece is
 * never handed out twice; one piece that is kept keeps its whole buffer, so who keeps one for long keeps a copy.
 */
export class WordSlab {
  #buffer = new ArrayBuffer(0);
  #used = 0;

  /** Zeroed words. */
  take(words: number): Float64Array<ArrayBuffer> {
    const bytes = 8 * words;
    if (bytes > slabBytes >> 2) return new Float64Array(words);
    if (this.#used + bytes > this.#buffer.byteLength) {
      this.#buffer = new ArrayBuffer(slabBytes);
      this.#used = 0;
    }
    const piece = new Float64Array(this.#buffer, this.#used, words);
    this.#used += bytes;
    return piece;
  }
}
