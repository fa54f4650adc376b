import type { FeatureReference, Scenario, Transform, ValueType } from "@weft/scenario";
import type { CompiledView } from "../views/view-state.ts";

/** A view that is read. */
export interface NeededView {
  readonly view: CompiledView;
  /** Names of the features to read. */
  readonly features: readonly string[];
}

/** A field that comes with the request. */
export interface RequestField {
  readonly name: string;
  readonly type: ValueType;
}

/** What some features are computed from, transforms resolved down to views and request fields. */
export interface FeatureNeeds {
  readonly views: readonly NeededView[];
  /** Transforms to run, each after those whose outputs it reads. */
  readonly transforms: readonly Transform[];
  readonly requestFields: readonly RequestField[];
}

/** Resolves features of a scenario. Throws what `invalid` makes of a reference that leads nowhere, or in a circle. */
export function featureNeeds(
  scenario: Scenario,
  references: readonly FeatureReference[],
  views: readonly CompiledView[],
  invalid: (fault: string) => Error,
): FeatureNeeds {
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
  for (const reference of references) resolve(reference, []);
  return {
    views: [...read].map(([view, names]) => ({ view, features: [...names] })),
    transforms,
    requestFields: [...requestFields].map(([name, type]) => ({ name, type })),
  };
}

/** Views that a feature is computed from. */
export function viewsOf({ views, transforms }: FeatureNeeds, reference: FeatureReference): readonly CompiledView[] {
  const owner = reference.slice(0, reference.indexOf(":"));
  const transform = transforms.find(({ name }) => name === owner);
  if (transform !== undefined) {
    return [
      ...new Set(
        Object.values(transform.inputs).flatMap((input) => viewsOf({ views, transforms, requestFields: [] }, input)),
      ),
    ];
  }
  return views.flatMap(({ view }) => (view.name === owner ? [view] : []));
}
