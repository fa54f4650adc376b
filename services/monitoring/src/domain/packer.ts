import { PayloadWriter } from "./payload.ts";
import type { PackedPredictions, PredictionLayout, PredictionPayload, ScoredModel } from "./prediction.ts";
import type { ReleaseParts } from "./release-parts.ts";

/** A prediction as it arrives. */
export interface ArrivingPrediction extends Omit<PredictionPayload, "scores"> {
  readonly requestId: string;
  readonly item: string;
  readonly scenario: string;
  readonly releaseId: string;
  readonly eventTimeUs: bigint;
  readonly featureModel: string;
  readonly scores: readonly (ScoredModel & { readonly score: number })[];
}

/** A fault of one field of a request. */
export interface Fault {
  readonly field: string;
  readonly description: string;
}

/** What a row is checked against. */
export interface PackingRules {
  /** Parts of a release; undefined where the registry could not be asked, so that columns are not checked. */
  readonly release: (releaseId: string) => ReleaseParts | undefined;
  /** Greatest event time that is believed, microseconds since 1970. */
  readonly eventTimeMaxUs: number;
}

/** Greatest sizes of a row; they bound a stored row to about 200 KiB, without the texts of its request. */
export const limits = {
  keyLength: 512,
  textLength: 256,
  entities: 32,
  scores: 32,
  features: 16_384,
  requestFields: 256,
  requestTextLength: 4_096,
  faults: 10,
} as const;

/** Checks predictions and packs them. All are packed, or none: `faults` names the first faulty fields. */
export function packPredictions(
  predictions: readonly ArrivingPrediction[],
  rules: PackingRules,
): { readonly packed: PackedPredictions; readonly faults: readonly Fault[] } {
  const count = predictions.length;
  const faults: Fault[] = [];
  const layouts: PredictionLayout[] = [];
  const layoutIndexes = new Uint32Array(count);
  const requestIds: string[] = new Array(count);
  const items: string[] = new Array(count);
  const eventTimesUs = new Float64Array(count);
  const payloadStarts = new Uint32Array(count);
  const payloadLengths = new Uint32Array(count);
  const first = predictions[0];
  const rowBytes = first === undefined ? 0 : 192 + first.features.length + first.statuses.length;
  const writer = new PayloadWriter(64 + count * rowBytes);
  const checked: CheckedLayout[] = [];
  let current: CheckedLayout | undefined;

  for (let row = 0; row < count; row++) {
    const prediction = predictions[row] as ArrivingPrediction;
    if (current === undefined || !isLayoutOf(current.layout, prediction)) {
      current = checked.find(({ layout }) => isLayoutOf(layout, prediction));
      if (current === undefined) {
        current = checkLayout(prediction, rules, layouts.length);
        checked.push(current);
        layouts.push(current.layout);
      }
    }
    const eventTimeUs = Number(prediction.eventTimeUs);
    if (current.fault !== undefined || hasFault(prediction, current, eventTimeUs, rules)) {
      const fault = current.fault ?? findFault(prediction, current, eventTimeUs, rules);
      faults.push({ field: `predictions[${row}].${fault.field}`, description: fault.description });
      if (faults.length === limits.faults) {
        break;
      }
      continue;
    }
    if (faults.length > 0) {
      continue;
    }
    layoutIndexes[row] = current.index;
    requestIds[row] = prediction.requestId;
    items[row] = prediction.item;
    eventTimesUs[row] = eventTimeUs;
    payloadStarts[row] = writer.length;
    payloadLengths[row] = writer.write(prediction, prediction.scores);
  }
  return {
    packed: {
      count,
      layouts,
      layoutIndexes,
      requestIds,
      items,
      eventTimesUs,
      payloadStarts,
      payloadLengths,
      payloads: writer.finish(),
    },
    faults,
  };
}

interface CheckedLayout {
  readonly layout: PredictionLayout;
  readonly index: number;
  /** Columns that a row with features must have; -1 where that is not known. */
  readonly featureCount: number;
  readonly fault: Fault | undefined;
}

function isLayoutOf(layout: PredictionLayout, prediction: ArrivingPrediction): boolean {
  const { models } = layout;
  const { scores } = prediction;
  if (
    layout.releaseId !== prediction.releaseId ||
    layout.featureModel !== prediction.featureModel ||
    layout.scenario !== prediction.scenario ||
    models.length !== scores.length
  ) {
    return false;
  }
  for (let i = 0; i < models.length; i++) {
    const a = models[i] as ScoredModel;
    const b = scores[i] as ScoredModel;
    if (a.model !== b.model || a.version !== b.version || a.shadow !== b.shadow) {
      return false;
    }
  }
  return true;
}

function checkLayout(prediction: ArrivingPrediction, rules: PackingRules, index: number): CheckedLayout {
  const { scenario, releaseId, featureModel, scores } = prediction;
  const layout: PredictionLayout = {
    scenario,
    releaseId,
    featureModel,
    models: scores.map(({ model, version, shadow }) => ({ model, version, shadow })),
  };
  const release = rules.release(releaseId);
  const features = release?.models.find(({ name }) => name === featureModel)?.features;
  const featureCount = features?.length ?? (featureModel === "" ? 0 : -1);
  return { layout, index, featureCount, fault: layoutFault(layout, release) };
}

function layoutFault(layout: PredictionLayout, release: ReleaseParts | undefined): Fault | undefined {
  const { scenario, releaseId, featureModel, models } = layout;
  if (scenario === "" || scenario.length > limits.textLength) {
    return { field: "scenario", description: `is not 1 to ${limits.textLength} characters` };
  }
  if (releaseId === "" || releaseId.length > limits.textLength) {
    return { field: "release_id", description: `is not 1 to ${limits.textLength} characters` };
  }
  if (release !== undefined && release.scenario !== scenario) {
    return { field: "scenario", description: `release ${releaseId} is of scenario "${release.scenario}"` };
  }
  if (featureModel.length > limits.textLength) {
    return { field: "feature_model", description: `is longer than ${limits.textLength} characters` };
  }
  if (featureModel !== "" && release?.models.every(({ name }) => name !== featureModel)) {
    return { field: "feature_model", description: `release ${releaseId} has no model "${featureModel}"` };
  }
  if (models.length > limits.scores) {
    return { field: "scores", description: `are more than ${limits.scores}` };
  }
  const nameless = models.findIndex(({ model }) => model === "" || model.length > limits.textLength);
  if (nameless >= 0) {
    return { field: `scores[${nameless}].model`, description: `is not 1 to ${limits.textLength} characters` };
  }
  const unversioned = models.findIndex(({ version }) => version.length > limits.textLength);
  if (unversioned >= 0) {
    return { field: `scores[${unversioned}].version`, description: `is longer than ${limits.textLength} characters` };
  }
  return undefined;
}

/** The same conditions as `findFault`, for the many rows that have none. */
function hasFault(
  prediction: ArrivingPrediction,
  { featureCount }: CheckedLayout,
  eventTimeUs: number,
  rules: PackingRules,
): boolean {
  const { requestId, item, features, statuses, scores, entities, decision, tenant, arm } = prediction;
  const columns = features.length / 4;
  if (
    requestId.length === 0 ||
    requestId.length > limits.keyLength ||
    item.length > limits.keyLength ||
    !(eventTimeUs > 0 && eventTimeUs <= rules.eventTimeMaxUs) ||
    columns > limits.features ||
    (featureCount < 0
      ? features.length % 4 !== 0
      : columns !== featureCount && !(columns === 0 && prediction.degraded)) ||
    (statuses.length !== 0 && statuses.length !== columns) ||
    decision.length > limits.textLength ||
    tenant.length > limits.textLength ||
    arm.length > limits.textLength
  ) {
    return true;
  }
  for (const { score } of scores) {
    if (!Number.isFinite(score)) {
      return true;
    }
  }
  let entityCount = 0;
  for (const name in entities) {
    if (name.length > limits.textLength || (entities[name] as string).length > limits.keyLength) {
      return true;
    }
    entityCount++;
  }
  return entityCount > limits.entities || requestFault(prediction) !== undefined;
}

function findFault(
  prediction: ArrivingPrediction,
  { featureCount, layout }: CheckedLayout,
  eventTimeUs: number,
  rules: PackingRules,
): Fault {
  const { requestId, item, features, statuses, scores, decision, tenant, arm } = prediction;
  if (requestId.length === 0 || requestId.length > limits.keyLength) {
    return { field: "request_id", description: `is not 1 to ${limits.keyLength} characters` };
  }
  if (item.length > limits.keyLength) {
    return { field: "item", description: `is longer than ${limits.keyLength} characters` };
  }
  if (!(eventTimeUs > 0)) {
    return { field: "event_time_us", description: "is not after 1970" };
  }
  if (eventTimeUs > rules.eventTimeMaxUs) {
    return { field: "event_time_us", description: `${eventTimeUs} is in the future` };
  }
  if (features.length % 4 !== 0) {
    return { field: "features", description: `${features.length} bytes are not a multiple of 4` };
  }
  const columns = features.length / 4;
  if (columns > limits.features) {
    return { field: "features", description: `are more than ${limits.features}` };
  }
  if (featureCount >= 0 && columns !== featureCount && !(columns === 0 && prediction.degraded)) {
    const wanted =
      layout.featureModel === "" ? "no feature_model has none" : `"${layout.featureModel}" has ${featureCount}`;
    return { field: "features", description: `are ${columns}; ${wanted}` };
  }
  if (statuses.length !== 0 && statuses.length !== columns) {
    return { field: "statuses", description: `are ${statuses.length} for ${columns} features` };
  }
  const notFinite = scores.findIndex(({ score }) => !Number.isFinite(score));
  if (notFinite >= 0) {
    return { field: `scores[${notFinite}].score`, description: `${scores[notFinite]?.score} is not a finite number` };
  }
  for (const [field, text] of Object.entries({ decision, tenant, arm })) {
    if (text.length > limits.textLength) {
      return { field, description: `is longer than ${limits.textLength} characters` };
    }
  }
  const fault = requestFault(prediction);
  if (fault !== undefined) {
    return fault;
  }
  return {
    field: "entities",
    description: `are more than ${limits.entities}, or longer than ${limits.keyLength} characters`,
  };
}

function requestFault({ request, readTimeUs }: ArrivingPrediction): Fault | undefined {
  if (!(readTimeUs >= 0n && readTimeUs <= 2n ** 53n)) {
    return { field: "read_time_us", description: "is not 0 to 2^53" };
  }
  let count = 0;
  for (const name in request) {
    const kind = request[name]?.kind;
    count++;
    if (name.length > limits.textLength) {
      return { field: "request", description: `has a name longer than ${limits.textLength} characters` };
    }
    if (kind?.case === "text" && kind.value.length > limits.requestTextLength) {
      return { field: `request.${name}`, description: `is longer than ${limits.requestTextLength} characters` };
    }
  }
  return count > limits.requestFields
    ? { field: "request", description: `has more than ${limits.requestFields} fields` }
    : undefined;
}
