import type { Metrics } from "@weft/telemetry";
import type { ModelObserver } from "./domain/served-model.ts";

/** Every metric of ranking. */
export interface RankingMetrics {
  /** The series of one model version. */
  model(model: string, version: string): ModelObserver;
}

const powersOfTwo = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096] as const;
const microsecondsUp = [
  0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1,
] as const;

/** Registers the metrics of ranking. */
export function createMetrics(metrics: Metrics): RankingMetrics {
  const labels = ["model", "version"];
  const inference = metrics.histogram({
    name: "ranking_inference_seconds",
    help: "Time of one run of a model on one batch.",
    labels,
    buckets: microsecondsUp,
  });
  const batchRows = metrics.histogram({
    name: "ranking_batch_rows",
    help: "Rows in a batch.",
    labels,
    buckets: powersOfTwo,
  });
  const batchRequests = metrics.histogram({
    name: "ranking_batch_requests",
    help: "Requests in a batch.",
    labels,
    buckets: powersOfTwo,
  });
  const queueDelay = metrics.histogram({
    name: "ranking_queue_delay_seconds",
    help: "Time that the oldest request of a batch waited.",
    labels,
    buckets: microsecondsUp,
  });
  const queueRows = metrics.gauge({ name: "ranking_queue_rows", help: "Rows that wait after a dispatch.", labels });
  const shed = metrics.counter({ name: "ranking_shed_total", help: "Requests refused by a full queue.", labels });
  const expired = metrics.counter({
    name: "ranking_expired_total",
    help: "Requests dropped before execution because their deadline had passed.",
    labels,
  });
  const cancelled = metrics.counter({
    name: "ranking_cancelled_total",
    help: "Requests dropped before execution because their caller had cancelled.",
    labels,
  });
  const failures = metrics.counter({
    name: "ranking_failed_batches_total",
    help: "Batches whose model failed.",
    labels,
  });
  return {
    model(model, version) {
      const of = { model, version };
      const series = {
        inference: inference.with(of),
        batchRows: batchRows.with(of),
        batchRequests: batchRequests.with(of),
        queueDelay: queueDelay.with(of),
        queueRows: queueRows.with(of),
        shed: shed.with(of),
        expired: expired.with(of),
        cancelled: cancelled.with(of),
        failures: failures.with(of),
      };
      return {
        dispatched(itemCount, rowCount, waitedMs) {
          series.batchRequests.observe(itemCount);
          series.batchRows.observe(rowCount);
          series.queueDelay.observe(waitedMs / 1_000);
        },
        waiting: (rowCount) => series.queueRows.set(rowCount),
        shed: () => series.shed.add(1),
        expired: () => series.expired.add(1),
        cancelled: () => series.cancelled.add(1),
        inferred: (seconds) => series.inference.observe(seconds),
        failed: () => series.failures.add(1),
      };
    },
  };
}
