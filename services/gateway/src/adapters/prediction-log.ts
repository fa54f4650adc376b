import type { monitoring } from "@weft/contracts";
import { Code, isWeftError } from "@weft/errors";
import type { Client } from "@weft/rpc";
import type { Logger } from "@weft/telemetry";
import { BatchQueue, type Timers } from "../domain/batch-queue.ts";
import { type PredictionRecord, recordBytes } from "../domain/prediction.ts";
import type { GatewayMetrics } from "../metrics.ts";

/** Limits of the prediction log. */
export interface PredictionLogSettings {
  readonly logQueueMax: number;
  readonly logQueueMaxBytes: number;
  readonly logBatchMax: number;
  readonly logDelayMs: number;
  readonly logTimeoutMs: number;
  readonly logRetryMaxMs: number;
  readonly drainMs: number;
}

/** What the prediction log works with. */
export interface PredictionLogOptions {
  readonly monitoring: Pick<Client<typeof monitoring.MonitoringService>, "logPredictions">;
  readonly settings: PredictionLogSettings;
  readonly timers: Timers;
  /** 0 to 1; spreads retries. */
  readonly random: () => number;
  readonly metrics: GatewayMetrics;
  readonly logger: Pick<Logger, "warn">;
}

const retryFirstMs = 100;

/** Codes after which the same batch may be taken later. */
const transient: ReadonlySet<Code> = new Set([
  Code.Unavailable,
  Code.DeadlineExceeded,
  Code.ResourceExhausted,
  Code.Aborted,
  Code.Cancelled,
  Code.Unknown,
  Code.Internal,
]);

/**
 * Sends predictions to monitoring in batches, away from the requests. While monitoring is down the queue fills, up to its
 * bounds; what does not fit is dropped and counted. A batch that monitoring refuses is split until the faulty record is
 * alone and dropped.
 */
export class PredictionLog {
  readonly #options: PredictionLogOptions;
  readonly #queue: BatchQueue<PredictionRecord>;
  #closing = false;
  #wake: (() => void) | undefined;

  constructor(options: PredictionLogOptions) {
    const { settings, timers } = options;
    this.#options = options;
    this.#queue = new BatchQueue({
      queueMax: settings.logQueueMax,
      weightMax: settings.logQueueMaxBytes,
      weigh: recordBytes,
      batchMax: settings.logBatchMax,
      delayMs: settings.logDelayMs,
      timers,
      run: (batch) => this.#send(batch),
    });
  }

  /** Takes a record; never waits. */
  append(record: PredictionRecord): void {
    const { metrics } = this.#options;
    if (!this.#queue.push(record)) metrics.logDropped.add(1, { reason: this.#closing ? "closing" : "queue_full" });
    metrics.logQueue.set(this.#queue.length);
  }

  /** Logs what waits, for at most `drainMs`; the rest is dropped and counted. */
  async close(): Promise<void> {
    const { settings, timers, metrics } = this.#options;
    let abandon = () => {};
    const abandoned = new Promise<void>((resolve) => {
      abandon = resolve;
    });
    const timer = timers.setTimer(settings.drainMs, () => {
      this.#closing = true;
      this.#wake?.();
      abandon();
    });
    await this.#queue.close(abandoned);
    timer.cancel();
    this.#closing = true;
    if (this.#queue.length > 0) metrics.logDropped.add(this.#queue.length, { reason: "closing" });
  }

  async #send(batch: readonly PredictionRecord[]): Promise<void> {
    const { monitoring: client, settings, metrics, logger, random } = this.#options;
    metrics.logQueue.set(this.#queue.length);
    for (let delayMs = retryFirstMs; ; delayMs = Math.min(delayMs * 2, settings.logRetryMaxMs)) {
      try {
        await client.logPredictions({ predictions: batch as PredictionRecord[] }, { timeoutMs: settings.logTimeoutMs });
        metrics.logged.add(batch.length);
        return;
      } catch (error) {
        if (isWeftError(error) && !transient.has(error.code)) {
          await this.#refused(batch, error);
          return;
        }
        if (this.#closing) {
          metrics.logDropped.add(batch.length, { reason: "closing" });
          return;
        }
        metrics.logRetries.add(1);
        if (delayMs === retryFirstMs)
          logger.warn({ err: error, predictions: batch.length }, "predictions wait to be logged");
        await this.#pause(delayMs * (0.5 + random() / 2));
      }
    }
  }

  async #refused(batch: readonly PredictionRecord[], error: unknown): Promise<void> {
    const { metrics, logger } = this.#options;
    if (batch.length > 1) {
      const middle = batch.length >> 1;
      await this.#send(batch.slice(0, middle));
      await this.#send(batch.slice(middle));
      return;
    }
    metrics.logDropped.add(1, { reason: "refused" });
    logger.warn({ err: error, requestId: batch[0]?.requestId }, "monitoring refuses a prediction");
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.timers.setTimer(delayMs, resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}
