import type { Message } from "@bufbuild/protobuf";
import type { Ready } from "../pipe.ts";
import { CompressedMessage } from "./compressed-message.ts";
import type { RawMessage } from "./message-reader.ts";
import { messagesPerTurn, nextTurn } from "./turn.ts";

/** Read bytes that are given back to the peer at once while more is unread. */
const repaidBytes = 16_384;
const finished: IteratorResult<Message> = { done: true, value: undefined };

interface Queued {
  readonly raw: RawMessage;
  readonly sizeBytes: number;
}

interface Waiting {
  readonly resolve: (result: IteratorResult<Message>) => void;
  readonly reject: (error: unknown) => void;
}

/** Incoming messages of a stream, for one reader. What it has not read counts against the peer's window. */
export class MessageQueue implements AsyncIterableIterator<Message>, Ready<Message> {
  readonly #decode: (bytes: Uint8Array) => Message;
  readonly #consume: (bytes: number) => void;
  readonly #left: () => void;
  #queued: Queued[] = [];
  #first = 0;
  #unreadBytes = 0;
  /** Received bytes that the peer has not been given back, as messages of theirs are unread. */
  #owedBytes = 0;
  #readBytes = 0;
  /** Messages handed over since the reader waited last. */
  #inTurn = 0;
  #waiting: Waiting[] = [];
  #ended = false;
  #failed = false;
  #error: unknown = undefined;

  /** `consume` gives bytes back to the peer; `left` runs when the reader leaves before the end. */
  constructor(decode: (bytes: Uint8Array) => Message, consume: (bytes: number) => void, left: () => void) {
    this.#decode = decode;
    this.#consume = consume;
    this.#left = left;
  }

  /** Takes a message. */
  push(raw: RawMessage, sizeBytes: number): void {
    if (this.#ended) return;
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) {
      this.#settle(raw, waiting);
      return;
    }
    this.#queued.push({ raw, sizeBytes });
    this.#unreadBytes += sizeBytes;
  }

  /** Received bytes: given back at once while the reader keeps up. */
  received(bytes: number): void {
    if (this.#unreadBytes > 0 && !this.#ended) this.#owedBytes += bytes;
    else this.#consume(bytes);
  }

  /** Nothing follows. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const waiting of this.#waiting.splice(0)) waiting.resolve(finished);
  }

  /** Nothing follows, and why; what came before can still be read. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    const waiting = this.#waiting.splice(0);
    this.#failed = waiting.length === 0;
    for (const each of waiting) each.reject(error);
  }

  /** Drops what is unread. */
  discard(): void {
    this.#queued = [];
    this.#first = 0;
    this.#unreadBytes = 0;
    this.#repay(this.#owedBytes);
  }

  ready(): Message | undefined {
    const queued = this.#queued[this.#first];
    if (queued === undefined || queued.raw instanceof CompressedMessage) return undefined;
    if (++this.#inTurn > messagesPerTurn) return undefined;
    this.#drop(queued);
    return this.#decode(queued.raw);
  }

  next(): Promise<IteratorResult<Message>> {
    const queued = this.#queued[this.#first];
    if (queued !== undefined) {
      // A reader that never waits for anything else lets others in now and then.
      if (this.#inTurn > messagesPerTurn) return this.#nextInTurn();
      this.#drop(queued);
      return new Promise((resolve, reject) => this.#settle(queued.raw, { resolve, reject }));
    }
    if (this.#failed) {
      this.#failed = false;
      return Promise.reject(this.#error);
    }
    if (this.#ended) return Promise.resolve(finished);
    this.#inTurn = 0;
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<Message>> {
    if (!this.#ended) {
      this.#ended = true;
      for (const waiting of this.#waiting.splice(0)) waiting.resolve(finished);
      this.#left();
    }
    this.discard();
    this.#failed = false;
    return Promise.resolve(finished);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #nextInTurn(): Promise<IteratorResult<Message>> {
    await nextTurn();
    this.#inTurn = 0;
    return this.next();
  }

  /** Takes the first one out. */
  #drop(queued: Queued): void {
    this.#first++;
    if (this.#first === this.#queued.length) {
      this.#queued = [];
      this.#first = 0;
    } else if (this.#first > 1_024) {
      this.#queued = this.#queued.slice(this.#first);
      this.#first = 0;
    }
    this.#unreadBytes -= queued.sizeBytes;
    this.#readBytes += queued.sizeBytes;
    if (this.#unreadBytes === 0) this.#repay(this.#owedBytes);
    else if (this.#readBytes >= repaidBytes) this.#repay(Math.min(this.#owedBytes, this.#readBytes));
  }

  #repay(bytes: number): void {
    this.#readBytes = 0;
    if (bytes === 0) return;
    this.#owedBytes -= bytes;
    this.#consume(bytes);
  }

  #settle(raw: RawMessage, { resolve, reject }: Waiting): void {
    if (raw instanceof CompressedMessage) {
      raw
        .read(() => true)
        .then((bytes) => resolve({ done: false, value: this.#decode(bytes) }))
        .catch(reject);
      return;
    }
    try {
      resolve({ done: false, value: this.#decode(raw) });
    } catch (error) {
      reject(error);
    }
  }
}
