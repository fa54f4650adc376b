import type { FeatureReference, Scenario, Source, TrainingSet } from "@weft/scenario";
import { offlineErrors } from "../../offline-errors.ts";
import type { CompiledView } from "../views/view-state.ts";
import { type FeatureNeeds, featureNeeds, type NeededView } from "./feature-needs.ts";

/** A view that a training set joins. */
export interface JoinedView extends NeededView {
  /** Fields of the spine's source with the view's keys, in the view's order. */
  readonly keyFields: readonly string[];
}

/** What it takes to build a training set: every reference its models read, resolved down to views and request fields. */
export interface TrainingSetPlan extends FeatureNeeds {
  readonly scenario: string;
  readonly trainingSet: TrainingSet;
  readonly source: Source;
  /** References that become columns, in the order in which the models name them first. */
  readonly features: readonly FeatureReference[];
  readonly views: readonly JoinedView[];
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
  const needs = featureNeeds(scenario, features, views, invalid);
  for (const { name } of needs.requestFields) {
    if (source.fields[name] === undefined) {
      throw invalid(`source "${source.name}" has no field "${name}" to take "request:${name}" from`);
    }
  }

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
    transforms: needs.transforms,
    requestFields: needs.requestFields,
    extra,
    views: needs.views.map(({ view, features: names }) => ({
      view,
      features: names,
      keyFields: view.view.entities.map(({ entity }) => {
        const key = trainingSet.entities[entity.name];
        if (key === undefined) {
          throw invalid(`it names no field for entity "${entity.name}", which view "${view.name}" is keyed by`);
        }
        return field(key, `the key of entity "${entity.name}"`);
      }),
    })),
  };
}
