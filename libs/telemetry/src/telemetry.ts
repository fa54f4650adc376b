import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { BatchSpanProcessor, type SpanProcessor } from "@opentelemetry/sdk-trace";
import { type Logger, pino } from "pino";
import { createMetrics, type Metrics } from "./metrics.ts";
import { createTracer, type Tracer } from "./trace.ts";

export type { Logger } from "pino";

/** What a service reports with. */
export interface Telemetry {
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly tracer: Tracer;
  /** Sends what is buffered. */
  close(): Promise<void>;
}

/** How a process reports. */
export interface TelemetryOptions {
  /** Name of the service in traces and logs. */
  readonly service: string;
  readonly logLevel: "debug" | "info" | "warn" | "error" | "silent";
  /** Where log lines go, one JSON object a line; default stderr. */
  readonly logWrite?: (line: string) => void;
  /** OTLP over HTTP, for example "http://127.0.0.1:4318/v1/traces"; empty for none. */
  readonly otlpEndpoint: string;
  /** Share of requests without a `traceparent` that are traced, 0 to 1. */
  readonly traceRatio: number;
  /** Shared by the services of one process. */
  readonly metrics?: Metrics;
  /** Receives spans besides OTLP; for tests. */
  readonly spanProcessors?: readonly SpanProcessor[];
}

/** Creates the telemetry of one service. */
export function createTelemetry(options: TelemetryOptions): Telemetry {
  const processors: SpanProcessor[] = [...(options.spanProcessors ?? [])];
  if (options.otlpEndpoint !== "")
    processors.push(new BatchSpanProcessor({ exporter: new OTLPTraceExporter({ url: options.otlpEndpoint }) }));
  const tracer = createTracer({ service: options.service, ratio: options.traceRatio, processors });
  const write = options.logWrite ?? ((line: string) => process.stderr.write(line));
  const logger = pino({ level: options.logLevel, base: { service: options.service } }, { write });
  const metrics = options.metrics ?? createMetrics({ processMetrics: false });
  return { metrics, logger, tracer, close: () => tracer.close() };
}
