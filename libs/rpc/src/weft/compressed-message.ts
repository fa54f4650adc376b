import { gunzip } from "node:zlib";
import { errors } from "../errors.ts";

/** Decompressions at once in the process: what they hold is bounded by it, and the runtime has no more threads for them. */
const runningMax = 4;
/** Decompressions that wait for their turn; more fail, as they are more than the process can do in time. */
const waitingMax = 1_000;

let running = 0;
const waiting: (() => void)[] = [];

/** A message as it came, compressed with gzip. It takes the room of what came until somebody reads it. */
export class CompressedMessage {
  readonly #bytes: Uint8Array;
  readonly #bytesMax: number;

  /** `bytesMax` bounds what comes out. */
  constructor(bytes: Uint8Array, bytesMax: number) {
    this.#bytes = bytes;
    this.#bytesMax = bytesMax;
  }

  /**
   * Decompresses off the event loop, when its turn has come. Fails with MESSAGE_TOO_LARGE, FRAMING_MALFORMED, or
   * DECOMPRESSIONS_WAITING where too many wait. Nothing is done where `isWanted` says at its turn that nobody reads it any more.
   */
  async read(isWanted: () => boolean): Promise<Uint8Array> {
    if (running >= runningMax) {
      if (waiting.length >= waitingMax) throw errors.DECOMPRESSIONS_WAITING({ waitingMax });
      // Whoever ends hands its turn over: the count stays.
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else running++;
    try {
      return isWanted() ? await inflate(this.#bytes, this.#bytesMax) : new Uint8Array(0);
    } finally {
      const next = waiting.shift();
      if (next === undefined) running--;
      else next();
    }
  }
}

function inflate(bytes: Uint8Array, bytesMax: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    gunzip(bytes, { maxOutputLength: bytesMax }, (cause, result) => {
      if (cause === null) resolve(result);
      else if ("code" in cause && cause.code === "ERR_BUFFER_TOO_LARGE")
        reject(errors.MESSAGE_TOO_LARGE({ sizeBytes: bytesMax, maxBytes: bytesMax }, { cause }));
      else reject(errors.FRAMING_MALFORMED({ why: "a message that is not gzip" }, { cause }));
    });
  });
}
