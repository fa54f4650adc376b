import type { CounterSeries, HistogramSeries, Telemetry } from "@weft/telemetry";

/** Every metric of the gateway. */
export function createMetrics({ metrics }: Pick<Telemetry, "metrics">) {
  const callRows = metrics.histogram({
    name: "gateway_peer_call_rows",
    help: "Requests that a call to a peer was made for.",
    labels: ["method"],
    buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256],
  });
  return {
    callRows: {
      GetOnlineFeatures: callRows.with({ method: "GetOnlineFeatures" }),
      ModelInfer: callRows.with({ method: "ModelInfer" }),
    },
    requests: metrics.counter({
      name: "gateway_requests_total",
      help: "Requests and stream events by outcome: ok, degraded, fallback, invalid, overloaded, late, cancelled, error.",
      labels: ["scenario", "method", "outcome"],
    }),
    inflight: metrics.gauge({ name: "gateway_inflight_requests", help: "Requests and stream events under way." }),
    stageSeconds: metrics.histogram({
      name: "gateway_stage_seconds",
      help: "Wall time of a pipeline stage.",
      labels: ["scenario", "stage"],
    }),
    requestSeconds: metrics.histogram({
      name: "gateway_request_seconds",
      help: "Wall time of a request's pipeline.",
      labels: ["scenario"],
    }),
    fallbacks: metrics.counter({
      name: "gateway_fallbacks_total",
      help: "Stages that a fallback answered for.",
      labels: ["scenario", "stage", "reason", "fallback"],
    }),
    degradations: metrics.counter({
      name: "gateway_degradations_total",
      help: "Reasons for which answers were degraded.",
      labels: ["scenario", "stage", "reason"],
    }),
    logQueue: metrics.gauge({
      name: "gateway_prediction_log_queue_predictions",
      help: "Predictions that wait to be logged.",
    }),
    logged: metrics.counter({ name: "gateway_predictions_logged_total", help: "Predictions that monitoring holds." }),
    logDropped: metrics.counter({
      name: "gateway_predictions_dropped_total",
      help: "Predictions that were not logged: queue_full, refused or closing.",
      labels: ["reason"],
    }),
    logRetries: metrics.counter({
      name: "gateway_prediction_log_retries_total",
      help: "Attempts to log that failed and were repeated.",
    }),
    shadowQueue: metrics.gauge({
      name: "gateway_shadow_queue_events",
      help: "Answered events that wait for shadow models.",
      labels: ["scenario"],
    }),
    shadows: metrics.counter({
      name: "gateway_shadow_scores_total",
      help: "Events by what became of a shadow model's score: scored, failed or shed.",
      labels: ["scenario", "model", "outcome"],
    }),
    popularRefreshed: metrics.gauge({
      name: "gateway_fallback_list_refresh_timestamp_seconds",
      help: "When the fallback list was last read, in seconds since 1970.",
      labels: ["scenario"],
    }),
  };
}

/** The gateway's metrics. */
export type GatewayMetrics = ReturnType<typeof createMetrics>;

/** The time series of one scenario's requests, bound once a release for the hot path. */
export interface ReleaseSeries {
  readonly ok: CounterSeries;
  readonly degraded: CounterSeries;
  readonly fallback: CounterSeries;
  readonly seconds: HistogramSeries;
  readonly stages: Readonly<Record<string, HistogramSeries>>;
}

/** How a scenario's method is counted, and its stages timed. */
export function createReleaseSeries(
  metrics: GatewayMetrics,
  scenario: string,
  method: "Score" | "Recommend",
): ReleaseSeries {
  const outcome = (name: string) => metrics.requests.with({ scenario, method, outcome: name });
  const names =
    method === "Score" ? ["features", "scoring", "decision"] : ["retrieval", "filtering", "scoring", "ordering"];
  return {
    ok: outcome("ok"),
    degraded: outcome("degraded"),
    fallback: outcome("fallback"),
    seconds: metrics.requestSeconds.with({ scenario }),
    stages: Object.fromEntries(names.map((stage) => [stage, metrics.stageSeconds.with({ scenario, stage })])),
  };
}
