import type { gateway } from "@weft/contracts";
import { Code, isWeftError, type WeftError } from "@weft/errors";
import type { CallContext, Handlers } from "@weft/rpc";
import type { FeatureReference, Value } from "@weft/scenario";
import type { Logger } from "@weft/telemetry";
import type { ServedRecommend, ServedRelease, ServedScore } from "./adapters/release-loader.ts";
import { type PeerCalls, RpcPeers } from "./adapters/rpc-peers.ts";
import { durationOfMs, timestampOfUs } from "./adapters/timestamp.ts";
import type { Degradation } from "./domain/degradation.ts";
import { Faults } from "./domain/faults.ts";
import { readEventTimeUs, readKey } from "./domain/inputs.ts";
import { readFilters } from "./domain/item-filters.ts";
import { orderedMap } from "./domain/ordered-map.ts";
import type { Key } from "./domain/peers.ts";
import { type PredictionRecord, recommendRecords, scoreRecord } from "./domain/prediction.ts";
import type { RankedItem, RecommendAnswer, RecommendInput, RecommendPlan } from "./domain/recommend-plan.ts";
import type { RequestIds } from "./domain/request-id.ts";
import { RulesFailure, type ScoreAnswer, type ScoreInput } from "./domain/score-plan.ts";
import { errors } from "./errors.ts";
import type { GatewayMetrics, ReleaseSeries } from "./metrics.ts";

/** Items asked for where a request does not say. */
const countDefault = 10;
/** Items a request may ask for. */
const countMax = 1_000;
/** Items a request may exclude. */
const excludedMax = 10_000;
/** Length of an event's id in a stream. */
const eventIdBytesMax = 128;

/** What the handlers work with. */
export interface GatewayOptions {
  readonly releases: { resolve(scenario: string, release: string): ServedRelease };
  readonly calls: PeerCalls;
  readonly requestIds: RequestIds;
  readonly log: (record: PredictionRecord) => void;
  readonly settings: {
    readonly inflightMax: number;
    readonly streamConcurrencyMax: number;
    readonly eventTimeAheadMaxMs: number;
  };
  readonly clock: { nowMs(): number; nowUs(): bigint };
  /** Milliseconds on a clock that never goes back. */
  readonly stopwatchMs: () => number;
  readonly metrics: GatewayMetrics;
  readonly logger: Pick<Logger, "error">;
}

type Method = "Score" | "ScoreStream" | "Recommend";

/** The public API: checks a request, resolves its release once, runs the release's pipeline and shapes the answer. */
export function createGatewayService(options: GatewayOptions): Handlers<typeof gateway.GatewayService> {
  const service = new GatewayService(options);
  return {
    recommend: (request, context) => service.recommend(request, context),
    score: (request, context) => service.score(request, context),
    scoreStream: (requests, context) => service.scoreStream(requests, context),
  };
}

class GatewayService {
  readonly #options: GatewayOptions;
  readonly #inflight: { set(value: number): void };
  #underway = 0;

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.#inflight = options.metrics.inflight.with({});
  }

  async score(request: gateway.ScoreRequest, context: CallContext) {
    const requestId = context.requestId === "" ? this.#options.requestIds.next() : context.requestId;
    return this.#guard("Score", request.scenario, context, () => this.#score(request, context, requestId, "Score"));
  }

  scoreStream(requests: AsyncIterable<gateway.ScoreStreamRequest>, context: CallContext) {
    const { streamConcurrencyMax, requestIds } = { ...this.#options.settings, ...this.#options };
    let event = 0;
    return orderedMap(requests, streamConcurrencyMax, (message) => {
      event += 1;
      const requestId = context.requestId === "" ? requestIds.next() : `${context.requestId}/${event}`;
      return this.#scoreEvent(message, context, requestId);
    });
  }

  async recommend(request: gateway.RecommendRequest, context: CallContext) {
    const requestId = context.requestId === "" ? this.#options.requestIds.next() : context.requestId;
    return this.#guard("Recommend", request.scenario, context, () => this.#recommend(request, context, requestId));
  }

  /** Admits a request, and counts it where it fails. */
  async #guard<T>(method: Method, scenario: string, context: CallContext, answer: () => Promise<T>): Promise<T> {
    const { inflightMax } = this.#options.settings;
    try {
      if (this.#underway >= inflightMax) throw errors.OVERLOADED({ inflightMax });
      this.#inflight.set(++this.#underway);
      try {
        return await answer();
      } finally {
        this.#inflight.set(--this.#underway);
      }
    } catch (thrown) {
      const error = this.#asError(thrown, method, scenario, context);
      this.#countFailure(error, method, scenario);
      throw error;
    }
  }

  async #scoreEvent(message: gateway.ScoreStreamRequest, context: CallContext, requestId: string) {
    const { id, request } = message;
    try {
      const response = await this.#guard("ScoreStream", request?.scenario ?? "", context, () => {
        if (Buffer.byteLength(id) > eventIdBytesMax) throw errors.EVENT_ID_TOO_LONG({ bytesMax: eventIdBytesMax });
        if (request === undefined) throw errors.EVENT_MISSING({});
        return this.#score(request, context, requestId, "ScoreStream");
      });
      return { id, result: { case: "response", value: response } } as const;
    } catch (error) {
      return { id, result: { case: "error", value: this.#streamError(error, requestId) } } as const;
    }
  }

  #streamError(error: unknown, requestId: string) {
    if (isWeftError(error) && error.code !== Code.Internal)
      return { code: error.code, reason: error.reason, message: error.message };
    // The stream goes on, so that its boundary does not see this fault: it is logged here.
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    this.#options.logger.error({ err: cause, requestId }, "an event of a stream failed");
    if (isWeftError(error)) return { code: error.code, reason: error.reason, message: error.message };
    return { code: Code.Internal, reason: "INTERNAL", message: "the event failed; the log has the cause" };
  }

  async #score(request: gateway.ScoreRequest, context: CallContext, requestId: string, method: Method) {
    const { stopwatchMs, clock, calls, log } = this.#options;
    const startMs = stopwatchMs();
    const readTimeUs = clock.nowUs();
    const served = this.#resolve(request.scenario, context);
    if (served.kind !== "score")
      throw errors.WRONG_PIPELINE({ scenario: request.scenario, method, answers: "Recommend" });
    const { plan, releaseId, series } = served;
    const input = this.#scoreInput(served, request);
    const { deadlineMs } = plan.pipeline;
    const totalMs = remainingMs(context, deadlineMs, method);
    const peers = new RpcPeers(calls, { parent: context, release: releaseId, requestId });
    const answer = await plan.run(input, peers, startMs, method === "Score" ? totalMs : Math.min(totalMs, deadlineMs));

    const { tenant, arm } = context;
    const facts = { requestId, scenario: served.scenario, releaseId, tenant, arm, readTimeUs };
    const record = scoreRecord(plan, input, answer, facts);
    if (served.shadows === undefined || answer.matrix === undefined) log(record);
    else served.shadows.submit({ input, matrix: answer.matrix, record });

    this.#count(series, served.scenario, answer.degradations, answer.fromModel, stopwatchMs() - startMs);
    observeStage(series, "features", answer.featuresMs);
    observeStage(series, "scoring", answer.scoringMs);
    observeStage(series, "decision", answer.decisionMs);
    return scoreResponse(served, requestId, input, answer);
  }

  #scoreInput({ plan }: ServedScore, request: gateway.ScoreRequest): ScoreInput {
    const { clock, settings } = this.#options;
    const faults = new Faults();
    const input = {
      keys: plan.inputs.keys(request.entities, "entities", faults),
      fields: plan.inputs.values(request.features, "features", faults),
      eventTimeUs: readEventTimeUs(request.eventTime, clock.nowMs(), settings.eventTimeAheadMaxMs, faults),
    };
    refuse(request.scenario, faults);
    return input;
  }

  async #recommend(request: gateway.RecommendRequest, context: CallContext, requestId: string) {
    const { stopwatchMs, clock, calls, log } = this.#options;
    const startMs = stopwatchMs();
    const readTimeUs = clock.nowUs();
    const served = this.#resolve(request.scenario, context);
    if (served.kind !== "recommend")
      throw errors.WRONG_PIPELINE({ scenario: request.scenario, method: "Recommend", answers: "Score" });
    const { plan, releaseId, series, refresh } = served;
    const input = this.#recommendInput(plan, request);
    refresh.saw(input.eventTimeUs);
    const totalMs = remainingMs(context, plan.pipeline.deadlineMs, "Recommend");
    const peers = new RpcPeers(calls, { parent: context, release: releaseId, requestId });
    const answer = await plan.run(input, peers, startMs, totalMs);

    const { tenant, arm } = context;
    const facts = { requestId, scenario: served.scenario, releaseId, tenant, arm, readTimeUs };
    for (const record of recommendRecords(plan, input, answer, facts)) log(record);
    const fromModel = answer.matrix !== undefined || answer.degradations.length === 0;
    this.#count(series, served.scenario, answer.degradations, fromModel, stopwatchMs() - startMs);
    for (const { stage, ms } of answer.stages) observeStage(series, stage, ms);
    return recommendResponse(served, requestId, input, answer);
  }

  #recommendInput(plan: RecommendPlan, request: gateway.RecommendRequest): RecommendInput {
    const { clock, settings } = this.#options;
    const faults = new Faults();
    const { key } = plan.pipeline.user;
    const user = request.user === undefined ? { fault: "is missing" } : readKey(request.user, key);
    if (typeof user === "object") faults.add("user", user.fault);
    const count = request.count === 0 ? countDefault : request.count;
    if (count < 1 || count > countMax) faults.add("count", `must be 1 to ${countMax}`);
    const excluded: Key[] = [];
    if (request.excludedIds.length > excludedMax) faults.add("excluded_ids", `must be at most ${excludedMax}`);
    else
      for (const [index, id] of request.excludedIds.entries()) {
        const item = readKey(id, plan.itemKey);
        if (typeof item === "object") faults.add(`excluded_ids[${index}]`, item.fault);
        else excluded.push(item);
      }
    const input = {
      user: typeof user === "object" ? "" : user,
      fields: plan.inputs.values(request.context, "context", faults),
      count,
      filters: readFilters(request.filters, plan.attributes, faults),
      excluded,
      eventTimeUs: readEventTimeUs(request.eventTime, clock.nowMs(), settings.eventTimeAheadMaxMs, faults),
    };
    refuse(request.scenario, faults);
    return input;
  }

  #resolve(scenario: string, context: CallContext): ServedRelease {
    if (scenario === "") throw errors.SCENARIO_MISSING({});
    return this.#options.releases.resolve(scenario, context.release);
  }

  #count(
    series: ReleaseSeries,
    scenario: string,
    degradations: readonly Degradation[],
    fromModel: boolean,
    elapsedMs: number,
  ): void {
    series.seconds.observe(elapsedMs / 1_000);
    if (degradations.length === 0) {
      series.ok.add(1);
      return;
    }
    (fromModel ? series.degraded : series.fallback).add(1);
    const { metrics } = this.#options;
    for (const { stage, reason, fallback } of degradations) {
      metrics.degradations.add(1, { scenario, stage, reason });
      if (fallback !== "") metrics.fallbacks.add(1, { scenario, stage, reason, fallback });
    }
  }

  #asError(thrown: unknown, method: Method, scenario: string, context: CallContext): unknown {
    if (thrown instanceof RulesFailure)
      return errors.FALLBACK_FAILED({ scenario, fallback: thrown.fallback }, { cause: thrown });
    if (context.cancelled !== undefined && !isWeftError(thrown)) return errors.CANCELLED({ method }, { cause: thrown });
    return thrown;
  }

  #countFailure(error: unknown, method: Method, scenario: string): void {
    const outcome = isWeftError(error) ? outcomeOf(error) : "error";
    // A name that no release has must not make a time series.
    const known = outcome === "invalid" || outcome === "error" ? this.#knownScenario(scenario) : scenario;
    this.#options.metrics.requests.add(1, { scenario: known, method, outcome });
  }

  #knownScenario(scenario: string): string {
    try {
      return this.#options.releases.resolve(scenario, "").scenario;
    } catch {
      return "";
    }
  }
}

function outcomeOf({ code }: WeftError): string {
  switch (code) {
    case Code.InvalidArgument:
    case Code.NotFound:
    case Code.OutOfRange:
    case Code.FailedPrecondition:
      return "invalid";
    case Code.ResourceExhausted:
      return "overloaded";
    case Code.DeadlineExceeded:
      return "late";
    case Code.Cancelled:
      return "cancelled";
    default:
      return "error";
  }
}

/** Throws INVALID_REQUEST where anything is wrong. */
function refuse(scenario: string, faults: Faults): void {
  if (faults.none) return;
  throw errors.INVALID_REQUEST({ scenario, faults: faults.toString() }, { violations: faults.violations });
}

/** Time that a request may take: what the caller's deadline leaves, or the pipeline's own where there is none. */
function remainingMs(context: CallContext, pipelineMs: number, method: Method): number {
  if (context.deadlineMs === Number.POSITIVE_INFINITY) return pipelineMs;
  const leftMs = context.remainingMs();
  if (leftMs <= 0) throw errors.DEADLINE_PASSED({ method });
  return leftMs;
}

function observeStage(series: ReleaseSeries, stage: string, ms: number): void {
  if (ms >= 0) series.stages[stage]?.observe(ms / 1_000);
}

function scoreResponse({ plan, releaseId }: ServedScore, requestId: string, input: ScoreInput, answer: ScoreAnswer) {
  const { name, version, output } = plan.model;
  const { fromModel, score, featuresMs, scoringMs, decisionMs } = answer;
  const stages = [{ stage: "features", duration: durationOfMs(featuresMs) }];
  if (scoringMs >= 0) stages.push({ stage: "scoring", duration: durationOfMs(scoringMs) });
  stages.push({ stage: "decision", duration: durationOfMs(decisionMs) });
  return {
    requestId,
    releaseId,
    models: fromModel ? [{ model: name, version }] : [],
    score,
    decision: answer.decision,
    reasons: answer.reasons as string[],
    predictions: fromModel ? [{ model: name, label: output, probability: score }] : [],
    degraded: answer.degradations.length > 0,
    degradations: answer.degradations.map(wireDegradation),
    eventTime: timestampOfUs(input.eventTimeUs),
    stages,
  };
}

function recommendResponse(
  { plan, releaseId }: ServedRecommend,
  requestId: string,
  input: RecommendInput,
  answer: RecommendAnswer,
) {
  return {
    requestId,
    releaseId,
    models: answer.models.map(({ name, version }) => ({ model: name, version })),
    items: answer.items.map((item) => wireItem(item, plan)),
    degraded: answer.degradations.length > 0,
    degradations: answer.degradations.map(wireDegradation),
    eventTime: timestampOfUs(input.eventTimeUs),
    stages: answer.stages.map(({ stage, ms }) => ({ stage, duration: durationOfMs(ms) })),
  };
}

function wireDegradation({ stage, reason, fallback, subject }: Degradation) {
  return { stage, reason, fallback, subject };
}

function wireItem({ key, score, source, attributes }: RankedItem, plan: RecommendPlan) {
  const wire: Record<FeatureReference, NonNullable<ReturnType<typeof wireValue>>> = {};
  for (const reference of plan.pipeline.stages.ordering.display) {
    const value = wireValue(attributes[reference] ?? null);
    if (value !== undefined) wire[reference] = value;
  }
  const id = typeof key === "bigint" ? { case: "integer" as const, value: key } : { case: "text" as const, value: key };
  return { id: { kind: id }, score, source, attributes: wire };
}

/** A display value; undefined where there is none or the API has no type for it. */
function wireValue(value: Value) {
  switch (typeof value) {
    case "number":
      return { kind: { case: "number" as const, value } };
    case "bigint":
      return { kind: { case: "integer" as const, value } };
    case "string":
      return { kind: { case: "text" as const, value } };
    case "boolean":
      return { kind: { case: "flag" as const, value } };
    default:
      return undefined;
  }
}
