import { quietTelemetry } from "@weft/testkit";
import { SqliteMaterializationCatalog } from "./adapters/sqlite-materialization-catalog.ts";
import { SqliteQuarantine } from "./adapters/sqlite-quarantine.ts";
import type { Ingest } from "./domain/ingest/ingest.ts";
import type { RefusedEvent } from "./domain/ingest/quarantine.ts";
import type { Materialization, MaterializedView } from "./domain/materialize/materialization-catalog.ts";
import type { OfflineStore } from "./domain/offline/offline-store.ts";
import type { OnlineStore } from "./domain/online/online-store.ts";
import { JobTurns } from "./job-turns.ts";
import { createExpectationMetrics } from "./materialization-metrics.ts";
import { createMaterializationHandlers, type MaterializationHandlers } from "./materialization-service.ts";
import { type MaterializedRelease, Materializer } from "./materializer.ts";
import { PushExpectations } from "./push-expectations.ts";
import { beginOfflineJob } from "./releases.ts";

/** What tests materialize with: the handlers, what they remember and what they reported. */
export function openMaterialization(options: {
  readonly release: (scenario: string, release: string) => MaterializedRelease;
  readonly offline: OfflineStore;
  readonly store: OnlineStore;
  readonly ingest: Ingest;
  readonly turns?: JobTurns;
  readonly catalog?: SqliteMaterializationCatalog;
}) {
  const { store, ingest, offline, release } = options;
  const { turns = new JobTurns(1), catalog = SqliteMaterializationCatalog.open(":memory:") } = options;
  const ended: Materialization[] = [];
  const published: MaterializedView[] = [];
  const clock = { nowUs: 0 };
  const materializer = new Materializer({
    store: offline,
    catalog,
    begin: (of) => beginOfflineJob(of, { store, ingest, catalog }),
    turns,
    observer: {
      ended: (one) => ended.push(one),
      validated: () => undefined,
      published: (_scenario, view) => published.push(view),
    },
    nowUs: () => ++clock.nowUs,
    pause: () => new Promise((resolve) => setImmediate(resolve)),
  });
  const handlers: MaterializationHandlers = createMaterializationHandlers({ resolve: release, materializer, catalog });
  return { handlers, materializer, catalog, turns, ended, published, clock };
}

/** Expectations of pushes, with a quarantine in memory. */
export function openPushExpectations(nowUs: () => number = () => 0) {
  const quarantine = SqliteQuarantine.open({
    path: ":memory:",
    eventsMax: 1_000,
    sizeMaxBytes: 1 << 24,
    contentMaxBytes: 1 << 16,
  });
  const refuse = async (events: readonly RefusedEvent[]) => {
    await quarantine.add(events, nowUs());
  };
  const violations = createExpectationMetrics(quietTelemetry().metrics);
  return { quarantine, expectations: new PushExpectations({ refuse, violations }) };
}
