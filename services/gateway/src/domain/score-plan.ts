import type { Model, RuleResult, Scenario, ScorePipeline, Value } from "@weft/scenario";
import { callMs, DeadlineBudget } from "./budget.ts";
import { DecisionTable } from "./decision.ts";
import {
  budgetExhausted,
  type Degradation,
  FreshnessCheck,
  failedStage,
  StageFailure,
  undegraded,
} from "./degradation.ts";
import { RequestInputs } from "./inputs.ts";
import type { FeatureMatrix, FeatureRead, Key, ModelTarget, Peers } from "./peers.ts";

/** One event to score, checked. */
export interface ScoreInput {
  /** One key an entity, each as a column of one, in the order of the plan's inputs. */
  readonly keys: readonly (readonly Key[])[];
  /** One value a request field, in the order of the plan's inputs. */
  readonly fields: readonly Value[];
  /** Microseconds since 1970. */
  readonly eventTimeUs: number;
}

/** The answer to one event. */
export interface ScoreAnswer {
  readonly score: number;
  readonly decision: string;
  readonly reasons: readonly string[];
  /** False where the rules answered. */
  readonly fromModel: boolean;
  readonly degradations: readonly Degradation[];
  /** What the model scored; undefined where the features stage failed. */
  readonly matrix: FeatureMatrix | undefined;
  /** Wall time of each stage in milliseconds; -1 where it did not run. */
  readonly featuresMs: number;
  readonly scoringMs: number;
  readonly decisionMs: number;
}

/** A model that scores after the answer. */
export interface ShadowTarget {
  readonly model: ModelTarget;
  readonly read: FeatureRead;
  /** Columns of the champion's matrix that make up this model's; undefined where it needs a read of its own. */
  readonly columns: Int32Array | undefined;
}

/** How plans are compiled. */
export interface PlanOptions {
  /** Milliseconds on a clock that never goes back. */
  readonly nowMs: () => number;
  /** Time kept back for the fallback and the answer, in milliseconds. */
  readonly answerReserveMs: number;
  /** Hears of each failed stage, with the cause that never reaches the wire. */
  readonly onFailure: (stage: string, reason: string, error: unknown) => void;
}

/** The rules of a scenario could not answer, so that nothing can. */
export class RulesFailure extends Error {
  override readonly name = "RulesFailure";
  readonly fallback: string;
  constructor(fallback: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.fallback = fallback;
  }
}

const stages = { features: 0, scoring: 1 } as const;

/** The pipeline of a scenario that answers `Score`, compiled once a release: features → scoring → decision. */
export class ScorePlan {
  readonly pipeline: ScorePipeline;
  readonly inputs: RequestInputs;
  readonly model: ModelTarget;
  readonly read: FeatureRead;
  readonly shadows: readonly ShadowTarget[];
  readonly #budget: DeadlineBudget;
  readonly #freshness: FreshnessCheck;
  readonly #decisions: DecisionTable;
  readonly #named: ReadNamed;
  readonly #options: PlanOptions;

  /** `version`: the release's version of a model. */
  constructor(scenario: Scenario, pipeline: ScorePipeline, version: (model: string) => string, options: PlanOptions) {
    const { features, scoring } = pipeline.stages;
    this.pipeline = pipeline;
    this.inputs = new RequestInputs(scenario, pipeline.entities);
    this.model = modelTarget(scoring.model, version);
    this.read = this.inputs.read(scoring.model.features, scoring.model.name);
    this.shadows = pipeline.shadows.map((shadow) => ({
      model: modelTarget(shadow, version),
      read: this.inputs.read(shadow.features, shadow.name),
      columns: columnsWithin(scoring.model.features, shadow.features),
    }));
    this.#budget = new DeadlineBudget([features.budgetMs, scoring.budgetMs], options.answerReserveMs);
    this.#freshness = new FreshnessCheck("features", this.read);
    this.#decisions = new DecisionTable(pipeline.decisions);
    this.#named = compileNamed(this.read.references);
    this.#options = options;
  }

  /**
   * Answers an event within `totalMs` of `startMs`. A stage that fails, sheds or is late is answered for by the rules;
   * rejects only when the caller has gone or the rules themselves fail.
   */
  async run(input: ScoreInput, peers: Peers, startMs: number, totalMs: number): Promise<ScoreAnswer> {
    const { nowMs } = this.#options;
    const endMs = this.#budget.endMs(startMs, totalMs);
    const featuresStartMs = nowMs();
    let matrix: FeatureMatrix;
    try {
      const timeoutMs = this.#budget.timeoutMs(stages.features, endMs, featuresStartMs);
      if (timeoutMs < callMs) throw budgetExhausted("features");
      matrix = await peers.readMatrix(this.read, input.keys, input.fields, input.eventTimeUs, timeoutMs);
      checkMatrix(matrix, 1, this.model.features);
    } catch (error) {
      return this.#fallBack("features", error, input, peers, undefined, nowMs() - featuresStartMs, -1);
    }
    const scoringStartMs = nowMs();
    let score: number;
    try {
      const timeoutMs = this.#budget.timeoutMs(stages.scoring, endMs, scoringStartMs);
      if (timeoutMs < callMs) throw budgetExhausted("scoring");
      const scores = await peers.infer(this.model, 1, matrix.values, timeoutMs);
      score = scores[0] ?? Number.NaN;
      if (scores.length !== 1 || !Number.isFinite(score))
        throw new StageFailure(
          "SCORE_INVALID",
          `model "${this.model.name}" answered ${scores.length} scores: ${score}`,
        );
    } catch (error) {
      const featuresMs = scoringStartMs - featuresStartMs;
      return this.#fallBack("scoring", error, input, peers, matrix, featuresMs, nowMs() - scoringStartMs);
    }
    const decisionStartMs = nowMs();
    let degradations = this.#freshness.check(matrix.statuses, 0, 1, undefined);
    let reasons: readonly string[] = [];
    if (this.pipeline.reasons !== undefined) {
      try {
        reasons = this.pipeline.reasons(this.#named(matrix.values), score);
      } catch (error) {
        this.#options.onFailure("decision", "REASONS_FAILED", error);
        degradations ??= [];
        degradations.push({ stage: "decision", reason: "REASONS_FAILED", fallback: "", subject: "", failed: false });
      }
    }
    return {
      score,
      decision: this.#decisions.decide(score),
      reasons,
      fromModel: true,
      degradations: degradations ?? undegraded,
      matrix,
      featuresMs: scoringStartMs - featuresStartMs,
      scoringMs: decisionStartMs - scoringStartMs,
      decisionMs: nowMs() - decisionStartMs,
    };
  }

  #fallBack(
    stage: "features" | "scoring",
    error: unknown,
    input: ScoreInput,
    peers: Peers,
    matrix: FeatureMatrix | undefined,
    featuresMs: number,
    scoringMs: number,
  ): ScoreAnswer {
    if (peers.cancelled) throw error;
    const { nowMs, onFailure } = this.#options;
    const startMs = nowMs();
    const { name, rules } = this.pipeline.fallback;
    const degradation = failedStage(stage, error, name);
    onFailure(stage, degradation.reason, error);
    const request: Record<string, Value> = {};
    for (const field of this.inputs.fields) request[field.name] = input.fields[field.position] ?? null;
    const { score, reasons } = applyRules(name, rules, request);
    return {
      score,
      decision: this.#decisions.decide(score),
      reasons,
      fromModel: false,
      degradations: [degradation],
      matrix,
      featuresMs,
      scoringMs,
      decisionMs: nowMs() - startMs,
    };
  }
}

function applyRules(
  name: string,
  rules: ScorePipeline["fallback"]["rules"],
  request: Readonly<Record<string, Value>>,
): { readonly score: number; readonly reasons: readonly string[] } {
  let result: RuleResult;
  try {
    result = rules(request);
  } catch (cause) {
    throw new RulesFailure(name, `the rules of fallback "${name}" threw`, { cause });
  }
  if (!Number.isFinite(result.score))
    throw new RulesFailure(name, `fallback "${name}" answered the score ${result.score}`);
  return result;
}

/** A model with the version that a release has of it. */
export function modelTarget(model: Model, version: (model: string) => string): ModelTarget {
  return { name: model.name, version: version(model.name), output: model.output, features: model.features.length };
}

/** Throws a StageFailure for a matrix of another shape than asked for. */
export function checkMatrix(matrix: FeatureMatrix, rows: number, columns: number): void {
  const { values, statuses } = matrix;
  if (matrix.rows !== rows || values.length !== rows * columns * 4 || statuses.length !== rows * columns)
    throw new StageFailure(
      "FEATURES_MALFORMED",
      `wanted ${rows} x ${columns} features, got ${matrix.rows} rows in ${values.length} bytes`,
    );
}

/** Positions of `wanted` within `available`, or undefined where one is missing. */
function columnsWithin(available: readonly string[], wanted: readonly string[]): Int32Array | undefined {
  const columns = Int32Array.from(wanted, (reference) => available.indexOf(reference));
  return columns.includes(-1) ? undefined : columns;
}

/** Features of one row by reference; null where there is no value. `values`: float32[references], little-endian. */
type ReadNamed = (values: Uint8Array) => Record<string, number | null>;

/** Compiled, so that the rows of a plan are objects of one shape, made at once: a key at a time costs several times as much. */
function compileNamed(references: readonly string[]): ReadNamed {
  const fields = references.map((reference, column) => `${JSON.stringify(reference)}: at(view, ${column * 4})`);
  const body = `"use strict"; return function named(view) { return { ${fields.join(", ")} }; };`;
  const named = new Function("at", body)(numberAt) as (view: DataView) => Record<string, number | null>;
  return (values) => named(new DataView(values.buffer, values.byteOffset, values.byteLength));
}

function numberAt(view: DataView, offset: number): number | null {
  const value = view.getFloat32(offset, true);
  return Number.isNaN(value) ? null : value;
}
