import type { Message } from "@bufbuild/protobuf";
import { CallScope } from "./context.ts";
import { armDeadline, untilCancelled } from "./deadline.ts";
import { cancelError, errors } from "./errors.ts";
import { type Call, isStream, type Payload } from "./interceptor.ts";
import type { Router, Transport } from "./transport.ts";

/**
 * Carries calls to a router in the same process. It keeps the promises of the wire: the peer has a context of its own
 * with the same identity, deadline and metadata; cancelling reaches it; a stream is pulled, so that neither side runs
 * ahead of the other. Messages need no copy here: the client copies what it is given into whole messages, and the router
 * what handlers answer. `find` answers undefined while the peer does not take calls.
 */
export function createMemoryTransport(find: () => Router | undefined): Transport {
  return {
    async invoke(call) {
      const router = find();
      if (router === undefined) throw errors.SERVICE_UNAVAILABLE({ method: call.method.name });
      const bound = router.find(call.method.path);
      if (bound === undefined) throw errors.METHOD_UNIMPLEMENTED({ method: call.method.name });
      const outer = call.context;
      const inner = new CallScope(outer);
      const disarm = armDeadline(outer);
      const stop = outer.onCancel((reason) => inner.cancel(reason));
      const finish = () => {
        disarm();
        stop();
      };
      const toError = (reason: "cancelled" | "deadline") => cancelError(reason, call.method.name);
      let answer: Payload;
      try {
        const request = isStream(call.request) ? guard(call.request, inner, toError) : call.request;
        answer = await untilCancelled(outer, toError, () =>
          bound.invoke({ method: bound.method, context: inner, request }),
        );
      } catch (error) {
        inner.cancel("cancelled");
        finish();
        throw error;
      }
      if (isStream(answer)) return answerStream(answer, call, inner, toError, finish);
      finish();
      return answer;
    },
    close() {},
  };
}

async function* answerStream(
  answers: AsyncIterable<Message>,
  call: Call,
  inner: CallScope,
  toError: (reason: "cancelled" | "deadline") => Error,
  finish: () => void,
): AsyncIterable<Message> {
  try {
    yield* guard(answers, call.context, toError);
  } finally {
    inner.cancel("cancelled");
    finish();
  }
}

/** Pulls a stream until it ends or the call does; a reader that leaves ends the stream. */
async function* guard(
  stream: AsyncIterable<Message>,
  context: CallScope,
  toError: (reason: "cancelled" | "deadline") => Error,
): AsyncIterable<Message> {
  const iterator = stream[Symbol.asyncIterator]();
  let done = false;
  try {
    while (true) {
      const step = await untilCancelled(context, toError, () => iterator.next());
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
