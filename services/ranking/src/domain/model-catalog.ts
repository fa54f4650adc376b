import { errors } from "../errors.ts";

/** Where a model version belongs. */
export interface ModelIdentity {
  readonly scenario: string;
  readonly name: string;
  readonly version: string;
}

/** A release and the models that it serves. */
export interface CatalogRelease<Model extends ModelIdentity> {
  readonly id: string;
  readonly scenario: string;
  /** Whether requests that name no release mean this one. */
  readonly champion: boolean;
  readonly models: readonly Model[];
}

interface Loaded<Model> {
  readonly scenario: string;
  readonly models: ReadonlyMap<string, Model>;
}

/**
 * Finds the model version that a request means. Names may be qualified as `<scenario>/<model>`; a bare name that several
 * scenarios have is refused unless the request's release decides.
 */
export class ModelCatalog<Model extends ModelIdentity> {
  private releases: ReadonlyMap<string, Loaded<Model>> = new Map();
  /** Bare and qualified name → models of the champions. */
  private champions: ReadonlyMap<string, readonly Model[]> = new Map();
  /** Bare and qualified name → every loaded version. */
  private versions: ReadonlyMap<string, readonly Model[]> = new Map();

  private readonly explain: (release: string) => Error;

  /** `explain` says why a release cannot be found. */
  constructor(explain: (release: string) => Error = (release) => errors.RELEASE_NOT_LOADED({ release })) {
    this.explain = explain;
  }

  /** Replaces all that is known. */
  update(releases: readonly CatalogRelease<Model>[]): void {
    this.releases = new Map(
      releases.map(({ id, scenario, models }) => [id, { scenario, models: byName(models, last) }]),
    );
    this.champions = byName(releases.filter(({ champion }) => champion).flatMap(({ models }) => models));
    this.versions = byName([...new Set(releases.flatMap(({ models }) => models))]);
  }

  /**
   * The model of a request. Empty version: that of `release`, or of the champion release that has the model when
   * `release` is empty. Throws why a release is not here, MODEL_NOT_FOUND, MODEL_VERSION_NOT_FOUND, MODEL_AMBIGUOUS.
   */
  find(name: string, version: string, release: string): Model {
    const loaded = release === "" ? undefined : this.releases.get(release);
    if (release !== "" && loaded === undefined) throw this.explain(release);
    if (version !== "") {
      const found = this.versionsOf(name).filter(
        (model) => model.version === version && (loaded === undefined || model.scenario === loaded.scenario),
      );
      return this.only(name, found) ?? raise(errors.MODEL_VERSION_NOT_FOUND({ model: name, version }));
    }
    const found = loaded === undefined ? this.only(name, this.champions.get(name) ?? []) : loaded.models.get(name);
    return found ?? raise(errors.MODEL_NOT_FOUND({ model: name, release }));
  }

  /** Every loaded version of a name, oldest first; empty when there is none. */
  versionsOf(name: string): readonly Model[] {
    return this.versions.get(name) ?? [];
  }

  private only(name: string, models: readonly Model[]): Model | undefined {
    const scenarios = new Set(models.map((model) => model.scenario));
    if (scenarios.size > 1) throw errors.MODEL_AMBIGUOUS({ model: name, scenarios: [...scenarios].join(", ") });
    return models[0];
  }
}

function raise(error: Error): never {
  throw error;
}

function last<T>(values: readonly T[]): T {
  return values[values.length - 1] as T;
}

function byName<Model extends ModelIdentity>(models: readonly Model[]): Map<string, readonly Model[]>;
function byName<Model extends ModelIdentity, T>(
  models: readonly Model[],
  take: (models: readonly Model[]) => T,
): Map<string, T>;
function byName<Model extends ModelIdentity>(
  models: readonly Model[],
  take: (models: readonly Model[]) => unknown = (all) => all,
): Map<string, unknown> {
  const groups = new Map<string, Model[]>();
  for (const model of models) {
    for (const name of [model.name, `${model.scenario}/${model.name}`]) {
      const group = groups.get(name);
      if (group === undefined) groups.set(name, [model]);
      else if (!group.includes(model)) group.push(model);
    }
  }
  return new Map([...groups].map(([name, group]) => [name, take(group)]));
}
