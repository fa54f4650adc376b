import type { registry } from "@weft/contracts";
import type { Example, Scenario, Value } from "@weft/scenario";
import type { Clock } from "@weft/service";
import type { Logger } from "@weft/telemetry";
import type { Degradation } from "../domain/degradation.ts";
import type { Key, Peers } from "../domain/peers.ts";
import { PopularList } from "../domain/popular-list.ts";
import type { PredictionRecord } from "../domain/prediction.ts";
import { RecommendPlan } from "../domain/recommend-plan.ts";
import { type PlanOptions, ScorePlan } from "../domain/score-plan.ts";
import { errors } from "../errors.ts";
import { createReleaseSeries, type GatewayMetrics, type ReleaseSeries } from "../metrics.ts";
import { FailureLog } from "./failure-log.ts";
import { PopularRefresh } from "./popular-refresh.ts";
import { type PeerCalls, RpcPeers } from "./rpc-peers.ts";
import { ShadowScorer, type ShadowScorerOptions } from "./shadow-scorer.ts";

interface Served {
  readonly scenario: string;
  readonly releaseId: string;
  readonly series: ReleaseSeries;
  close(): Promise<void>;
}

/** A release whose scenario answers `Score`, ready to. */
export interface ServedScore extends Served {
  readonly kind: "score";
  readonly plan: ScorePlan;
  /** Undefined where the pipeline has no shadows. */
  readonly shadows: ShadowScorer | undefined;
}

/** A release whose scenario answers `Recommend`, ready to. */
export interface ServedRecommend extends Served {
  readonly kind: "recommend";
  readonly plan: RecommendPlan;
  readonly refresh: PopularRefresh;
}

/** A release that the gateway can answer with. */
export type ServedRelease = ServedScore | ServedRecommend;

/** Limits of releases. */
export interface ReleaseSettings {
  readonly answerReserveMs: number;
  readonly displayBudgetMs: number;
  readonly candidateMax: number;
  readonly popularMax: number;
  readonly backgroundTimeoutMs: number;
  readonly warmTimeoutMs: number;
  readonly warmRequestMs: number;
}

/** What releases are loaded with. */
export interface ReleaseLoaderOptions {
  readonly calls: PeerCalls;
  readonly clock: Clock;
  /** Milliseconds on a clock that never goes back. */
  readonly stopwatchMs: () => number;
  /** 0 to 1; spreads retries. */
  readonly random: () => number;
  readonly settings: ReleaseSettings & ShadowScorerOptions["settings"];
  readonly metrics: GatewayMetrics;
  readonly logger: Pick<Logger, "info" | "warn">;
  readonly log: (record: PredictionRecord) => void;
}

const retryFirstMs = 50;
const retryMaxMs = 1_000;
/** Work in the background gives way to requests, whose priority is 0 unless they say otherwise. */
const backgroundPriority = -10;

/** Compiles releases and warms them through the peers, so that the gateway names a release only when it can be answered with. */
export class ReleaseLoader {
  readonly #options: ReleaseLoaderOptions;

  constructor(options: ReleaseLoaderOptions) {
    this.#options = options;
  }

  /**
   * Loads a release: its plan is compiled, and its scenario's examples are answered through the peers until no stage fails.
   * A release without its index yet is warmed as far as it goes. Throws WARM_UP_FAILED after `warmTimeoutMs`.
   */
  async load({ release, scenario, signal }: LoadedParts): Promise<ServedRelease> {
    const { calls } = this.#options;
    const scope = { parent: undefined, release: release.id, requestId: "", priority: backgroundPriority };
    const peers = new RpcPeers(calls, scope);
    const failures = new FailureLog(scenario.name, this.#options.logger, this.#options.stopwatchMs);
    const served =
      scenario.pipeline.type === "score"
        ? this.#compileScore(release, scenario, scenario.pipeline, peers, failures)
        : this.#compileRecommend(release, scenario, scenario.pipeline, peers, failures);
    try {
      await this.#warm(served, scenario, peers, signal);
    } catch (error) {
      await served.close();
      throw error;
    }
    if (served.kind === "recommend") served.refresh.start();
    return served;
  }

  #planOptions(failures: FailureLog): PlanOptions {
    return {
      nowMs: this.#options.stopwatchMs,
      answerReserveMs: this.#options.settings.answerReserveMs,
      onFailure: (stage, reason, error) => failures.add(stage, reason, error),
    };
  }

  #compileScore(
    release: registry.Release,
    scenario: Scenario,
    pipeline: Extract<Scenario["pipeline"], { type: "score" }>,
    peers: Peers,
    failures: FailureLog,
  ): ServedScore {
    const { settings, clock, metrics, logger, log } = this.#options;
    const plan = new ScorePlan(scenario, pipeline, versionOf(release), this.#planOptions(failures));
    const shadows =
      plan.shadows.length === 0
        ? undefined
        : new ShadowScorer({ scenario: scenario.name, plan, peers, settings, timers: clock, metrics, logger, log });
    return {
      kind: "score",
      scenario: scenario.name,
      releaseId: release.id,
      series: createReleaseSeries(metrics, scenario.name, "Score"),
      plan,
      shadows,
      close: async () => shadows?.close(),
    };
  }

  #compileRecommend(
    release: registry.Release,
    scenario: Scenario,
    pipeline: Extract<Scenario["pipeline"], { type: "recommend" }>,
    peers: Peers,
    failures: FailureLog,
  ): ServedRecommend {
    const { settings, clock, metrics, logger } = this.#options;
    const parts = {
      version: versionOf(release),
      generation: (name: string) => release.indexes.find(({ index }) => index === name)?.generation,
    };
    const plan = new RecommendPlan(scenario, pipeline, parts, new PopularList(), {
      ...this.#planOptions(failures),
      candidateMax: settings.candidateMax,
      displayBudgetMs: settings.displayBudgetMs,
      popularMax: settings.popularMax,
    });
    const refresh = new PopularRefresh({
      plan,
      peers,
      timers: clock,
      timeoutMs: settings.backgroundTimeoutMs,
      eventTimeUs: Math.max(...scenario.examples.map(({ eventTimeUs }) => Number(eventTimeUs))),
      onRefreshed: () => metrics.popularRefreshed.set(clock.nowMs() / 1_000, { scenario: scenario.name }),
      logger,
    });
    return {
      kind: "recommend",
      scenario: scenario.name,
      releaseId: release.id,
      series: createReleaseSeries(metrics, scenario.name, "Recommend"),
      plan,
      refresh,
      close: async () => refresh.close(),
    };
  }

  async #warm(served: ServedRelease, scenario: Scenario, peers: Peers, signal: AbortSignal): Promise<void> {
    const { settings, logger, stopwatchMs } = this.#options;
    const { warmRequestMs } = settings;
    const startMs = stopwatchMs();
    const warm = { release: served.releaseId, endMs: startMs + settings.warmTimeoutMs, signal };
    if (served.kind === "recommend") {
      await this.#untilHealthy(warm, async () => {
        const found = await served.refresh.refresh();
        if (!found) logger.info({ scenario: scenario.name, release: warm.release }, "the fallback list is empty");
        return [];
      });
    }
    for (const example of scenario.examples) {
      await this.#untilHealthy(warm, async () => {
        const nowMs = stopwatchMs();
        const answer =
          served.kind === "score"
            ? await served.plan.run(scoreExample(served.plan, example), peers, nowMs, warmRequestMs)
            : await served.plan.run(recommendExample(served.plan, example), peers, nowMs, warmRequestMs);
        return answer.degradations;
      });
    }
    const durationMs = Math.round(stopwatchMs() - startMs);
    logger.info({ scenario: scenario.name, release: warm.release, durationMs }, "release warm");
  }

  /** Repeats an attempt until no peer failed in it, pausing longer each time. */
  async #untilHealthy(
    warm: { readonly release: string; readonly endMs: number; readonly signal: AbortSignal },
    attempt: () => Promise<readonly Degradation[]>,
  ): Promise<void> {
    const { clock, stopwatchMs, random } = this.#options;
    for (let delayMs = retryFirstMs; ; delayMs = Math.min(delayMs * 2, retryMaxMs)) {
      let failure: { readonly stage: string; readonly reason: string } | undefined;
      let cause: unknown;
      try {
        failure = (await attempt()).find(({ failed }) => failed);
        if (failure === undefined) return;
      } catch (error) {
        cause = error;
        failure = { stage: "fallback", reason: error instanceof Error ? error.message : String(error) };
      }
      if (warm.signal.aborted || stopwatchMs() + delayMs > warm.endMs) {
        const { stage, reason } = failure;
        throw errors.WARM_UP_FAILED({ release: warm.release, stage, reason }, { cause });
      }
      await new Promise<void>((resolve) => {
        clock.setTimer(delayMs * (0.5 + random() / 2), resolve);
      });
    }
  }
}

/** What the gateway needs of a loaded release. */
export interface LoadedParts {
  readonly release: registry.Release;
  readonly scenario: Scenario;
  /** Aborts when the gateway closes. */
  readonly signal: AbortSignal;
}

function versionOf(release: registry.Release): (model: string) => string {
  return (model) => {
    const found = release.models.find(({ name }) => name === model);
    if (found === undefined) throw errors.MODEL_NOT_IN_RELEASE({ release: release.id, model });
    return found.version;
  };
}

function exampleFields(fields: readonly { readonly name: string }[], example: Example): readonly Value[] {
  return fields.map(({ name }) => example.request?.[name] ?? null);
}

function exampleKey(example: Example, entity: string): Key {
  return example.entities[entity] ?? "";
}

function scoreExample({ inputs }: ScorePlan, example: Example) {
  return {
    keys: inputs.entities.map(({ name }) => [exampleKey(example, name)]),
    fields: exampleFields(inputs.fields, example),
    eventTimeUs: Number(example.eventTimeUs),
  };
}

function recommendExample({ inputs, pipeline }: RecommendPlan, example: Example) {
  return {
    user: exampleKey(example, pipeline.user.name),
    fields: exampleFields(inputs.fields, example),
    count: 10,
    filters: [],
    excluded: [],
    eventTimeUs: Number(example.eventTimeUs),
  };
}
