export {
  type Counter,
  type CounterSeries,
  createMetrics,
  type Gauge,
  type GaugeSeries,
  type Histogram,
  type HistogramSeries,
  type Labels,
  type MetricOptions,
  type Metrics,
  secondsBuckets,
} from "./metrics.ts";
export { createTelemetry, type Logger, type Telemetry, type TelemetryOptions } from "./telemetry.ts";
export {
  createTracer,
  formatTraceparent,
  noTrace,
  parseTraceparent,
  type Span,
  type TraceContext,
  type Tracer,
} from "./trace.ts";
