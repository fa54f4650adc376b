import type { DescService, Message } from "@bufbuild/protobuf";
import { CallScope } from "./context.ts";
import { copierOf } from "./copy-message.ts";
import type { CallOptions, Client } from "./handlers.ts";
import { type Call, type Interceptor, intercept, isStream, type Next, type Payload } from "./interceptor.ts";
import { type MethodInfo, methodsOf } from "./method.ts";
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
          return singleMessage(await next({ method, context: scope.context, request: completeEach(inits, complete) }));
        } finally {
          scope.close();
        }
      };
    case "server_streaming":
      return (init: object, options: CallOptions = {}) => openStream(method, next, complete(init), options);
    case "bidi_streaming":
      return (inits: AsyncIterable<object>, options: CallOptions = {}) =>
        openStream(method, next, completeEach(inits, complete), options);
  }
}

async function* completeEach(
  inits: AsyncIterable<object>,
  complete: (init: object) => Message,
): AsyncIterable<Message> {
  for await (const init of inits) yield complete(init);
}

/** The answers of a streaming call. Leaving the loop early cancels the call. */
async function* openStream(
  method: MethodInfo,
  next: Next,
  request: Payload,
  options: CallOptions,
): AsyncIterable<Message> {
  const scope = openScope(options);
  let finished = false;
  try {
    const answers = await next({ method, context: scope.context, request } satisfies Call);
    if (!isStream(answers)) throw new TypeError(`${method.name} answered a single message`);
    for await (const answer of answers) yield answer;
    finished = true;
  } finally {
    if (!finished) scope.context.cancel("cancelled");
    scope.close();
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
