import type { Logger } from "@weft/telemetry";
import { BatchQueue, type Timers } from "../domain/batch-queue.ts";
import type { Peers } from "../domain/peers.ts";
import type { PredictionRecord } from "../domain/prediction.ts";
import type { ScorePlan } from "../domain/score-plan.ts";
import { type ShadowEvent, scoreShadows } from "../domain/shadow-scoring.ts";
import type { GatewayMetrics } from "../metrics.ts";

/** An answered event and the record that waits for its shadow scores. */
export interface ShadowJob extends ShadowEvent {
  readonly record: PredictionRecord;
}

/** What the shadows of a release work with. */
export interface ShadowScorerOptions {
  readonly scenario: string;
  readonly plan: ScorePlan;
  readonly peers: Peers;
  readonly settings: {
    readonly shadowQueueMax: number;
    readonly shadowBatchMax: number;
    readonly shadowDelayMs: number;
    readonly shadowTimeoutMs: number;
    readonly drainMs: number;
  };
  readonly timers: Timers;
  readonly metrics: GatewayMetrics;
  readonly logger: Pick<Logger, "warn">;
  /** Takes each record once its shadows have scored, or could not. */
  readonly log: (record: PredictionRecord) => void;
}

/** Scores answered events with a release's shadow models, after the answer and in batches; their scores are only logged. */
export class ShadowScorer {
  readonly #options: ShadowScorerOptions;
  readonly #queue: BatchQueue<ShadowJob>;

  constructor(options: ShadowScorerOptions) {
    const { settings, timers } = options;
    this.#options = options;
    this.#queue = new BatchQueue<ShadowJob>({
      queueMax: settings.shadowQueueMax,
      weightMax: Number.POSITIVE_INFINITY,
      weigh: () => 1,
      batchMax: settings.shadowBatchMax,
      delayMs: settings.shadowDelayMs,
      timers,
      run: (batch) => this.#score(batch),
    });
  }

  /** Takes an event; logs it without shadows where the queue is full. */
  submit(job: ShadowJob): void {
    const { scenario, plan, metrics, log } = this.#options;
    if (!this.#queue.push(job)) {
      for (const { model } of plan.shadows) metrics.shadows.add(1, { scenario, model: model.name, outcome: "shed" });
      log(job.record);
    }
    metrics.shadowQueue.set(this.#queue.length, { scenario });
  }

  async close(): Promise<void> {
    const { settings, timers } = this.#options;
    let timer: { cancel(): void } | undefined;
    const abandon = new Promise<void>((resolve) => {
      timer = timers.setTimer(settings.drainMs, resolve);
    });
    await this.#queue.close(abandon);
    timer?.cancel();
  }

  async #score(batch: readonly ShadowJob[]): Promise<void> {
    const { scenario, plan, peers, settings, metrics, logger, log } = this.#options;
    for (const { shadow, scores, error } of await scoreShadows(plan, batch, peers, settings.shadowTimeoutMs)) {
      const { name, version } = shadow.model;
      let scored = 0;
      for (const [index, { record }] of batch.entries()) {
        const score = scores[index] ?? Number.NaN;
        if (!Number.isFinite(score)) continue;
        scored += 1;
        record.scores.push({ model: name, version, score, shadow: true });
      }
      metrics.shadows.add(scored, { scenario, model: name, outcome: "scored" });
      if (scored === batch.length) continue;
      metrics.shadows.add(batch.length - scored, { scenario, model: name, outcome: "failed" });
      logger.warn({ err: error, scenario, model: name, events: batch.length - scored }, "a shadow model did not score");
    }
    for (const { record } of batch) log(record);
    metrics.shadowQueue.set(this.#queue.length, { scenario });
  }
}
