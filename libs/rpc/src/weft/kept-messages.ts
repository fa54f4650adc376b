import type { Stream } from "@weft/http2";
import { keptEncoded, sendMessage } from "./codec.ts";
import type { Encoded } from "./wire-writer.ts";

/** Bytes of a stream of requests that are kept until the peer answers: what was sent within a round trip. */
const keptBytesMax = 65_536;

interface Kept {
  readonly encoded: Encoded;
  readonly isCompressed: boolean;
}

/** The messages that were sent on a stream which its peer may yet refuse, to be sent again then. */
export class KeptMessages {
  #messages: Kept[] = [];
  #bytes = 0;

  /** Keeps a message; answers false where that would be too many. */
  add(encoded: Encoded, isCompressed: boolean): boolean {
    this.#bytes +=
      encoded instanceof Uint8Array ? encoded.length : encoded.reduce((sum, { length }) => sum + length, 0);
    if (this.#bytes > keptBytesMax) return false;
    // What was compressed has a buffer of its own.
    this.#messages.push({ encoded: isCompressed ? encoded : keptEncoded(encoded), isCompressed });
    return true;
  }

  /** Sends them all. They are too few to wait for the stream's buffer. */
  sendAll(stream: Stream): void {
    for (const { encoded, isCompressed } of this.#messages) sendMessage(stream, encoded, false, isCompressed);
  }
}
