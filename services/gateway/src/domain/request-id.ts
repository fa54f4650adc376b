/**
 * Makes request ids: 128 bits as UUID text of version 7, from the time of the process' start, a random part a process
 * and a counter, so that one costs a few additions and ids of a process sort by the order in which they were made.
 */
export class RequestIds {
  readonly #prefix: string;
  #counter = 0;

  /** `startMs`: milliseconds since 1970. `random`: 4 random bytes or more. */
  constructor(startMs: number, random: Uint8Array) {
    const time = Math.floor(startMs).toString(16).padStart(12, "0").slice(-12);
    const hex = Buffer.from(random.subarray(0, 4)).toString("hex").padEnd(8, "0");
    const variant = (8 + (Number.parseInt(hex[3] ?? "0", 16) & 3)).toString(16);
    this.#prefix = `${time.slice(0, 8)}-${time.slice(8)}-7${hex.slice(0, 3)}-${variant}${hex.slice(4, 7)}-`;
  }

  next(): string {
    this.#counter = (this.#counter + 1) % 0x1000000000000;
    return this.#prefix + this.#counter.toString(16).padStart(12, "0");
  }
}
