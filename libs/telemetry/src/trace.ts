import {
  context as contexts,
  type Span as OtelSpan,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace as traces,
} from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import type { SpanProcessor } from "@opentelemetry/sdk-trace";
import { TracerProvider } from "@opentelemetry/sdk-trace";

/** The identity of a span as W3C Trace Context carries it. */
export interface TraceContext {
  /** 32 hex digits; empty when the request belongs to no trace. */
  readonly traceId: string;
  /** 16 hex digits. */
  readonly spanId: string;
  readonly sampled: boolean;
}

/** The trace context of a request that belongs to no trace. */
export const noTrace: TraceContext = Object.freeze({ traceId: "", spanId: "", sampled: false });

const pattern = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

/** Reads a `traceparent` header; anything malformed reads as no trace. */
export function parseTraceparent(header: string | undefined): TraceContext {
  const match = header === undefined ? null : pattern.exec(header);
  const [, traceId = "", spanId = "", flags = "00"] = match ?? [];
  if (match === null || /^0+$/.test(traceId) || /^0+$/.test(spanId)) return noTrace;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

/** Writes a `traceparent` header; undefined when there is no trace. */
export function formatTraceparent(trace: TraceContext): string | undefined {
  return trace.traceId === "" ? undefined : `00-${trace.traceId}-${trace.spanId}-${trace.sampled ? "01" : "00"}`;
}

/** A span that may or may not be recorded. */
export interface Span {
  /** What children and the wire carry on. */
  readonly context: TraceContext;
  set(attribute: string, value: string | number | boolean): void;
  /** Ends the span; `error` is a stable reason when it failed. */
  end(error?: string): void;
}

/** Starts spans by hand. */
export interface Tracer {
  start(name: string, kind: "server" | "client" | "internal", parent: TraceContext): Span;
  close(): Promise<void>;
}

const kinds = { server: SpanKind.SERVER, client: SpanKind.CLIENT, internal: SpanKind.INTERNAL } as const;

class RecordedSpan implements Span {
  readonly context: TraceContext;
  readonly #span: OtelSpan;
  constructor(span: OtelSpan) {
    this.#span = span;
    const { traceId, spanId } = span.spanContext();
    this.context = { traceId, spanId, sampled: true };
  }
  set(attribute: string, value: string | number | boolean): void {
    this.#span.setAttribute(attribute, value);
  }
  end(error?: string): void {
    if (error !== undefined) this.#span.setStatus({ code: SpanStatusCode.ERROR, message: error });
    this.#span.end();
  }
}

class PassedSpan implements Span {
  readonly context: TraceContext;
  constructor(context: TraceContext) {
    this.context = context;
  }
  set(): void {}
  end(): void {}
}

const unsampledRoot = new PassedSpan(noTrace);

/**
 * Creates a tracer that decides at the root: a request with a `traceparent` follows its flag, others are sampled at
 * `ratio` (0 to 1). A request that is not sampled costs no span.
 */
export function createTracer(options: {
  readonly service: string;
  readonly ratio: number;
  readonly processors: readonly SpanProcessor[];
  readonly random?: () => number;
}): Tracer {
  const random = options.random ?? Math.random;
  if (options.processors.length === 0)
    return {
      start: (_name, _kind, parent) => (parent.traceId === "" ? unsampledRoot : new PassedSpan(parent)),
      close: () => Promise.resolve(),
    };
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ "service.name": options.service }),
    spanProcessors: [...options.processors],
  });
  const tracer = provider.getTracer("weft");
  return {
    start(name, kind, parent) {
      if (parent.traceId === "") {
        if (random() >= options.ratio) return unsampledRoot;
        return new RecordedSpan(tracer.startSpan(name, { kind: kinds[kind], root: true }, ROOT_CONTEXT));
      }
      if (!parent.sampled) return new PassedSpan(parent);
      const { traceId, spanId } = parent;
      const remote = traces.setSpanContext(ROOT_CONTEXT, {
        traceId,
        spanId,
        traceFlags: 1,
        isRemote: kind === "server",
      });
      return new RecordedSpan(tracer.startSpan(name, { kind: kinds[kind] }, remote));
    },
    async close() {
      await provider.forceFlush();
      await provider.shutdown();
      contexts.disable();
    },
  };
}
