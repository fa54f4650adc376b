import { connect, type Socket } from "node:net";
import { clientHello, type ReadFrame, readFrames } from "./frames.ts";

/** A client that sends whatever bytes it is told to, and keeps the frames that come back. */
export class RawPeer {
  readonly socket: Socket;
  readonly frames: ReadFrame[] = [];
  closed = false;
  #rest = Buffer.alloc(0);
  readonly #changed = new Set<() => void>();

  constructor(port: number, hello: Uint8Array = clientHello) {
    this.socket = connect({ port, host: "127.0.0.1", noDelay: true });
    this.socket.on("error", () => {});
    this.socket.on("data", (chunk: Buffer) => {
      const { frames, rest } = readFrames(Buffer.concat([this.#rest, chunk]));
      this.#rest = Buffer.from(rest);
      this.frames.push(...frames.map((one) => ({ ...one, payload: Buffer.from(one.payload) })));
      this.#notify();
    });
    this.socket.on("close", () => {
      this.closed = true;
      this.#notify();
    });
    if (hello.length > 0) this.socket.write(hello);
  }

  send(...frames: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(frames));
  }

  /** Resolves when the condition holds; rejects with what came when it does not in time. */
  until(condition: (peer: this) => boolean, timeoutMs = 5_000): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#changed.delete(check);
        const came = this.frames.map(({ type, flags, id, payload }) => [
          type,
          flags,
          id,
          payload.toString("hex").slice(0, 64),
        ]);
        reject(new Error(`not in ${timeoutMs} ms; came: ${JSON.stringify(came)}, closed: ${this.closed}`));
      }, timeoutMs);
      const check = () => {
        if (!condition(this)) return;
        clearTimeout(timer);
        this.#changed.delete(check);
        resolve();
      };
      this.#changed.add(check);
      check();
    });
  }

  /** Error code of the GOAWAY that came last; undefined where none came. */
  get goAwayCode(): number | undefined {
    return this.frames.findLast(({ type }) => type === 7)?.payload.readUInt32BE(4);
  }

  destroy(): void {
    this.socket.destroy();
  }

  #notify(): void {
    for (const check of [...this.#changed]) check();
  }
}
