import type { Message } from "@bufbuild/protobuf";
import type { Stream } from "@weft/http2";
import { errors } from "../errors.ts";
import type { Pipe } from "../pipe.ts";
import { type Codec, sendMessage } from "./codec.ts";
import { type CompressionOptions, compress } from "./compression.ts";
import type { MessageMeter } from "./connection-meter.ts";
import type { KeptMessages } from "./kept-messages.ts";
import { messagesPerTurn, nextTurn } from "./turn.ts";
import type { Encoded } from "./wire-writer.ts";

/** The call whose messages a sender sends. */
export interface SenderOwner {
  /** Whether nothing more is to be sent. */
  readonly isOver: boolean;
  /** What counts the messages. */
  readonly messages: MessageMeter | undefined;
  /** Name of its method, for errors. */
  readonly method: string;
  /** Runs before each message is written. */
  beforeMessage(): void;
  /** The source has ended. */
  sourceEnded(): void;
  /** The source, or what it gave, has failed. */
  sourceFailed(error: unknown): void;
}

/**
 * Sends the messages of a source on a stream, no faster than the peer takes them. Until the peer has answered, or they are
 * too many, it keeps what it sent, so that a stream that was refused can be sent again on another.
 */
export class MessageSender {
  /** Undefined between a stream that was refused and the next. */
  #stream: Stream | undefined;
  #kept: KeptMessages | undefined;
  readonly #source: Pipe;
  readonly #codec: Codec;
  readonly #owner: SenderOwner;
  readonly #compression: CompressionOptions | undefined;
  #sent = 0;
  #stalled = false;
  readonly #resume = () => this.run();
  readonly #step = (step: IteratorResult<Message>) => this.#take(step);
  readonly #broke = (error: unknown) => this.#fail(error);

  /** `compression` where messages are to go compressed; `kept` where the stream may be refused. */
  constructor(
    stream: Stream,
    source: Pipe,
    codec: Codec,
    owner: SenderOwner,
    { compression, kept }: { readonly compression?: CompressionOptions | undefined; readonly kept?: KeptMessages },
  ) {
    this.#stream = stream;
    this.#kept = kept;
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

  /** The peer has begun with the stream: it will not refuse it any more. */
  accepted(): void {
    this.#kept = undefined;
  }

  /** The stream was refused. Answers whether all that was sent is kept, to be sent on another. */
  detach(): boolean {
    if (this.#kept === undefined) return false;
    this.#stream = undefined;
    return true;
  }

  /** Goes on with another stream, from the beginning. */
  attach(stream: Stream): void {
    this.#stream = stream;
    this.#kept?.sendAll(stream);
    this.wake();
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
    if (this.#kept?.add(encoded, isCompressed) === false) {
      this.#kept = undefined;
      if (this.#stream === undefined) throw errors.CONNECTION_LOST({ method: this.#owner.method });
    }
    if (this.#stream === undefined || !sendMessage(this.#stream, encoded, false, isCompressed)) {
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
