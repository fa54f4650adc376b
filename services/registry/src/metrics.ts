import type { Metrics } from "@weft/telemetry";

/** Every metric of the registry. */
export function createRegistryMetrics(metrics: Metrics) {
  return {
    artifactBytes: metrics.counter({
      name: "registry_artifact_bytes_total",
      help: "Bytes of artifacts stored or sent, by direction (put, get).",
      labels: ["direction"],
    }),
    artifactsCorrupt: metrics.counter({
      name: "registry_artifacts_corrupt_total",
      help: "Reads refused because an artifact no longer has its digest.",
    }),
    modelsRefused: metrics.counter({
      name: "registry_models_refused_total",
      help: "Models refused when they were registered, by reason.",
      labels: ["reason"],
    }),
    labelMoves: metrics.counter({
      name: "registry_label_moves_total",
      help: "Labels moved, by label.",
      labels: ["label"],
    }),
    watchers: metrics.gauge({ name: "registry_watchers", help: "Callers watching releases." }),
    revision: metrics.gauge({ name: "registry_revision", help: "Revision of the labels." }),
  };
}

export type RegistryMetrics = ReturnType<typeof createRegistryMetrics>;
