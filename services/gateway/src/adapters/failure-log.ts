import type { Logger } from "@weft/telemetry";

/** Longest silence between two lines of one stage, in milliseconds. */
const pauseMs = 1_000;

/** Logs why stages failed, which never reaches the wire: one line a stage and second, with the number of the others. */
export class FailureLog {
  readonly #scenario: string;
  readonly #logger: Pick<Logger, "warn">;
  readonly #nowMs: () => number;
  readonly #stages = new Map<string, { lastMs: number; suppressed: number }>();

  constructor(scenario: string, logger: Pick<Logger, "warn">, nowMs: () => number) {
    this.#scenario = scenario;
    this.#logger = logger;
    this.#nowMs = nowMs;
  }

  add(stage: string, reason: string, error: unknown): void {
    // A peer that does not hold a release yet is expected while the release is loaded; the load is repeated until it does.
    if (reason === "RELEASE_NOT_LOADED") return;
    const nowMs = this.#nowMs();
    const state = this.#stages.get(stage);
    if (state !== undefined && nowMs - state.lastMs < pauseMs) {
      state.suppressed += 1;
      return;
    }
    this.#stages.set(stage, { lastMs: nowMs, suppressed: 0 });
    const suppressed = state?.suppressed ?? 0;
    this.#logger.warn({ scenario: this.#scenario, stage, reason, suppressed, err: error }, "a stage failed");
  }
}
