import type { Message } from "@bufbuild/protobuf";
import { CallScope, type CancelReason } from "./context.ts";
import { deadlines, type Timed } from "./deadline-wheel.ts";
import { cancelError, errors } from "./errors.ts";
import { type Call, isStream, type Payload } from "./interceptor.ts";
import type { Invoke, Router, Transport } from "./transport.ts";

/**
 * Carries calls to a router in the same process. It keeps the promises of the wire: the peer has a context of its own
 * with the same identity, deadline and metadata; cancelling reaches it; a stream is pulled, so that neither side runs
 * ahead of the other. Messages need no copy here: the client copies what it is given into whole messages, and the router
 * what handlers answer. `find` answers undefined while the peer does not take calls.
 */
export function createMemoryTransport(find: () => Router | undefined): Transport {
  return {
    invoke(call) {
      const router = find();
      if (router === undefined) return Promise.reject(errors.SERVICE_UNAVAILABLE({ method: call.method.name }));
      const bound = router.find(call.method.path);
      if (bound === undefined) return Promise.reject(errors.METHOD_UNIMPLEMENTED({ method: call.method.name }));
      return new Promise((resolve, reject) => new MemoryCall(call, resolve, reject).invoke(bound.invoke));
    },
    close() {},
  };
}

/** One call between two contexts: the caller's, which ends early at its deadline, and the peer's, which ends with it. */
class MemoryCall implements Timed {
  readonly deadlineMs: number;
  wheelSlot = -1;
  wheelPlace = 0;
  readonly #call: Call;
  readonly #inner: CallScope;
  readonly #resolve: (answer: Payload) => void;
  readonly #reject: (error: unknown) => void;
  readonly #unsubscribe: () => void;

  constructor(call: Call, resolve: (answer: Payload) => void, reject: (error: unknown) => void) {
    const { context } = call;
    this.#call = call;
    this.#resolve = resolve;
    this.#reject = reject;
    this.deadlineMs = context.deadlineMs;
    this.#inner = new CallScope(context);
    this.#unsubscribe = context.onCancel((reason) => this.#cancelled(reason));
    deadlines.add(this);
  }

  invoke(invoke: Invoke): void {
    const { method, request } = this.#call;
    if (this.#inner.cancelled !== undefined) return;
    const context = this.#inner;
    invoke({ method, context, request: isStream(request) ? this.#guard(request, context) : request }).then(
      (answer) => {
        if (isStream(answer)) this.#resolve(this.#answers(answer));
        else {
          this.#finish();
          this.#resolve(answer);
        }
      },
      (error) => {
        this.#finish();
        context.cancel("cancelled");
        this.#reject(error);
      },
    );
  }

  expired(): void {
    this.#call.context.cancel("deadline");
  }

  #cancelled(reason: CancelReason): void {
    deadlines.remove(this);
    this.#inner.cancel(reason);
    this.#reject(cancelError(reason, this.#call.method.name));
  }

  #finish(): void {
    deadlines.remove(this);
    this.#unsubscribe();
  }

  async *#answers(answers: AsyncIterable<Message>): AsyncIterable<Message> {
    try {
      yield* this.#guard(answers, this.#call.context);
    } finally {
      this.#inner.cancel("cancelled");
      this.#finish();
    }
  }

  /** Pulls a stream until it ends or the call does; a reader that leaves ends the stream. */
  async *#guard(stream: AsyncIterable<Message>, context: CallScope): AsyncIterable<Message> {
    const iterator = stream[Symbol.asyncIterator]();
    let done = false;
    try {
      while (true) {
        const step = await untilCancelled(context, this.#call.method.name, () => iterator.next());
        if (step.done === true) {
          done = true;
          return;
        }
        yield step.value;
      }
    } finally {
      // Not awaited: a stream that hangs must not hold up its reader.
      if (!done) void iterator.return?.().catch?.(() => {});
    }
  }
}

/** Settles like `work`, or fails when the call ends early, whichever comes first. */
function untilCancelled<T>(context: CallScope, method: string, work: () => Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const unsubscribe = context.onCancel((reason) => reject(cancelError(reason, method)));
    if (context.cancelled !== undefined) return;
    work().then(
      (value) => {
        unsubscribe();
        resolve(value);
      },
      (error) => {
        unsubscribe();
        reject(error);
      },
    );
  });
}
