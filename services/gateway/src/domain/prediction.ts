import type { Value } from "@weft/scenario";
import type { RequestValue } from "./inputs.ts";
import type { FieldInput, Key } from "./peers.ts";
import type { RecommendAnswer, RecommendInput, RecommendPlan } from "./recommend-plan.ts";
import type { ScoreAnswer, ScoreInput, ScorePlan } from "./score-plan.ts";

/** One model's output for one row. */
export interface PredictedScore {
  readonly model: string;
  readonly version: string;
  readonly score: number;
  readonly shadow: boolean;
}

/** One prediction with what is needed to replay it; the fields of weft.monitoring.v1.LoggedPrediction. */
export interface PredictionRecord {
  readonly requestId: string;
  readonly item: string;
  readonly scenario: string;
  readonly releaseId: string;
  readonly eventTimeUs: bigint;
  readonly entities: Record<string, string>;
  readonly featureModel: string;
  readonly features: Uint8Array;
  readonly statuses: Uint8Array;
  /** The champion's first. */
  readonly scores: PredictedScore[];
  readonly decision: string;
  readonly degraded: boolean;
  readonly tenant: string;
  readonly arm: string;
  /** Request fields by name. */
  readonly request: Record<string, RequestValue>;
  readonly readTimeUs: bigint;
}

/** What a request says about itself. */
export interface RequestFacts {
  readonly requestId: string;
  readonly scenario: string;
  readonly releaseId: string;
  readonly tenant: string;
  readonly arm: string;
  /** When reading the features began, microseconds since 1970. */
  readonly readTimeUs: bigint;
}

const noBytes = new Uint8Array(0);

/** What monitoring keeps of a request. */
const requestFieldsMax = 256;
const requestTextMax = 4_096;

/** Bytes that a record keeps in memory, about. */
export function recordBytes({ features, statuses, request }: PredictionRecord): number {
  let bytes = 512 + features.length + statuses.length;
  for (const name in request) {
    const kind = request[name]?.kind;
    bytes += 64 + (kind?.case === "text" ? 2 * kind.value.length : 0);
  }
  return bytes;
}

/** Request fields as they are logged; what is too much to be kept is left out. */
function loggedRequest(fields: readonly FieldInput[], values: readonly Value[]): Record<string, RequestValue> {
  const request: Record<string, RequestValue> = {};
  const count = Math.min(fields.length, requestFieldsMax);
  for (let i = 0; i < count; i++) {
    const field = fields[i];
    if (field === undefined) continue;
    const value = values[field.position];
    if (typeof value === "number") request[field.name] = { kind: { case: "number", value } };
    else if (typeof value === "boolean") request[field.name] = { kind: { case: "flag", value } };
    else if (typeof value === "bigint") request[field.name] = { kind: { case: "integer", value } };
    else if (value === null) request[field.name] = { kind: { case: undefined } };
    else if (typeof value === "string" && value.length <= requestTextMax)
      request[field.name] = { kind: { case: "text", value } };
  }
  return request;
}

/** The record of a scored event. An answer by the rules has their score under the fallback's name. */
export function scoreRecord(
  plan: ScorePlan,
  input: ScoreInput,
  answer: ScoreAnswer,
  facts: RequestFacts,
): PredictionRecord {
  const entities: Record<string, string> = {};
  for (const { name, position } of plan.inputs.entities) entities[name] = String(input.keys[position]?.[0] ?? "");
  const { matrix, score } = answer;
  const by = answer.fromModel ? plan.model : { name: plan.pipeline.fallback.name, version: "" };
  return {
    requestId: facts.requestId,
    item: "",
    scenario: facts.scenario,
    releaseId: facts.releaseId,
    eventTimeUs: BigInt(input.eventTimeUs),
    entities,
    featureModel: matrix === undefined ? "" : plan.model.name,
    features: matrix?.values ?? noBytes,
    statuses: matrix?.statuses ?? noBytes,
    scores: [{ model: by.name, version: by.version, score, shadow: false }],
    decision: answer.decision,
    degraded: answer.degradations.length > 0,
    tenant: facts.tenant,
    arm: facts.arm,
    request: loggedRequest(plan.inputs.fields, input.fields),
    readTimeUs: facts.readTimeUs,
  };
}

/** One record an item of a ranked list. Items that no model scored carry the name of what ordered them. */
export function recommendRecords(
  plan: RecommendPlan,
  input: RecommendInput,
  answer: RecommendAnswer,
  facts: RequestFacts,
): readonly PredictionRecord[] {
  const { user, item } = plan.pipeline;
  const width = plan.model.features;
  const request = loggedRequest(plan.inputs.fields, input.fields);
  return answer.items.map(({ key, score, source, row }) => {
    const matrix = row === -1 ? undefined : answer.matrix;
    const by = matrix === undefined ? { name: source, version: "" } : plan.model;
    return {
      requestId: facts.requestId,
      item: String(key satisfies Key),
      scenario: facts.scenario,
      releaseId: facts.releaseId,
      eventTimeUs: BigInt(input.eventTimeUs),
      entities: { [user.name]: String(input.user), [item.name]: String(key) },
      featureModel: matrix === undefined ? "" : plan.model.name,
      // Copies, so that a record does not hold the features of every candidate.
      features: matrix?.values.slice(row * width * 4, (row + 1) * width * 4) ?? noBytes,
      statuses: matrix?.statuses.slice(row * width, (row + 1) * width) ?? noBytes,
      scores: [{ model: by.name, version: by.version, score, shadow: false }],
      decision: "",
      degraded: answer.degradations.length > 0,
      tenant: facts.tenant,
      arm: facts.arm,
      request,
      readTimeUs: facts.readTimeUs,
    };
  });
}
