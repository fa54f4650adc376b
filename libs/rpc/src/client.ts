import type { DescService, Message } from "@bufbuild/protobuf";
import { CallScope } from "./context.ts";
import { copierOf } from "./copy-message.ts";
import type { CallOptions, Client } from "./handlers.ts";
import { type Interceptor, intercept, isStream, type Next, type Payload } from "./interceptor.ts";
import { type MethodInfo, methodsOf } from "./method.ts";
import { type Pipe, pipe, type StreamEnd } from "./pipe.ts";
import { singleMessage, type Transport } from "./transport.ts";

/** Creates the client of a service over a transport, behind interceptors. */
export function createClient<S extends DescService>(
  service: S,
  transport: Transport,
  interceptors: readonly Interceptor[],
): Client<S> {
  const next = intercept(interceptors, (call) => transport.invoke(call));
  const client: Record<string, unknown> = {};
  for (const method of methodsOf(service)) client[method.descriptor.localName] = callerOf(method, next);
  return client as Client<S>;
}

function callerOf(method: MethodInfo, next: Next): unknown {
  const complete = copierOf(method.input);
  switch (method.kind) {
    case "unary":
      return async (init: object, options: CallOptions = {}) => {
        const scope = openScope(options);
        try {
          return singleMessage(await next({ method, context: scope.context, request: complete(init) }));
        } finally {
          scope.close();
        }
      };
    case "client_streaming":
      return async (inits: AsyncIterable<object>, options: CallOptions = {}) => {
        const scope = openScope(options);
        try {
          return singleMessage(await next({ method, context: scope.context, request: pipe(inits, { map: complete }) }));
        } finally {
          scope.close();
        }
      };
    case "server_streaming":
      return (init: object, options: CallOptions = {}) => new AnswerStream(method, next, complete(init), options);
    case "bidi_streaming":
      return (inits: AsyncIterable<object>, options: CallOptions = {}) =>
        new AnswerStream(method, next, pipe(inits, { map: complete }), options);
  }
}

const finished: IteratorResult<Message> = { done: true, value: undefined };

/** The answers of a streaming call, which begins when the first is asked for. Leaving the loop early cancels the call. */
class AnswerStream implements AsyncIterableIterator<Message> {
  readonly #method: MethodInfo;
  readonly #next: Next;
  readonly #request: Payload;
  readonly #options: CallOptions;
  #scope: ReturnType<typeof openScope> | undefined = undefined;
  #opening: Promise<Pipe> | undefined = undefined;
  #answers: Pipe | undefined = undefined;
  #left = false;

  constructor(method: MethodInfo, next: Next, request: Payload, options: CallOptions) {
    this.#method = method;
    this.#next = next;
    this.#request = request;
    this.#options = options;
  }

  next(): Promise<IteratorResult<Message>> {
    if (this.#answers !== undefined) return this.#answers.next();
    if (this.#left) return Promise.resolve(finished);
    this.#opening ??= this.#open();
    return this.#opening.then((answers) => answers.next());
  }

  async return(): Promise<IteratorResult<Message>> {
    if (this.#answers !== undefined) return this.#answers.return();
    if (!this.#left) {
      this.#left = true;
      this.#close("left");
    }
    return finished;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #open(): Promise<Pipe> {
    const method = this.#method;
    const scope = openScope(this.#options);
    this.#scope = scope;
    try {
      const answers = await this.#next({ method, context: scope.context, request: this.#request });
      if (!isStream(answers)) throw new TypeError(`${method.name} answered a single message`);
      const opened = pipe(answers, { ended: (how) => this.#close(how) });
      this.#answers = opened;
      if (this.#left) void opened.return().catch(() => {});
      return opened;
    } catch (error) {
      this.#left = true;
      this.#close("failed");
      throw error;
    }
  }

  #close(how: StreamEnd): void {
    const scope = this.#scope;
    this.#scope = undefined;
    if (how !== "finished") scope?.context.cancel("cancelled");
    scope?.close();
  }
}

/** The caller's side of a call: identity and deadline from the options and the parent, cancelled with either. */
function openScope(options: CallOptions): { readonly context: CallScope; close(): void } {
  const parent = options.parent;
  const own = options.timeoutMs === undefined ? Number.POSITIVE_INFINITY : Date.now() + options.timeoutMs;
  const inherited = parent?.deadlineMs ?? Number.POSITIVE_INFINITY;
  const context = new CallScope({
    requestId: options.requestId ?? parent?.requestId ?? "",
    tenant: options.tenant ?? parent?.tenant ?? "",
    priority: options.priority ?? parent?.priority ?? 0,
    release: options.release ?? parent?.release ?? "",
    arm: options.arm ?? parent?.arm ?? "",
    deadlineMs: Math.min(own, inherited),
    ...(options.metadata === undefined ? {} : { metadata: options.metadata }),
    ...(parent === undefined ? {} : { trace: parent.trace }),
  });
  context.compresses = options.compress;
  const unsubscribe = parent?.onCancel((reason) => context.cancel(reason));
  const signal = options.signal;
  const abort = signal === undefined ? undefined : () => context.cancel("cancelled");
  if (signal !== undefined && abort !== undefined) {
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  }
  return {
    context,
    close() {
      unsubscribe?.();
      if (signal !== undefined && abort !== undefined) signal.removeEventListener("abort", abort);
    },
  };
}
