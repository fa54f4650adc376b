import { randomUUID } from "node:crypto";
import type { Clock } from "@weft/service";
import type { Telemetry } from "@weft/telemetry";
import { KafkaLog } from "./adapters/kafka-log.ts";
import type { Settings } from "./config.ts";
import type { Ingest } from "./domain/ingest/ingest.ts";
import type { EventBounds } from "./domain/ingest/json-event.ts";
import type { RefusedEvent } from "./domain/ingest/quarantine.ts";
import { StreamIngest } from "./domain/ingest/stream-ingest.ts";
import type { PushedRows } from "./domain/offline/offline-store.ts";
import { withTopicRows } from "./domain/offline/topic-rows.ts";
import type { CompiledView } from "./domain/views/view-state.ts";
import type { FeatureMetrics } from "./metrics.ts";

/** What following Kafka works with. */
export interface Streams {
  readonly ingest: Ingest;
  readonly refuse: (events: readonly RefusedEvent[]) => Promise<void>;
  readonly metrics: FeatureMetrics;
  readonly clock: Clock;
  readonly logger: Telemetry["logger"];
}

/** How long a read of Kafka waits for the first message. */
const waitMs = 250;
/** Failures in a row of which the log hears. */
const failuresTold = 3;

/** What an event may hold, by the settings. */
export function eventBounds({ valueBytesMax, futureToleranceMs }: Settings): EventBounds {
  return { valueBytesMax, futureToleranceUs: futureToleranceMs * 1_000 };
}

/** The log of a consumer group. */
function openLog(settings: Settings, group: string): KafkaLog {
  return new KafkaLog({
    brokers: settings.kafkaBrokers.split(",").map((broker) => broker.trim()),
    group,
    readMaxBytes: settings.kafkaReadMaxKib * 1_024,
    waitMs,
    sessionTimeoutMs: settings.kafkaSessionTimeoutMs,
  });
}

/** What was pushed, with what topics hold where there are brokers: for training sets and parity. */
export function offlineRows(
  settings: Settings,
  pushed: PushedRows,
  { views, nowUs }: { readonly views: readonly CompiledView[]; readonly nowUs: () => number },
): PushedRows {
  if (settings.kafkaBrokers === "") return pushed;
  return withTopicRows(pushed, {
    // A group of its own, so that every partition is its.
    open: () => openLog(settings, `${settings.kafkaGroup}-offline-${randomUUID()}`),
    views,
    bounds: eventBounds(settings),
    nowUs,
  });
}

/** Follows the topics that the sources of loaded releases name. */
export function startStreamIngest(
  settings: Settings,
  { ingest, refuse, metrics, clock, logger }: Streams,
): StreamIngest {
  const log = openLog(settings, settings.kafkaGroup);
  /** Failures since something was last applied. */
  let failures = 0;
  const streams = new StreamIngest(log, {
    ingest,
    refuse,
    bounds: eventBounds(settings),
    observer: {
      applied(source, events, delayUs) {
        failures = 0;
        metrics.streamedEvents.add(events, { source });
        metrics.ingestDelay.observe(delayUs / 1e6, { source });
      },
      lag: (topic, partition, messages) => metrics.streamLag.set(messages, { topic, partition: String(partition) }),
      lost(topic, messages) {
        metrics.streamLost.add(messages, { topic });
        logger.error({ topic, messages }, "Kafka threw messages away before they were read");
      },
      failed(cause) {
        metrics.streamFailures.add(1);
        // Once an outage, and not for a coordinator that is being elected.
        if (++failures === failuresTold)
          logger.error({ err: cause }, "Kafka or the online store cannot be reached; trying again");
      },
    },
    nowUs: () => Number(clock.nowUs()),
    pause: (timeMs, signal) =>
      new Promise((resolve) => {
        if (signal.aborted) return resolve();
        const done = () => {
          timer.cancel();
          signal.removeEventListener("abort", done);
          resolve();
        };
        const timer = clock.setTimer(timeMs, done);
        signal.addEventListener("abort", done);
      }),
  });
  streams.start();
  return streams;
}
