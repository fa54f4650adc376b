import type { Message } from "@bufbuild/protobuf";

/** A stream that can hand over what has come already, without a promise a message. */
export interface Ready<T> {
  /** The next message, or undefined where it must be waited for, or where none follows: `next` tells. Throws what `next` would. */
  ready(): T | undefined;
}

/** How a stream came to its end: by itself, by a failure, or because its reader left. */
export type StreamEnd = "finished" | "failed" | "left";

/** What is done to a stream on its way. All of it is optional. */
export interface Stage {
  /** Answers what goes on in a message's place. */
  map?(message: never): Message;
  /** Answers what goes on in a failure's place. */
  failed?(error: unknown): unknown;
  /** Runs once, whichever way the stream ends; `error` is that of a failure. */
  ended?(how: StreamEnd, error: unknown): void;
}

const finished: IteratorResult<Message> = { done: true, value: undefined };

/**
 * A stream with stages. An async generator a stage would do the same, for several promises a message and stage; here all
 * stages of a stream are run over a message at once, and what the source holds ready passes without waiting.
 */
export class Pipe implements AsyncIterableIterator<Message>, Ready<Message> {
  readonly #origin: AsyncIterable<unknown>;
  readonly #stages: readonly Stage[];
  #source: AsyncIterator<unknown> | undefined = undefined;
  #ready: Ready<unknown> | undefined = undefined;
  #over = false;
  readonly #took = (step: IteratorResult<unknown>) => this.#take(step);
  readonly #broke = (error: unknown): never => {
    throw this.#end("failed", error);
  };

  /** The source is not touched before the first message is asked for. */
  constructor(origin: AsyncIterable<unknown>, stages: readonly Stage[]) {
    this.#origin = origin;
    this.#stages = stages;
  }

  /** The stream with one more stage, after its others. Only one of the two can be read. */
  with(stage: Stage): Pipe {
    return new Pipe(this.#origin, [...this.#stages, stage]);
  }

  ready(): Message | undefined {
    if (this.#over) return undefined;
    if (this.#source === undefined) this.#open();
    if (this.#ready === undefined) return undefined;
    let message: unknown;
    try {
      message = this.#ready.ready();
    } catch (error) {
      throw this.#end("failed", error);
    }
    return message === undefined ? undefined : this.#map(message);
  }

  next(): Promise<IteratorResult<Message>> {
    if (this.#over) return Promise.resolve(finished);
    try {
      const message = this.ready();
      if (message !== undefined) return Promise.resolve({ done: false, value: message });
      return this.wait();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** The next message of which `ready` had none. */
  wait(): Promise<IteratorResult<Message>> {
    const source = this.#source;
    if (this.#over || source === undefined) return Promise.resolve(finished);
    let step: Promise<IteratorResult<unknown>>;
    try {
      // An iterator that others wrote may answer what is no promise.
      step = Promise.resolve(source.next());
    } catch (error) {
      return Promise.reject(this.#end("failed", error));
    }
    return step.then(this.#took, this.#broke);
  }

  return(): Promise<IteratorResult<Message>> {
    if (this.#over) return Promise.resolve(finished);
    this.#end("left", undefined);
    return this.#leave();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #open(): void {
    let source: AsyncIterator<unknown>;
    try {
      source = this.#origin[Symbol.asyncIterator]();
    } catch (error) {
      throw this.#end("failed", error);
    }
    this.#source = source;
    if ("ready" in source && typeof source.ready === "function") this.#ready = source as unknown as Ready<unknown>;
  }

  #take(step: IteratorResult<unknown>): IteratorResult<Message> {
    if (this.#over) return finished;
    if (step.done === true) {
      this.#end("finished", undefined);
      return finished;
    }
    return { done: false, value: this.#map(step.value) };
  }

  #map(message: unknown): Message {
    let mapped = message;
    try {
      for (const stage of this.#stages) if (stage.map !== undefined) mapped = stage.map(mapped as never);
    } catch (error) {
      const failure = this.#end("failed", error);
      this.#leave().catch(() => {});
      throw failure;
    }
    return mapped as Message;
  }

  /** Tells every stage, the innermost first; answers what goes on in the error's place. */
  #end(how: StreamEnd, error: unknown): unknown {
    this.#over = true;
    let failure = error;
    for (const stage of this.#stages) {
      if (how === "failed" && stage.failed !== undefined) failure = stage.failed(failure);
      stage.ended?.(how, failure);
    }
    return failure;
  }

  #leave(): Promise<IteratorResult<Message>> {
    const left = this.#source?.return?.();
    return left === undefined ? Promise.resolve(finished) : Promise.resolve(left).then(() => finished);
  }
}

/** A stream with one more stage. */
export function pipe(stream: AsyncIterable<unknown>, stage: Stage): Pipe {
  return stream instanceof Pipe ? stream.with(stage) : new Pipe(stream, [stage]);
}
