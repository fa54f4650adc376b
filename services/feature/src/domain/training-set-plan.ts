import type { FeatureReference, Scenario, Source, TrainingSet, Transform, ValueType } from "@weft/scenario";
import { offlineErrors } from "../offline-errors.ts";
import type { CompiledView } from "./view-state.ts";

/** A view that a training set joins. */
export interface JoinedView {
  readonly view: CompiledView;
  /** Names of the features to read. */
  readonly features: readonly string[];
  /** Fields of the spine's source with the view's keys, in the view's order. */
  readonly keyFields: readonly string[];
}

/** A request field that a training set takes from its source. */
export interface RequestField {
  readonly name: string;
  readonly type: ValueType;
}

/** What it takes to build a training set: every reference its models read, resolved down to views and request fields. */
export interface TrainingSetPlan {
  readonly scenario: string;
  readonly trainingSet: TrainingSet;
  readonly source: Source;
  /** References that become columns, in the order in which the models name them first. */
  readonly features: readonly FeatureReference[];
  readonly views: readonly JoinedView[];
  /** Transforms to run, each after those whose outputs it reads. */
  readonly transforms: readonly Transform[];
  readonly requestFields: readonly RequestField[];
  readonly extra: readonly string[];
}

/**
 * Plans a training set of a scenario: the union of the features of all models that train on it, or of all models where
 * the scenario's evaluation replays it.
 * Throws TRAINING_SET_UNKNOWN, and TRAINING_SET_INVALID where a reference leads nowhere or the source lacks a field.
 */
export function planTrainingSet(scenario: Scenario, name: string, views: readonly CompiledView[]): TrainingSetPlan {
  const replayed = scenario.evaluation?.trainingSet;
  const evaluates = replayed?.name === name;
  const models = scenario.models.filter((model) => evaluates || model.trainingSet.name === name);
  const trainingSet = evaluates ? replayed : models[0]?.trainingSet;
  if (trainingSet === undefined) {
    throw offlineErrors.TRAINING_SET_UNKNOWN({ trainingSet: name, scenario: scenario.name });
  }
  const invalid = (fault: string): Error => offlineErrors.TRAINING_SET_INVALID({ trainingSet: name, fault });
  const { source } = trainingSet;
  const features = [...new Set(models.flatMap((model) => model.features))];
  const read = new Map<CompiledView, Set<string>>();
  const transforms: Transform[] = [];
  const requestFields = new Map<string, ValueType>();

  const resolve = (reference: FeatureReference, path: readonly string[]): void => {
    const colon = reference.indexOf(":");
    const owner = reference.slice(0, colon);
    const feature = reference.slice(colon + 1);
    if (owner === "request") {
      const type = scenario.request[feature];
      if (type === undefined) throw invalid(`"${reference}" is not a request field`);
      if (source.fields[feature] === undefined) {
        throw invalid(`source "${source.name}" has no field "${feature}" to take "${reference}" from`);
      }
      requestFields.set(feature, type);
      return;
    }
    const transform = scenario.transforms.find((candidate) => candidate.name === owner);
    if (transform !== undefined) {
      if (transform.outputs[feature] === undefined) throw invalid(`"${reference}" is not an output of its transform`);
      if (path.includes(owner)) throw invalid(`transform "${owner}" reads its own output`);
      if (transforms.includes(transform)) return;
      for (const input of Object.values(transform.inputs)) resolve(input, [...path, owner]);
      transforms.push(transform);
      return;
    }
    const view = views.find((candidate) => candidate.name === owner);
    if (!view?.features.some((candidate) => candidate.name === feature)) {
      throw invalid(`"${reference}" is not a feature of the scenario`);
    }
    const names = read.get(view) ?? new Set();
    read.set(view, names.add(feature));
  };
  for (const reference of features) resolve(reference, []);

  const field = (named: string, use: string): string => {
    if (source.fields[named] !== undefined || named === source.eventTime || named === source.createdTime) return named;
    throw invalid(`source "${source.name}" has no field "${named}" (${use})`);
  };
  field(trainingSet.label, "the label");
  if (trainingSet.labelTime !== undefined) field(trainingSet.labelTime, "the label's time");
  const extra = [...new Set(trainingSet.extra ?? [])];
  for (const named of extra) {
    field(named, "an extra column");
    if (named === "event_time" || named === "label")
      throw invalid(`extra column "${named}" takes a fixed column's name`);
  }
  return {
    scenario: scenario.name,
    trainingSet,
    source,
    features,
    transforms,
    extra,
    views: [...read].map(([view, names]) => ({
      view,
      features: [...names],
      keyFields: view.view.entities.map(({ entity }) => {
        const key = trainingSet.entities[entity.name];
        if (key === undefined) {
          throw invalid(`it names no field for entity "${entity.name}", which view "${view.name}" is keyed by`);
        }
        return field(key, `the key of entity "${entity.name}"`);
      }),
    })),
    requestFields: [...requestFields].map(([name, type]) => ({ name, type })),
  };
}
