import type { Socket } from "node:net";
import { Duplex } from "node:stream";

/** A socket without a network: bytes are fed in by hand, in the chunks that the test wants. */
export class FakeSocket extends Duplex {
  readonly written: Buffer[] = [];

  setNoDelay(): this {
    return this;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.written.push(Buffer.from(chunk));
    done();
  }

  /** Hands a chunk to whoever reads, at once; one that has paused gets it when it reads on. */
  feed(chunk: Buffer): void {
    if (this.isPaused() || this.readableLength > 0) this.push(chunk);
    else this.emit("data", chunk);
  }

  /** As the type that connections take; they use no more of it than is here. */
  asSocket(): Socket {
    return this as unknown as Socket;
  }
}
