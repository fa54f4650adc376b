import type { Counter, Metrics } from "@weft/telemetry";
import type { MaterializerObserver } from "./materializer.ts";

/** Counts what materializations do. */
export function createMaterializationMetrics(metrics: Metrics): MaterializerObserver {
  const seconds = metrics.histogram({
    name: "feature_materialize_seconds",
    help: "Time of materializations that succeeded.",
    labels: ["scenario"],
    buckets: [0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3_600, 14_400],
  });
  const ended = metrics.counter({
    name: "feature_materializations_total",
    help: "Materializations that ended, by how.",
    labels: ["scenario", "state"],
  });
  const rows = metrics.counter({
    name: "feature_materialized_rows_total",
    help: "Source rows that materializations which succeeded read.",
    labels: ["scenario", "view"],
  });
  const succeeded = metrics.gauge({
    name: "feature_materialize_success_timestamp_seconds",
    help: "When a view last held all of its source's file, in seconds since 1970; its age is how far it may be behind.",
    labels: ["scenario", "view"],
  });
  const violations = createExpectationMetrics(metrics);
  const generation = metrics.gauge({
    name: "feature_generation",
    help: "Generation of a view that readers see.",
    labels: ["scenario", "view"],
  });
  return {
    ended({ scenario, state, done, startUs, endedUs = startUs }) {
      ended.add(1, { scenario, state });
      if (state !== "succeeded") return;
      seconds.observe((endedUs - startUs) / 1e6, { scenario });
      for (const view of done) {
        rows.add(view.rows, { scenario, view: view.view });
        succeeded.set(startUs / 1e6, { scenario, view: view.view });
      }
    },
    validated(scenario, { results }) {
      for (const { source, policy, isMet, violations: rows } of results)
        if (!isMet) violations.add(Math.max(1, rows), { scenario, source, policy, at: "materialize" });
    },
    published(scenario, { view, generation: number }) {
      generation.set(number, { scenario, view });
    },
  };
}

/** Counts what does not meet the expectations of sources. */
export function createExpectationMetrics(metrics: Metrics): Counter {
  return metrics.counter({
    name: "feature_expectation_violations_total",
    help: "Rows that do not meet an expectation of their source, and expectations on batches that were not met, by where they were checked.",
    labels: ["scenario", "source", "policy", "at"],
  });
}
