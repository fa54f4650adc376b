import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { feature as contract, feastServing, registry } from "@weft/contracts";
import { observeReleases, ReleaseSource } from "@weft/release";
import { defineService } from "@weft/service";
import { createDuckDbStore } from "./adapters/duckdb.ts";
import { openOnlineStore } from "./adapters/open-online-store.ts";
import { SqliteEventLog } from "./adapters/sqlite-event-log.ts";
import { SqliteMaterializationCatalog } from "./adapters/sqlite-materialization-catalog.ts";
import { SqliteQuarantine } from "./adapters/sqlite-quarantine.ts";
import { config } from "./config.ts";
import { Ingest } from "./domain/ingest/ingest.ts";
import type { RefusedEvent } from "./domain/ingest/quarantine.ts";
import type { FeatureRelease } from "./domain/views/feature-release.ts";
import { createFeastHandlers } from "./feast-service.ts";
import { JobTurns } from "./job-turns.ts";
import { startLogRetention } from "./log-retention.ts";
import { createExpectationMetrics, createMaterializationMetrics } from "./materialization-metrics.ts";
import { MaterializationSchedule } from "./materialization-schedule.ts";
import { createMaterializationHandlers } from "./materialization-service.ts";
import { Materializer } from "./materializer.ts";
import { createMetrics } from "./metrics.ts";
import { createOfflineHandlers, type OfflineRelease } from "./offline-service.ts";
import { createParityHandlers } from "./parity-service.ts";
import { PushExpectations } from "./push-expectations.ts";
import { createQuarantineHandlers } from "./quarantine-service.ts";
import { beginOfflineJob, loadRelease } from "./releases.ts";
import { createOnlineHandlers } from "./service.ts";
import { eventBounds, offlineRows, startStreamIngest } from "./streams.ts";

const retryMs = 1_000;

/** Reads, ingests and materializes features, and joins them into training sets. */
export const feature = defineService({
  name: "feature",
  config,
  compose({ settings, dataDirectory, rpc, telemetry, clock, own, readiness }) {
    readiness.set("releases", false);
    const metrics = createMetrics(telemetry.metrics);
    const directory = (name: string) => {
      const path = join(dataDirectory, name);
      mkdirSync(path, { recursive: true });
      return path;
    };
    readiness.set("online store", false);
    const store = own(
      openOnlineStore({
        settings,
        directory: directory("online"),
        clock,
        logger: telemetry.logger,
        metrics: metrics.store,
        onReachable: (reachable) => readiness.set("online store", reachable),
        onMoved: () => void ingest.catchUpAll().catch((error: unknown) => observer.behind(error)),
      }),
    );
    const log = own(
      SqliteEventLog.open({
        path: join(directory("events"), "events.db"),
        sizeMaxBytes: settings.eventLogSizeMaxMib * 2 ** 20,
      }),
    );
    const observer = {
      accepted: (source: string, rows: number) => metrics.pushedRows.add(rows, { source }),
      skipped: (view: string, rows: number) => metrics.skippedRows.add(rows, { view }),
      corrupt(view: string, cause: unknown) {
        metrics.corruptStates.add(1, { view });
        telemetry.logger.error({ view, err: cause }, "a stored state could not be read, and was begun anew");
      },
      behind(cause: unknown) {
        metrics.applyFailures.add(1);
        telemetry.logger.error({ err: cause }, "durable rows could not be applied; trying again");
        clock.setTimer(retryMs, () => void ingest.catchUpBehind().catch((error: unknown) => observer.behind(error)));
      },
    };
    const nowUs = () => Number(clock.nowUs());
    const quarantine = own(
      SqliteQuarantine.open({
        path: join(directory("events"), "quarantine.db"),
        eventsMax: settings.quarantineRowsMax,
        sizeMaxBytes: settings.quarantineSizeMaxMib * 2 ** 20,
        contentMaxBytes: settings.valueBytesMax,
      }),
    );
    const refuse = async (events: readonly RefusedEvent[]) => {
      await quarantine.add(events, nowUs());
      for (const { source, reason } of events) metrics.quarantinedEvents.add(1, { source, reason });
    };
    const startApply = () => {
      const startMs = performance.now();
      return () => metrics.applySeconds.observe((performance.now() - startMs) / 1e3);
    };
    const ingest = own(
      new Ingest(log, store, observer, { queueRowsMax: settings.pushQueueRowsMax, refuse, startApply }),
    );
    if (settings.eventLogRetentionHours > 0)
      own(
        startLogRetention(ingest, {
          retentionUs: settings.eventLogRetentionHours * 3_600_000_000,
          clock,
          failed: (cause) => telemetry.logger.error({ err: cause }, "the event log could not be trimmed; trying again"),
        }),
      );
    if (settings.kafkaBrokers !== "")
      own(startStreamIngest(settings, { ingest, refuse, metrics, clock, logger: telemetry.logger }));
    const catalog = own(SqliteMaterializationCatalog.open(join(directory("materializations"), "materializations.db")));
    const turns = new JobTurns(settings.offlineJobsMax);
    const offlineDirectory =
      settings.offlineDirectory === "" ? join(dataDirectory, "offline") : settings.offlineDirectory;
    const offline = createDuckDbStore({
      directory: offlineDirectory,
      temporaryDirectory: join(dataDirectory, "offline-temporary"),
      memoryBytesMax: settings.offlineMemoryMaxMib * 2 ** 20,
      threads: settings.offlineThreads,
    });
    const materializer = new Materializer({
      store: offline,
      catalog,
      begin: (release) => beginOfflineJob(release, { store, ingest, catalog }),
      turns,
      observer: createMaterializationMetrics(telemetry.metrics),
      nowUs,
      pause: () => new Promise((resolve) => setImmediate(resolve)),
    });
    const schedule = own(
      new MaterializationSchedule({
        materializer,
        interrupted: catalog.interrupted(),
        clock,
        everyMs: settings.refreshEveryMs,
        random: Math.random,
        failed(scenario, error) {
          telemetry.logger.error({ scenario, err: error }, "views could not be brought up to date; trying again");
        },
      }),
    );
    const releases = own(
      ReleaseSource.start<FeatureRelease>({
        registry: rpc.dial(registry.RegistryService),
        cacheDirectory: join(dataDirectory, "artifacts"),
        async load(parts) {
          const release = await loadRelease(parts, { store, ingest, plansMax: settings.plansMax });
          schedule.add(release.offline);
          return release;
        },
        unload(release) {
          schedule.remove(release.offline);
          ingest.removeViews(release.ingested);
        },
        clock,
        logger: telemetry.logger,
        observe: observeReleases(telemetry.metrics, "feature"),
      }),
    );
    void releases.firstReleaseWarm().then(() => readiness.set("releases", true));
    const resolve = (scenario: string, release: string) => releases.resolve(scenario, release);
    const resolveOffline = (scenario: string, release: string) => resolve(scenario, release).offline;
    const pushedTo = async ({ scenario, views }: OfflineRelease) => {
      const { pushed } = await ingest.beginJob(scenario.name);
      return offlineRows(settings, pushed, { views, nowUs });
    };
    const violations = createExpectationMetrics(telemetry.metrics);
    const expectations = new PushExpectations({ refuse, violations });
    const online = createOnlineHandlers({ resolve, store, ingest, metrics, expectations, nowUs, limits: settings });
    rpc.serve(
      feastServing.ServingService,
      createFeastHandlers({
        resolve,
        scenarios: () => [...new Set(releases.all().map(({ release }) => release.scenario))],
        scenario: settings.feastScenario,
        getOnlineFeatures: online.getOnlineFeatures,
      }),
    );
    rpc.serve(contract.FeatureService, {
      ...online,
      ...createQuarantineHandlers({ resolve, quarantine, ingest, bounds: eventBounds(settings), nowUs }),
      ...createMaterializationHandlers({ resolve: resolveOffline, materializer, catalog }),
      ...createOfflineHandlers({
        resolve: resolveOffline,
        store: offline,
        begin: async (release) => ({ pushed: await pushedTo(release) }),
        directory: join(dataDirectory, "training-sets"),
        turns,
      }),
      ...createParityHandlers({
        resolve: resolveOffline,
        store: offline,
        pushed: pushedTo,
        turns,
      }),
    });
  },
});
