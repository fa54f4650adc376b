import type { Metrics } from "@weft/telemetry";
import type { SearchPlan } from "./domain/candidate-search.ts";

/** What retrieval reports. */
export interface RetrievalMetrics {
  /** One search of `queries` queries has been answered. */
  searched(scenario: string, index: string, plan: SearchPlan, queries: number, seconds: number): void;
  built(scenario: string, index: string, itemCount: number, recall: number, seconds: number): void;
  buildFailed(scenario: string, index: string): void;
}

/** Registers the metrics of retrieval. */
export function createMetrics(metrics: Metrics): RetrievalMetrics {
  const index = ["scenario", "index"];
  const searchSeconds = metrics.histogram({
    name: "retrieval_search_seconds",
    help: "Time of one search, all its queries together.",
    labels: [...index, "plan"],
    buckets: [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
  });
  const queries = metrics.counter({
    name: "retrieval_queries_total",
    help: "Queries answered.",
    labels: [...index, "plan"],
  });
  const buildSeconds = metrics.histogram({
    name: "retrieval_build_seconds",
    help: "Time of one build, receiving included.",
    labels: index,
    buckets: [0.1, 0.5, 1, 5, 10, 30, 60, 300, 1_800, 7_200],
  });
  const buildFailures = metrics.counter({
    name: "retrieval_build_failures_total",
    help: "Builds that made no generation.",
    labels: index,
  });
  const items = metrics.gauge({
    name: "retrieval_index_items",
    help: "Items in the newest generation.",
    labels: index,
  });
  const recall = metrics.gauge({
    name: "retrieval_index_recall_ratio",
    help: "Recall of the newest generation when it was built.",
    labels: index,
  });
  return {
    searched(scenario, name, plan, count, seconds) {
      const labels = { scenario, index: name, plan };
      searchSeconds.with(labels).observe(seconds);
      queries.with(labels).add(count);
    },
    built(scenario, name, itemCount, share, seconds) {
      const labels = { scenario, index: name };
      buildSeconds.with(labels).observe(seconds);
      items.with(labels).set(itemCount);
      recall.with(labels).set(share);
    },
    buildFailed: (scenario, name) => buildFailures.with({ scenario, index: name }).add(1),
  };
}
