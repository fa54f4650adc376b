import type { Message } from "@bufbuild/protobuf";
import type { Stream } from "@weft/http2";
import type { Pipe } from "../pipe.ts";
import { type Codec, sendMessage } from "./codec.ts";
import { type CompressionOptions, compress } from "./compression.ts";
import type { MessageMeter } from "./connection-meter.ts";
import { messagesPerTurn, nextTurn } from "./turn.ts";
import type { Encoded } from "./wire-writer.ts";

/** The call whose messages a sender sends. */
export interface SenderOwner {
  /** Whether nothing more is to be sent. */
  readonly isOver: boolean;
  /** What counts the messages. */
  readonly messages: MessageMeter | undefined;
  /** Runs before each message is written. */
  beforeMessage(): void;
  /** The source has ended. */
  sourceEnded(): void;
  /** The source, or what it gave, has failed. */
  sourceFailed(error: unknown): void;
}

/** Sends the messages of a source on a stream, no faster than the peer takes them. */
export class MessageSender {
  readonly #stream: Stream;
  readonly #source: Pipe;
  readonly #codec: Codec;
  readonly #owner: SenderOwner;
  readonly #compression: CompressionOptions | undefined;
  #sent = 0;
  #stalled = false;
  readonly #resume = () => this.run();
  readonly #step = (step: IteratorResult<Message>) => this.#take(step);
  readonly #broke = (error: unknown) => this.#fail(error);

  /** `compression` where the peer takes compressed messages and they are wanted. */
  constructor(stream: Stream, source: Pipe, codec: Codec, owner: SenderOwner, compression?: CompressionOptions) {
    this.#stream = stream;
    this.#source = source;
    this.#codec = codec;
    this.#owner = owner;
    this.#compression = compression;
  }

  /** Sends what the source has ready, then waits for more. */
  run(): void {
    const source = this.#source;
    try {
      while (!this.#owner.isOver) {
        const message = source.ready();
        if (message === undefined) {
          source.wait().then(this.#step, this.#broke);
          return;
        }
        if (!this.#send(message)) return;
      }
      this.leave();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The stream takes more, or the call is over. */
  wake(): void {
    if (!this.#stalled) return;
    this.#stalled = false;
    this.run();
  }

  /** Tells the source that nobody takes more of it. Not awaited: a source that hangs holds nothing up. */
  leave(): void {
    this.#source.return().catch(() => {});
  }

  #take(step: IteratorResult<Message>): void {
    if (this.#owner.isOver) this.leave();
    else if (step.done === true) this.#owner.sourceEnded();
    else {
      try {
        if (!this.#send(step.value)) return;
      } catch (error) {
        this.#fail(error);
        return;
      }
      this.run();
    }
  }

  /** Sends a message; answers whether the next may follow at once. */
  #send(message: Message): boolean {
    const encoded = this.#codec.encode(message);
    const compressing = this.#compression === undefined ? undefined : compress(encoded, this.#compression);
    if (compressing === undefined) return this.#write(encoded, false);
    compressing
      .then(({ bytes, isCompressed }) => {
        if (this.#owner.isOver) this.leave();
        else if (this.#write(bytes, isCompressed)) this.run();
      })
      .catch(this.#broke);
    return false;
  }

  #write(encoded: Encoded, isCompressed: boolean): boolean {
    this.#owner.beforeMessage();
    this.#owner.messages?.sent.add(1);
    if (!sendMessage(this.#stream, encoded, false, isCompressed)) {
      this.#stalled = true;
      return false;
    }
    if (++this.#sent % messagesPerTurn !== 0) return true;
    void nextTurn().then(this.#resume);
    return false;
  }

  #fail(error: unknown): void {
    if (this.#owner.isOver) return;
    this.leave();
    this.#owner.sourceFailed(error);
  }
}
