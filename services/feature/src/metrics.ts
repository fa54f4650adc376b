import type { Counter, CounterSeries, Gauge, Histogram, HistogramSeries, Metrics } from "@weft/telemetry";
import { Status } from "./domain/views/view-state.ts";

const freshnessBuckets = [0.1, 1, 5, 15, 60, 300, 900, 3_600, 14_400, 86_400, 604_800, 2_592_000, 31_536_000];

/** What is counted for one view of a scenario. */
export interface ViewMetrics {
  /** Age of the row or of the newest event at read time, for a sample of the reads. */
  readonly freshness: HistogramSeries;
  /** Values that were not PRESENT. */
  readonly missing: CounterSeries;
  /** Values that a default stood in for. */
  readonly defaulted: CounterSeries;
  /** Values older than the TTL or the request's budget that no default stood in for. */
  readonly outsideMaxAge: CounterSeries;
}

/** What is counted of a shared online store and the cache before it. */
export interface StoreMetrics {
  looked(hits: number, misses: number): void;
  unread(places: number): void;
  reachable(reachable: boolean): void;
}

/** Metrics of the feature service. */
export interface FeatureMetrics {
  view(scenario: string, view: string): ViewMetrics;
  /** Values answered by a matrix or column, by status number. */
  readonly statuses: readonly CounterSeries[];
  readonly storeSeconds: HistogramSeries;
  readonly readRows: CounterSeries;
  readonly pushedRows: Counter;
  readonly skippedRows: Counter;
  readonly quarantinedEvents: Counter;
  readonly refusedPushes: Counter;
  readonly streamedEvents: Counter;
  readonly streamLag: Gauge;
  readonly streamLost: Counter;
  readonly streamFailures: CounterSeries;
  readonly ingestDelay: Histogram;
  readonly corruptStates: Counter;
  readonly applyFailures: CounterSeries;
  readonly pushSeconds: HistogramSeries;
  readonly applySeconds: HistogramSeries;
  queuedRows(rows: number): void;
  readonly store: StoreMetrics;
}

/** Creates the metrics. */
export function createMetrics(metrics: Metrics): FeatureMetrics {
  const freshness = metrics.histogram({
    name: "feature_freshness_seconds",
    help: "Read time minus event time of what answered, for a sample of the reads.",
    labels: ["scenario", "view"],
    buckets: freshnessBuckets,
  });
  const missing = metrics.counter({
    name: "feature_values_missing_total",
    help: "Values of a view that were not PRESENT.",
    labels: ["scenario", "view"],
  });
  const defaulted = metrics.counter({
    name: "feature_defaults_filled_total",
    help: "Values of a view that its defaults stood in for.",
    labels: ["scenario", "view"],
  });
  const outsideMaxAge = metrics.counter({
    name: "feature_values_outside_max_age_total",
    help: "Values of a view that were older than its TTL or the request's budget and had no default.",
    labels: ["scenario", "view"],
  });
  const values = metrics.counter({ name: "feature_values_total", help: "Values answered.", labels: ["status"] });
  const statusNames: string[] = ["unspecified"];
  for (const [name, number] of Object.entries(Status))
    statusNames[number] = name.replace(/(?<=.)[A-Z]/g, (letter) => `_${letter}`).toLowerCase();
  const queued = metrics
    .gauge({ name: "feature_push_queue_rows", help: "Pushed rows that wait to be written." })
    .with({});
  return {
    view: (scenario, view) => ({
      freshness: freshness.with({ scenario, view }),
      missing: missing.with({ scenario, view }),
      defaulted: defaulted.with({ scenario, view }),
      outsideMaxAge: outsideMaxAge.with({ scenario, view }),
    }),
    statuses: statusNames.map((status) => values.with({ status })),
    storeSeconds: metrics
      .histogram({
        name: "feature_store_read_seconds",
        help: "Time of a read of the online store, for a sample of the reads.",
        buckets: [1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 0.1, 1],
      })
      .with({}),
    readRows: metrics.counter({ name: "feature_read_rows_total", help: "Rows read by GetOnlineFeatures." }).with({}),
    pushedRows: metrics.counter({
      name: "feature_pushed_rows_total",
      help: "Pushed rows that became durable.",
      labels: ["source"],
    }),
    skippedRows: metrics.counter({
      name: "feature_skipped_rows_total",
      help: "Pushed rows that a view could not take in, such as rows without a key.",
      labels: ["view"],
    }),
    refusedPushes: metrics.counter({
      name: "feature_refused_pushes_total",
      help: "Pushes that were answered with an error, by the reason.",
      labels: ["reason"],
    }),
    quarantinedEvents: metrics.counter({
      name: "feature_quarantined_events_total",
      help: "Events set aside because they could not be taken in, by the reason.",
      labels: ["source", "reason"],
    }),
    streamedEvents: metrics.counter({
      name: "feature_streamed_events_total",
      help: "Messages of Kafka topics that were read and applied.",
      labels: ["source"],
    }),
    streamLag: metrics.gauge({
      name: "feature_stream_lag_messages",
      help: "Messages of a partition that are not applied yet.",
      labels: ["topic", "partition"],
    }),
    streamLost: metrics.counter({
      name: "feature_stream_lost_messages_total",
      help: "Messages that Kafka threw away before they were read.",
      labels: ["topic"],
    }),
    streamFailures: metrics
      .counter({
        name: "feature_stream_failures_total",
        help: "Times that Kafka, or the online store on the way from it, could not be reached.",
      })
      .with({}),
    ingestDelay: metrics.histogram({
      name: "feature_ingest_delay_seconds",
      help: "Time from a message's stamp to its being visible, of the oldest one in each batch.",
      labels: ["source"],
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3_600, 86_400],
    }),
    corruptStates: metrics.counter({
      name: "feature_corrupt_states_total",
      help: "Stored states that could not be read and were begun anew.",
      labels: ["view"],
    }),
    applyFailures: metrics
      .counter({
        name: "feature_apply_failures_total",
        help: "Writes of durable rows to the online store that failed.",
      })
      .with({}),
    applySeconds: metrics
      .histogram({
        name: "feature_apply_seconds",
        help: "Time to work a batch of durable events into the states of their views and write them.",
      })
      .with({}),
    pushSeconds: metrics
      .histogram({ name: "feature_push_seconds", help: "Time from a push to its rows being durable and visible." })
      .with({}),
    queuedRows: (rows) => queued.set(rows),
    store: createStoreMetrics(metrics),
  };
}

function createStoreMetrics(metrics: Metrics): StoreMetrics {
  const cached = metrics.counter({
    name: "feature_store_cache_total",
    help: "States of a shared online store asked for: hits answered from memory, misses asked of the store.",
    labels: ["result"],
  });
  const hit = cached.with({ result: "hit" });
  const miss = cached.with({ result: "miss" });
  const unread = metrics
    .counter({
      name: "feature_store_unread_total",
      help: "States that the shared online store could not be asked for; their views went down their ladders.",
    })
    .with({});
  const reachable = metrics.gauge({
    name: "feature_store_reachable",
    help: "1 where the shared online store answered the last time it was asked.",
  });
  return {
    looked(hits, misses) {
      if (hits > 0) hit.add(hits);
      if (misses > 0) miss.add(misses);
    },
    unread: (places) => unread.add(places),
    reachable: (is) => reachable.set(is ? 1 : 0),
  };
}
