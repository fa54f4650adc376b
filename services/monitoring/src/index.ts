import { join } from "node:path";
import { monitoring as contract, registry } from "@weft/contracts";
import { type Clock, defineService } from "@weft/service";
import { LogThread } from "./adapters/log-thread.ts";
import { createRegistryLookup } from "./adapters/registry-lookup.ts";
import { config } from "./config.ts";
import { ReleaseCatalog } from "./domain/release-catalog.ts";
import { errors } from "./errors.ts";
import { createMonitoringMetrics } from "./metrics.ts";
import { createMonitoringService } from "./service.ts";

const MAINTENANCE_MS = 60_000;
const PAGE_ROWS = 2_000;

/** Keeps what was predicted and what turned out true, and tells where the two, or the inputs, drift from training. */
export const monitoring = defineService({
  name: "monitoring",
  config,
  async compose({ settings, dataDirectory, rpc, telemetry, clock, own, readiness }) {
    const metrics = createMonitoringMetrics(telemetry.metrics);
    const bucketUs = settings.driftBucketSeconds * 1e6;
    const log = own(
      await LogThread.start({
        log: {
          path: join(dataDirectory, "predictions.sqlite"),
          synchronous: settings.logDurability,
          // Room for the rows of one append before the oldest are dropped.
          hardLimitBytes: settings.logBytesMax * 1.25 + 2 ** 28,
          layoutsMax: settings.layoutsMax,
        },
        engine: {
          sizeMaxBytes: settings.logBytesMax,
          ageMaxMs: settings.logAgeHoursMax * 3_600_000,
          bucketUs,
          bucketsMax: settings.driftBucketsMax,
          releasesMax: settings.driftReleasesMax,
          pageRows: PAGE_ROWS,
        },
        queueBytesMax: settings.logQueueBytesMax,
        onState: (isUp) => readiness.set("prediction log", isUp),
        setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
      }).catch((cause: unknown) => {
        throw errors.LOG_NOT_OPENED({ fault: cause instanceof Error ? cause.message : String(cause) }, { cause });
      }),
    );
    const lookup = createRegistryLookup(rpc.dial(registry.RegistryService), {
      timeoutMs: settings.registryTimeoutMs,
      referenceBytesMax: settings.referenceBytesMax,
    });
    const catalog = new ReleaseCatalog(lookup, {
      entriesMax: 4 * settings.driftReleasesMax,
      retryMs: settings.registryRetryMs,
    });
    metrics.maintained(await log.maintain(clock.nowMs()));
    for (const parts of await log.releaseParts()) {
      catalog.add(parts);
    }
    own(
      every(
        clock,
        MAINTENANCE_MS,
        async () => {
          metrics.queued.set(log.queuedBytes);
          metrics.maintained(await log.maintain(clock.nowMs()));
        },
        (error) => telemetry.logger.warn({ err: error }, "retention failed"),
      ),
    );
    rpc.serve(
      contract.MonitoringService,
      createMonitoringService({
        log,
        catalog,
        metrics,
        clock,
        eventTimeAheadUs: settings.eventTimeAheadSecondsMax * 1e6,
        windowMaxUs: (settings.driftBucketsMax - 1) * bucketUs,
      }),
    );
  },
});

/** Runs a task again and again, each time `periodMs` after it ended, until closed. */
function every(clock: Clock, periodMs: number, task: () => Promise<void>, failed: (error: unknown) => void) {
  let isClosed = false;
  let timer: { cancel(): void } | undefined;
  const next = () => {
    if (!isClosed) {
      timer = clock.setTimer(periodMs, () => {
        task().catch(failed).finally(next);
      });
    }
  };
  next();
  return {
    close() {
      isClosed = true;
      timer?.cancel();
    },
  };
}
