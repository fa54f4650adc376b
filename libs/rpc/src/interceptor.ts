import type { Message } from "@bufbuild/protobuf";
import type { CallScope } from "./context.ts";
import type { MethodInfo } from "./method.ts";

/** A request, or a stream of them. */
export type Payload = Message | AsyncIterable<Message>;

/** One call on its way through the interceptors. Streaming sides hold an AsyncIterable, unary ones a message. */
export interface Call {
  readonly method: MethodInfo;
  readonly context: CallScope;
  readonly request: Payload;
}

/** Passes a call on. Rejects before the first message; a stream's later failure comes from its iterable. */
export type Next = (call: Call) => Promise<Payload>;

/** Wraps what comes after it. The same interceptors run on every transport. */
export type Interceptor = (next: Next) => Next;

/** Wraps `last` in the interceptors, the first one outermost. */
export function intercept(interceptors: readonly Interceptor[], last: Next): Next {
  let next = last;
  for (let index = interceptors.length - 1; index >= 0; index--) next = interceptors[index]?.(next) ?? next;
  return next;
}

/** Whether a payload is a stream. */
export function isStream(payload: Payload): payload is AsyncIterable<Message> {
  return Symbol.asyncIterator in payload;
}
