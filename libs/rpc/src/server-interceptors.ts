import { Code, codeName, type WeftError } from "@weft/errors";
import type { Telemetry } from "@weft/telemetry";
import { cancelError, toWeftError } from "./errors.ts";
import { type Call, type Interceptor, isStream, type Next, type Payload } from "./interceptor.ts";
import { pipe } from "./pipe.ts";

/** Runs `ended` when a call has ended, whether unary or stream; failures arrive as WeftError. */
async function observe(call: Call, next: Next, ended: (error: WeftError | undefined) => void): Promise<Payload> {
  const finish = (error: unknown) => ended(toWeftError(error, call.method.name));
  let answer: Payload;
  try {
    answer = await next(call);
  } catch (error) {
    finish(error);
    throw error;
  }
  if (isStream(answer))
    return pipe(answer, {
      ended(how, error) {
        if (how === "failed") finish(error);
        else ended(undefined);
      },
    });
  ended(undefined);
  return answer;
}

/** Codes that are the server's fault, not the caller's. */
const faults = new Set<Code>([Code.Unknown, Code.Internal, Code.DataLoss]);

/** Turns whatever a handler throws into a WeftError, and logs the cause of a fault: once, here. */
export function errorBoundary({ logger }: Telemetry): Interceptor {
  const translate = (error: unknown, call: Call): WeftError => {
    const translated = toWeftError(error, call.method.name);
    if (faults.has(translated.code))
      logger.error(
        {
          method: call.method.name,
          requestId: call.context.requestId,
          reason: translated.reason,
          err: translated.cause ?? translated,
        },
        "call failed",
      );
    return translated;
  };
  return (next) => async (call) => {
    let answer: Payload;
    try {
      answer = await next(call);
    } catch (error) {
      throw translate(error, call);
    }
    return isStream(answer) ? pipe(answer, { failed: (error) => translate(error, call) }) : answer;
  };
}

/** Runs each call in a server span that continues the caller's trace. */
export function traceServer({ tracer }: Telemetry): Interceptor {
  return (next) => (call) => {
    const span = tracer.start(call.method.name, "server", call.context.trace);
    call.context.trace = span.context;
    if (!span.context.sampled) return next(call);
    span.set("rpc.system.name", "grpc");
    span.set("rpc.method", call.method.name);
    span.set("weft.request_id", call.context.requestId);
    return observe(call, next, (error) => {
      span.set("rpc.response.status_code", codeName(error?.code ?? Code.Ok));
      span.end(error?.reason);
    });
  };
}

/** Counts and times each call: `rpc_server_call_seconds` by method and status code, and calls in flight. */
export function measureServer({ metrics }: Telemetry): Interceptor {
  return measure(
    metrics.histogram({ name: "rpc_server_call_seconds", help: "Time to answer a call", labels: ["method", "code"] }),
    metrics.gauge({ name: "rpc_server_calls_in_flight", help: "Calls being answered", labels: ["method"] }),
  );
}

/** Counts and times each call that this process makes: `rpc_client_call_seconds` by method and status code. */
export function measureClient({ metrics }: Telemetry): Interceptor {
  return measure(
    metrics.histogram({
      name: "rpc_client_call_seconds",
      help: "Time until a call was answered",
      labels: ["method", "code"],
    }),
    metrics.gauge({ name: "rpc_client_calls_in_flight", help: "Calls waiting for an answer", labels: ["method"] }),
  );
}

type Histogram = ReturnType<Telemetry["metrics"]["histogram"]>;
type Gauge = ReturnType<Telemetry["metrics"]["gauge"]>;

function measure(seconds: Histogram, inFlight: Gauge): Interceptor {
  const series = new Map<
    string,
    { readonly ok: ReturnType<Histogram["with"]>; readonly flying: ReturnType<Gauge["with"]> }
  >();
  return (next) => (call) => {
    const method = call.method.name;
    let own = series.get(method);
    if (own === undefined) {
      own = { ok: seconds.with({ method, code: "OK" }), flying: inFlight.with({ method }) };
      series.set(method, own);
    }
    const { ok, flying } = own;
    const start = performance.now();
    flying.add(1);
    return observe(call, next, (error) => {
      flying.add(-1);
      const elapsed = (performance.now() - start) / 1000;
      if (error === undefined) ok.observe(elapsed);
      else seconds.observe(elapsed, { method, code: codeName(error.code) });
    });
  };
}

/** Writes one debug line a call: method, code, time and request id; never the content. */
export function accessLog({ logger }: Telemetry): Interceptor {
  return (next) => (call) => {
    if (!logger.isLevelEnabled("debug")) return next(call);
    const start = performance.now();
    return observe(call, next, (error) => {
      const { requestId, tenant, release } = call.context;
      const durationMs = Math.round((performance.now() - start) * 1000) / 1000;
      const outcome = { code: codeName(error?.code ?? Code.Ok), reason: error?.reason };
      logger.debug({ method: call.method.name, ...outcome, durationMs, requestId, tenant, release }, "call");
    });
  };
}

/** Refuses work whose deadline has passed or whose caller has gone, before it is begun. */
export function enforceDeadline(): Interceptor {
  return (next) => (call) => {
    const { context, method } = call;
    if (context.cancelled !== undefined) return Promise.reject(cancelError(context.cancelled, method.name));
    if (context.deadlineMs !== Number.POSITIVE_INFINITY && context.deadlineMs <= Date.now())
      return Promise.reject(cancelError("deadline", method.name));
    return next(call);
  };
}

/** What every server runs, outermost first. */
export function serverInterceptors(telemetry: Telemetry): readonly Interceptor[] {
  return [
    traceServer(telemetry),
    measureServer(telemetry),
    accessLog(telemetry),
    errorBoundary(telemetry),
    enforceDeadline(),
  ];
}

/** Runs each call in a client span and hands its trace to the peer. */
export function traceClient({ tracer }: Telemetry): Interceptor {
  return (next) => (call) => {
    const parent = call.context.trace;
    // A call outside any request starts no trace of its own: watches and background reads would flood the traces.
    if (!parent.sampled) return next(call);
    const span = tracer.start(call.method.name, "client", parent);
    call.context.trace = span.context;
    return observe(call, next, (error) => {
      span.set("rpc.response.status_code", codeName(error?.code ?? Code.Ok));
      span.end(error?.reason);
    });
  };
}

/** What every client runs, outermost first. */
export function clientInterceptors(telemetry: Telemetry): readonly Interceptor[] {
  return [traceClient(telemetry), measureClient(telemetry), enforceDeadline()];
}
