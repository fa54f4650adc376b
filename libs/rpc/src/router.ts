import type { DescService, Message } from "@bufbuild/protobuf";
import type { CallContext } from "./context.ts";
import { copierOf } from "./copy-message.ts";
import type { Handlers } from "./handlers.ts";
import { type Interceptor, intercept, isStream, type Next } from "./interceptor.ts";
import { type MethodInfo, methodsOf } from "./method.ts";
import { pipe } from "./pipe.ts";
import type { Invoke, Router } from "./transport.ts";

type AnyHandler = (request: unknown, context: CallContext) => unknown;

/** Binds handlers to methods, behind interceptors. */
export class ServiceRouter implements Router {
  readonly #interceptors: readonly Interceptor[];
  readonly #bound = new Map<string, { readonly method: MethodInfo; readonly invoke: Invoke }>();
  readonly #services: DescService[] = [];

  constructor(interceptors: readonly Interceptor[]) {
    this.#interceptors = interceptors;
  }

  /** Serves a service. Throws TypeError where a method has no handler or the service is served already. */
  serve<S extends DescService>(service: S, handlers: Handlers<S>): void {
    if (this.#services.includes(service)) throw new TypeError(`${service.typeName} is served already`);
    this.#services.push(service);
    for (const method of methodsOf(service)) {
      const handler = (handlers as Record<string, AnyHandler | undefined>)[method.descriptor.localName];
      if (handler === undefined) throw new TypeError(`${method.name} has no handler`);
      this.#bound.set(method.path, { method, invoke: intercept(this.#interceptors, lastStep(method, handler)) });
    }
  }

  find(path: string) {
    return this.#bound.get(path);
  }

  methods(): readonly MethodInfo[] {
    return [...this.#bound.values()].map(({ method }) => method);
  }

  /** Every served service. */
  services(): readonly DescService[] {
    return this.#services;
  }
}

/** Calls the handler and completes what it answers into whole messages. */
function lastStep(method: MethodInfo, handler: AnyHandler): Next {
  const complete = copierOf(method.output);
  if (method.kind === "unary" || method.kind === "client_streaming")
    return async (call) => complete((await handler(call.request, call.context)) as object);
  return async (call) => {
    const answers = handler(call.request, call.context) as AsyncIterable<Message>;
    if (!isStream(answers)) throw new TypeError("the handler must answer an async iterable");
    return pipe(answers, { map: complete });
  };
}
