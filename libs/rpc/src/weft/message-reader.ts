import type { WeftError } from "@weft/errors";
import { errors } from "../errors.ts";
import { CompressedMessage } from "./compressed-message.ts";

/** Bytes before each message: a flag, and the length in four bytes. */
export const prefixBytes = 5;
const firstBufferBytes = 65_536;
/**
 * Of a buffer that is too small: what has come bounds what is taken, and few bytes are copied twice. Memory that is not
 * written to is only promised by the system, too.
 */
const growth = 64;

/** A message as it came. */
export type RawMessage = Uint8Array | CompressedMessage;

/** Takes whole messages. */
export interface MessageSink {
  message(raw: RawMessage, sizeBytes: number): void;
}

/** Cuts messages out of the content of a stream. A message that lies whole in a chunk is a view of it. */
export class MessageReader {
  readonly #bytesMax: number;
  /** What `grpc-encoding` says. */
  readonly #encoding: string | undefined;
  /** The start of a prefix that the chunk's end cut. */
  #prefix: Buffer | undefined = undefined;
  #flag = 0;
  #prefixFill = 0;
  #buffer: Buffer | undefined = undefined;
  #fill = 0;
  #length = -1;
  /** Whether the chunk read last is still looked at, by a message that is a view of it. */
  keepsChunk = false;

  constructor(bytesMax: number, encoding: string | undefined) {
    this.#bytesMax = bytesMax;
    this.#encoding = encoding;
  }

  /** Bytes that have come of a message that is not whole. */
  get bufferedBytes(): number {
    return this.#length < 0 ? 0 : this.#fill;
  }

  /** Whether a message has begun and not ended. */
  get isPartial(): boolean {
    return this.#length >= 0 || this.#prefixFill > 0;
  }

  /** Reads content; answers the fault of the first message that cannot be taken. */
  read(chunk: Buffer, start: number, end: number, sink: MessageSink): WeftError | undefined {
    let at = start;
    this.keepsChunk = false;
    while (at < end) {
      if (this.#length < 0) {
        if (this.#prefixFill === 0 && end - at >= prefixBytes) {
          const length =
            (chunk[at + 1] as number) * 0x1000000 +
            (((chunk[at + 2] as number) << 16) | ((chunk[at + 3] as number) << 8) | (chunk[at + 4] as number));
          const flag = chunk[at] as number;
          const fault = this.#check(flag, length);
          if (fault !== undefined) return fault;
          at += prefixBytes;
          if (end - at >= length) {
            this.keepsChunk = true;
            this.#emit(chunk.subarray(at, at + length), flag, sink);
            at += length;
            continue;
          }
          this.#flag = flag;
          this.#begin(length);
        } else {
          this.#prefix ??= Buffer.alloc(prefixBytes);
          this.#prefix[this.#prefixFill++] = chunk[at++] as number;
          if (this.#prefixFill < prefixBytes) continue;
          this.#prefixFill = 0;
          const length = this.#prefix.readUInt32BE(1);
          this.#flag = this.#prefix[0] as number;
          const fault = this.#check(this.#flag, length);
          if (fault !== undefined) return fault;
          this.#begin(length);
        }
      }
      at += this.#gather(chunk, at, end);
      if (this.#fill === this.#length) {
        const bytes = this.#buffer?.subarray(0, this.#length) ?? new Uint8Array(0);
        this.#buffer = undefined;
        this.#length = -1;
        this.#emit(bytes, this.#flag, sink);
      }
    }
    return undefined;
  }

  #begin(length: number): void {
    this.#length = length;
    this.#fill = 0;
    // A length is only a promise: memory follows what has come.
    this.#buffer = length === 0 ? undefined : allocate(Math.min(length, firstBufferBytes));
  }

  #gather(chunk: Buffer, at: number, end: number): number {
    const take = Math.min(end - at, this.#length - this.#fill);
    if (take === 0 || this.#buffer === undefined) return 0;
    if (this.#fill + take > this.#buffer.length) {
      const larger = allocate(Math.min(this.#length, Math.max(this.#fill + take, this.#buffer.length * growth)));
      this.#buffer.copy(larger, 0, 0, this.#fill);
      this.#buffer = larger;
    }
    chunk.copy(this.#buffer, this.#fill, at, at + take);
    this.#fill += take;
    return take;
  }

  #check(flag: number, length: number): WeftError | undefined {
    if (length > this.#bytesMax) return errors.MESSAGE_TOO_LARGE({ sizeBytes: length, maxBytes: this.#bytesMax });
    if (flag === 0) return undefined;
    if (flag !== 1) return errors.FRAMING_MALFORMED({ why: `flag ${flag} before a message` });
    if (this.#encoding === undefined || this.#encoding === "identity")
      return errors.FRAMING_MALFORMED({ why: "a compressed message without grpc-encoding" });
    return undefined;
  }

  #emit(bytes: Uint8Array, flag: number, sink: MessageSink): void {
    sink.message(flag === 0 ? bytes : new CompressedMessage(bytes, this.#bytesMax), bytes.length + prefixBytes);
  }
}

/** Memory for a message: of Node's pool for small ones, of their own for large ones. */
function allocate(bytes: number): Buffer {
  return bytes < firstBufferBytes ? Buffer.allocUnsafe(bytes) : Buffer.allocUnsafeSlow(bytes);
}
