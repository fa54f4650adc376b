import type { Stream } from "./stream.ts";

/**
 * The open streams of a connection by id. A Map would do, but one that loses as many entries as it gains makes a new table
 * every few of them, and each old table points to the next: one that has grown old keeps every later one, and the streams
 * that they knew, alive until the next full collection. Ids come in order, so an open table has hardly a collision.
 */
export class StreamTable {
  #slots: (Stream | undefined)[] = new Array(32).fill(undefined);
  #mask = 31;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): Stream | undefined {
    const slots = this.#slots;
    for (let slot = (id >>> 1) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const stream = slots[slot];
      if (stream === undefined || stream.id === id) return stream;
    }
  }

  /** Adds a stream that is not there yet. */
  add(stream: Stream): void {
    if (this.#size * 2 >= this.#slots.length) this.#grow();
    this.#place(stream);
    this.#size++;
  }

  /** Takes a stream out, if it is there. */
  delete(id: number): void {
    const slots = this.#slots;
    const mask = this.#mask;
    let hole = (id >>> 1) & mask;
    for (; slots[hole]?.id !== id; hole = (hole + 1) & mask) if (slots[hole] === undefined) return;
    this.#size--;
    // What was pushed on by collisions moves back, so that no search ends early at the hole.
    for (let slot = (hole + 1) & mask; ; slot = (slot + 1) & mask) {
      const stream = slots[slot];
      if (stream === undefined) break;
      const home = (stream.id >>> 1) & mask;
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
      slots[hole] = stream;
      hole = slot;
    }
    slots[hole] = undefined;
  }

  /** Every stream, as it is now. */
  values(): Stream[] {
    return this.#slots.filter((stream) => stream !== undefined);
  }

  #place(stream: Stream): void {
    let slot = (stream.id >>> 1) & this.#mask;
    while (this.#slots[slot] !== undefined) slot = (slot + 1) & this.#mask;
    this.#slots[slot] = stream;
  }

  #grow(): void {
    const streams = this.values();
    this.#slots = new Array(this.#slots.length * 2).fill(undefined);
    this.#mask = this.#slots.length - 1;
    for (const stream of streams) this.#place(stream);
  }
}
