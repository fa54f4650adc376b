import type { Metrics } from "@weft/telemetry";
import type { ReleaseEvent } from "./release-source.ts";

/** Counts the events of a service's releases: what to give a source as `observe`. */
export function observeReleases(metrics: Metrics, service: string): (event: ReleaseEvent) => void {
  const labels = { service };
  const connected = metrics
    .gauge({ name: "release_watch_connected", help: "1 while the registry is watched.", labels: ["service"] })
    .with(labels);
  const loaded = metrics.gauge({ name: "release_loaded", help: "Releases loaded.", labels: ["service"] }).with(labels);
  const failures = metrics
    .counter({ name: "release_load_failures_total", help: "Loads of a release that failed.", labels: ["service"] })
    .with(labels);
  const seconds = metrics
    .histogram({
      name: "release_load_seconds",
      help: "Time to load a release, download included.",
      labels: ["service"],
      buckets: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
    })
    .with(labels);
  return (event) => {
    if (event.kind === "connected") connected.set(1);
    else if (event.kind === "disconnected") connected.set(0);
    else if (event.kind === "load-failed") failures.add(1);
    else if (event.kind === "unloaded") loaded.add(-1);
    else if (event.kind === "loaded") {
      loaded.add(1);
      seconds.observe(event.durationMs / 1_000);
    }
  };
}
