import type { FeatureViewVersion, ModelVersion, Release, VersionReference } from "./catalog.ts";

/** A view version and what it reads. */
export interface LineageView extends VersionReference {
  /** Name of the source; "" where the definition names none. */
  readonly source: string;
}

/** A training set, known by the models that were trained on it. */
export interface LineageTrainingSet {
  readonly hash: string;
  readonly featureViews: readonly VersionReference[];
}

/** A model version and what it was trained on. */
export interface LineageModel extends VersionReference {
  /** "" where unknown. */
  readonly trainingSetHash: string;
}

/** A release and its parts. */
export interface LineageRelease {
  readonly id: string;
  readonly models: readonly VersionReference[];
  readonly featureViews: readonly VersionReference[];
}

/** Parts of a scenario, newest first. */
export interface Lineage {
  readonly sources: readonly string[];
  readonly featureViews: readonly LineageView[];
  readonly trainingSets: readonly LineageTrainingSet[];
  readonly models: readonly LineageModel[];
  readonly releases: readonly LineageRelease[];
}

/** A part by which a lineage is asked for. */
export type LineagePart =
  | { readonly kind: "source"; readonly name: string }
  | { readonly kind: "view" | "model"; readonly name: string; readonly version: string }
  | { readonly kind: "training-set"; readonly hash: string }
  | { readonly kind: "release"; readonly id: string };

/** What a scenario's catalog holds, newest first. */
export interface CatalogParts {
  readonly views: readonly FeatureViewVersion[];
  readonly models: readonly ModelVersion[];
  readonly releases: readonly Release[];
}

/** The whole lineage of a scenario. */
export function wholeLineage({ views, models, releases }: CatalogParts): Lineage {
  const featureViews = views.map(({ name, version, definition }) => ({ name, version, source: sourceOf(definition) }));
  const trainingSets = new Map<string, LineageTrainingSet>();
  for (const { lineage } of models) {
    const hash = lineage.trainingSetHash;
    if (hash === "") continue;
    const known = trainingSets.get(hash)?.featureViews ?? [];
    const isNew = ({ name, version }: VersionReference) =>
      !known.some((view) => view.name === name && view.version === version);
    const featureViews = [...known, ...lineage.featureViews.map(referenceOf).filter(isNew)];
    trainingSets.set(hash, { hash, featureViews });
  }
  return {
    sources: [...new Set(featureViews.map(({ source }) => source))].filter((source) => source !== "").toSorted(),
    featureViews,
    trainingSets: [...trainingSets.values()],
    models: models.map(({ name, version, lineage }) => ({ name, version, trainingSetHash: lineage.trainingSetHash })),
    releases: releases.map((release) => ({
      id: release.id,
      models: release.models.map(({ name, version }) => ({ name, version })),
      featureViews: release.featureViews,
    })),
  };
}

/** What a part came from, the part, and what came of it; undefined where the lineage does not hold the part. */
export function lineageOf(whole: Lineage, part: LineagePart): Lineage | undefined {
  const parents = parentsOf(whole);
  const start = idOf(part);
  if (!parents.has(start)) return undefined;
  const children = new Map<string, string[]>();
  for (const [child, own] of parents)
    for (const parent of own) {
      const known = children.get(parent);
      if (known === undefined) children.set(parent, [child]);
      else known.push(child);
    }
  const reached = new Set([...reachable(start, parents), ...reachable(start, children)]);
  const isReached = (of: LineagePart) => reached.has(idOf(of));
  return {
    sources: whole.sources.filter((name) => isReached({ kind: "source", name })),
    featureViews: whole.featureViews.filter((view) => isReached({ kind: "view", ...view })),
    trainingSets: whole.trainingSets.filter((set) => isReached({ kind: "training-set", ...set })),
    models: whole.models.filter((model) => isReached({ kind: "model", ...model })),
    releases: whole.releases.filter((release) => isReached({ kind: "release", ...release })),
  };
}

/** What each part came from directly. */
function parentsOf(whole: Lineage): Map<string, readonly string[]> {
  const viewIds = (views: readonly VersionReference[]) => views.map((view) => idOf({ kind: "view", ...view }));
  const parents = new Map<string, readonly string[]>();
  for (const name of whole.sources) parents.set(idOf({ kind: "source", name }), []);
  for (const view of whole.featureViews)
    parents.set(
      idOf({ kind: "view", ...view }),
      view.source === "" ? [] : [idOf({ kind: "source", name: view.source })],
    );
  for (const set of whole.trainingSets) parents.set(idOf({ kind: "training-set", ...set }), viewIds(set.featureViews));
  for (const model of whole.models) {
    const hash = model.trainingSetHash;
    parents.set(idOf({ kind: "model", ...model }), hash === "" ? [] : [idOf({ kind: "training-set", hash })]);
  }
  for (const release of whole.releases)
    parents.set(idOf({ kind: "release", ...release }), [
      ...release.models.map((model) => idOf({ kind: "model", ...model })),
      ...viewIds(release.featureViews),
    ]);
  return parents;
}

function reachable(start: string, next: ReadonlyMap<string, readonly string[]>): Set<string> {
  const reached = new Set([start]);
  // A set that grows while it is gone through is gone through to its end.
  for (const id of reached) for (const other of next.get(id) ?? []) reached.add(other);
  return reached;
}

/** A part as a message names it. */
export function describePart(part: LineagePart | undefined): string {
  return part === undefined ? "part" : idOf(part);
}

function idOf(part: LineagePart): string {
  switch (part.kind) {
    case "source":
      return `source ${part.name}`;
    case "training-set":
      return `training-set ${part.hash}`;
    case "release":
      return `release ${part.id}`;
    default:
      return `${part.kind} ${part.name}@${part.version}`;
  }
}

function referenceOf(text: string): VersionReference {
  const [name = "", version = ""] = text.split("@");
  return { name, version };
}

/** Name of the source that a view's definition reads. */
function sourceOf(definition: string): string {
  const parsed: unknown = JSON.parse(definition);
  if (typeof parsed !== "object" || parsed === null || !("source" in parsed)) return "";
  const { source } = parsed;
  if (typeof source !== "object" || source === null || !("name" in source)) return "";
  return typeof source.name === "string" ? source.name : "";
}
