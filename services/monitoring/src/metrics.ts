import type { Metrics } from "@weft/telemetry";
import type { MaintenanceReport } from "./domain/log-engine.ts";

/** Every metric of the monitoring service. */
export function createMonitoringMetrics(metrics: Metrics) {
  const predictions = metrics.counter({
    name: "monitoring_predictions_total",
    help: "Predictions received and durable, by result: new or repeated.",
    labels: ["result"],
  });
  const labels = metrics.counter({
    name: "monitoring_labels_total",
    help: "Labels received and durable, by result: changed or repeated.",
    labels: ["result"],
  });
  const dropped = metrics.counter({
    name: "monitoring_dropped_total",
    help: "Rows dropped from the log by retention, by kind: prediction or label.",
    labels: ["kind"],
  });
  const write = metrics.histogram({
    name: "monitoring_log_write_seconds",
    help: "Time from a checked request until it is durable, the wait for the log included, by kind.",
    labels: ["kind"],
  });
  const bytes = metrics.gauge({ name: "monitoring_log_bytes", help: "Bytes in use by the log." });
  const queued = metrics.gauge({ name: "monitoring_log_queue_bytes", help: "Bytes that wait to be written." });
  const held = metrics.gauge({
    name: "monitoring_log_rows",
    help: "Rows in the log, by kind: prediction, label, or label that waits for its prediction.",
    labels: ["kind"],
  });
  const psi = metrics.gauge({
    name: "monitoring_drift_psi",
    help: "Population stability index of the scenario's newest release, as last asked for, by model and feature.",
    labels: ["scenario", "model", "feature"],
  });
  return {
    newPredictions: predictions.with({ result: "new" }),
    repeatedPredictions: predictions.with({ result: "repeated" }),
    changedLabels: labels.with({ result: "changed" }),
    repeatedLabels: labels.with({ result: "repeated" }),
    joinedLabels: metrics.counter({
      name: "monitoring_labels_joined_total",
      help: "Labels that were joined with their prediction, whichever came first, repeats included.",
    }),
    unchecked: metrics.counter({
      name: "monitoring_unchecked_predictions_total",
      help: "Predictions taken while their release could not be looked up.",
    }),
    mismatched: metrics.counter({
      name: "monitoring_mismatched_predictions_total",
      help: "Predictions whose columns are not their model's; they have no feature drift.",
    }),
    predictionWrite: write.with({ kind: "prediction" }),
    labelWrite: write.with({ kind: "label" }),
    queued,
    psi,
    /** Tells what retention dropped and what is left. */
    maintained({ droppedPredictions, droppedLabels, usage }: MaintenanceReport): void {
      dropped.add(droppedPredictions, { kind: "prediction" });
      dropped.add(droppedLabels, { kind: "label" });
      bytes.set(usage.sizeBytes);
      held.set(usage.predictionCount, { kind: "prediction" });
      held.set(usage.labelCount, { kind: "label" });
      held.set(usage.waitingLabelCount, { kind: "waiting label" });
    },
  };
}

/** The metrics, made. */
export type MonitoringMetrics = ReturnType<typeof createMonitoringMetrics>;
