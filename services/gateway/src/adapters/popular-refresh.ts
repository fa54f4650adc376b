import type { Logger } from "@weft/telemetry";
import type { Timers } from "../domain/batch-queue.ts";
import type { FeatureColumn, Peers } from "../domain/peers.ts";
import type { RecommendPlan } from "../domain/recommend-plan.ts";

/** What a refresh works with. */
export interface PopularRefreshOptions {
  readonly plan: RecommendPlan;
  readonly peers: Peers;
  readonly timers: Timers;
  /** Timeout of each read, in milliseconds. */
  readonly timeoutMs: number;
  /** Time that the first list is for, in microseconds since 1970. */
  readonly eventTimeUs: number;
  readonly onRefreshed: () => void;
  readonly logger: Pick<Logger, "warn">;
}

/** Time between refreshes while there is no list to fall back to. */
const unloadedRefreshMs = 2_000;

/**
 * Keeps the fallback list of a release fresh in the background. The list is for the newest event time that requests asked
 * for, so that a replay of history falls back to what was popular then. A failed refresh leaves the last good list.
 */
export class PopularRefresh {
  readonly #options: PopularRefreshOptions;
  readonly #unknown: readonly null[];
  #eventTimeUs: number;
  #newestUs = 0;
  #timer: { cancel(): void } | undefined;
  #closed = false;

  constructor(options: PopularRefreshOptions) {
    this.#options = options;
    this.#eventTimeUs = options.eventTimeUs;
    this.#unknown = options.plan.inputs.fields.map(() => null);
  }

  /** Hears of the time that a request is for. */
  saw(eventTimeUs: number): void {
    if (eventTimeUs > this.#newestUs) this.#newestUs = eventTimeUs;
  }

  /** Refreshes every `refreshMs` of the pipeline, from now on; sooner while there is no list at all. */
  start(): void {
    if (this.#closed) return;
    const { plan, timers } = this.#options;
    const { refreshMs } = plan.pipeline.fallback;
    this.#timer = timers.setTimer(plan.popular.loaded ? refreshMs : Math.min(refreshMs, unloadedRefreshMs), () => {
      void this.refresh()
        .catch((error: unknown) =>
          this.#options.logger.warn({ err: error }, "the fallback list could not be refreshed"),
        )
        .finally(() => this.start());
    });
  }

  /** Reads the list once; false where it was empty. Rejects where it cannot be read. */
  async refresh(): Promise<boolean> {
    const { plan, peers, timeoutMs, onRefreshed, logger } = this.#options;
    if (this.#newestUs > 0) this.#eventTimeUs = this.#newestUs;
    this.#newestUs = 0;
    const eventTimeUs = this.#eventTimeUs;
    const keys = plan.popularKeys(
      await peers.readColumns(plan.popularRead, [[], []], this.#unknown, eventTimeUs, timeoutMs),
    );
    if (keys.length === 0) return false;
    let columns: readonly FeatureColumn[] | undefined;
    if (plan.popularItemsRead.references.length === 0) columns = [];
    else
      try {
        columns = await peers.readColumns(plan.popularItemsRead, [[], keys], this.#unknown, eventTimeUs, timeoutMs);
      } catch (error) {
        logger.warn({ err: error }, "the attributes of the fallback list could not be read");
      }
    plan.popular.replace(plan.popularItems(keys, columns));
    onRefreshed();
    return true;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }
}
