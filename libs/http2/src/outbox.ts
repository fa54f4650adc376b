import type { Socket } from "node:net";

const slabBytes = 65_536;
/** Content of up to this size is copied where it is written; larger content is sent from where it lies. */
export const copiedBytesMax = 16_384;

/**
 * What a connection sends, gathered over a turn of the event loop and written to the socket at once. Frames are written
 * in place: `reserve` makes room in `slab`, the caller writes at `at` and moves it on.
 */
export class Outbox {
  slab: Buffer = Buffer.allocUnsafeSlow(slabBytes);
  at = 0;
  /** Changes whenever what was written before `at` is out of reach: sent, or followed by a part. */
  epoch = 0;
  /** Where the bytes begin that no part holds yet. */
  #start = 0;
  #parts: Buffer[] = [];
  #partBytes = 0;
  #scheduled = false;
  readonly #socket: Socket;
  readonly #flush: () => void;
  readonly #flushed: (bytes: number) => void;

  /** `flushed` runs after each write, with the bytes that it had. */
  constructor(socket: Socket, flushed: (bytes: number) => void) {
    this.#socket = socket;
    this.#flushed = flushed;
    this.#flush = () => {
      if (this.#scheduled) this.flush();
    };
  }

  /** Bytes that have not left the process. */
  get pendingBytes(): number {
    return this.#partBytes + this.at - this.#start + this.#socket.writableLength;
  }

  /** Makes room for `bytes` at `at`. */
  reserve(bytes: number): Buffer {
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(this.#flush);
    }
    if (this.slab.length - this.at < bytes) {
      this.#seal();
      this.epoch++;
      this.slab = Buffer.allocUnsafeSlow(Math.max(slabBytes, bytes));
      this.at = 0;
      this.#start = 0;
    }
    return this.slab;
  }

  /** Sends bytes that do not change until they have left. */
  append(bytes: Uint8Array): void {
    const length = bytes.length;
    if (length <= copiedBytesMax) {
      this.reserve(length).set(bytes, this.at);
      this.at += length;
      return;
    }
    this.reserve(0);
    this.#seal();
    this.epoch++;
    this.#parts.push(Buffer.from(bytes.buffer, bytes.byteOffset, length));
    this.#partBytes += length;
  }

  /** Writes what was gathered. */
  flush(): void {
    this.#scheduled = false;
    this.epoch++;
    const socket = this.#socket;
    if (socket.destroyed || socket.writableEnded) {
      this.#parts = [];
      this.#partBytes = 0;
      this.at = this.#start;
      return;
    }
    const bytes = this.#partBytes + this.at - this.#start;
    if (this.#parts.length === 0) {
      if (this.at > this.#start) socket.write(this.slab.subarray(this.#start, this.at));
    } else {
      this.#seal();
      const parts = this.#parts;
      this.#parts = [];
      this.#partBytes = 0;
      socket.cork();
      for (const part of parts) socket.write(part);
      socket.uncork();
    }
    // The kernel has it all: the slab is free again.
    if (socket.writableLength === 0) this.at = 0;
    else if (this.slab.length - this.at < slabBytes >> 2) {
      this.slab = Buffer.allocUnsafeSlow(slabBytes);
      this.at = 0;
    }
    this.#start = this.at;
    this.#flushed(bytes);
  }

  #seal(): void {
    if (this.at === this.#start) return;
    this.#parts.push(this.slab.subarray(this.#start, this.at));
    this.#partBytes += this.at - this.#start;
    this.#start = this.at;
  }
}
