import type {
  Catalog,
  FeatureViewContent,
  FeatureViewVersion,
  LabelledRelease,
  LabelMove,
  LabelMoved,
  LabelState,
  ModelContent,
  ModelVersion,
  Page,
  PageQuery,
  Release,
  ReleaseContent,
} from "../domain/catalog.ts";
import { fillPage, modelDigest, moveFingerprint } from "../domain/records.ts";
import { errors } from "../errors.ts";

interface Named {
  readonly scenario: string;
  readonly name: string;
  readonly version: string;
  readonly digest: string;
}

/** A catalog for tests and for processes that keep nothing. */
export class MemoryCatalog implements Catalog {
  readonly #requestIdsMax: number;
  readonly #views: FeatureViewVersion[] = [];
  readonly #models: ModelVersion[] = [];
  readonly #releases: Release[] = [];
  readonly #labels = new Map<string, LabelledRelease>();
  readonly #requests = new Map<string, { readonly fingerprint: string; readonly revision: number }>();
  #revision = 0;

  constructor(options: { readonly requestIdsMax: number }) {
    this.#requestIdsMax = options.requestIdsMax;
  }

  async addFeatureView(view: FeatureViewContent, createTimeUs: number): Promise<FeatureViewVersion> {
    return add(this.#views, view, (version) => ({ ...view, version, createTimeUs }));
  }

  async featureView(scenario: string, name: string, version: string): Promise<FeatureViewVersion | undefined> {
    return find(this.#views, scenario, name, version);
  }

  async newestFeatureViews(scenario: string): Promise<readonly FeatureViewVersion[]> {
    const newest = new Map<string, FeatureViewVersion>();
    for (const view of this.#views) if (view.scenario === scenario) newest.set(view.name, view);
    return [...newest.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async listFeatureViews(query: PageQuery): Promise<Page<FeatureViewVersion>> {
    return page(this.#views, query);
  }

  async addModel(model: ModelContent, createTimeUs: number): Promise<ModelVersion> {
    const whole = { ...model, digest: modelDigest(model) };
    return add(this.#models, whole, (version) => ({ ...whole, version, createTimeUs }));
  }

  async model(scenario: string, name: string, version: string): Promise<ModelVersion | undefined> {
    return find(this.#models, scenario, name, version);
  }

  async listModels(query: PageQuery): Promise<Page<ModelVersion>> {
    return page(this.#models, query);
  }

  async addRelease(content: ReleaseContent, createTimeUs: number): Promise<Release> {
    const found = this.#releases.find((release) => release.id === content.id);
    if (found !== undefined && found.digest !== content.digest) throw errors.RELEASE_ID_TAKEN({ release: content.id });
    if (found !== undefined) return found;
    const models = content.models.map(({ name, version }) => {
      const model = find(this.#models, content.scenario, name, version);
      if (model === undefined) throw errors.MODEL_NOT_FOUND({ scenario: content.scenario, model: name, version });
      return model;
    });
    const release: Release = { ...content, models, createTimeUs };
    this.#releases.push(release);
    return release;
  }

  async release(id: string): Promise<Release | undefined> {
    return this.#releases.find((release) => release.id === id);
  }

  async listReleases(query: PageQuery): Promise<Page<Release>> {
    return page(this.#releases, query);
  }

  async moveLabel(move: LabelMove): Promise<LabelMoved> {
    const fingerprint = moveFingerprint(move);
    const repeated = move.requestId === "" ? undefined : this.#requests.get(move.requestId);
    if (repeated !== undefined) {
      if (repeated.fingerprint !== fingerprint) throw errors.REQUEST_ID_REUSED({ requestId: move.requestId });
      return { revision: repeated.revision, changed: false };
    }
    const { scenario, label, releaseId, expectedReleaseId: expected } = move;
    const release = this.#releases.find((candidate) => candidate.id === releaseId);
    if (releaseId !== "" && release === undefined) throw errors.RELEASE_NOT_FOUND({ release: releaseId });
    if (release !== undefined && release.scenario !== scenario) {
      throw errors.RELEASE_OF_OTHER_SCENARIO({ release: releaseId, scenario });
    }
    const key = `${scenario} ${label}`;
    const actual = this.#labels.get(key)?.release.id ?? "";
    if (expected !== undefined && expected !== actual) throw errors.LABEL_MOVED({ scenario, label, expected, actual });
    const changed = actual !== releaseId;
    if (changed) {
      if (release === undefined) this.#labels.delete(key);
      else this.#labels.set(key, { label, release });
      this.#revision++;
    }
    if (move.requestId !== "") {
      this.#requests.set(move.requestId, { fingerprint, revision: this.#revision });
      for (const oldest of this.#requests.keys()) {
        if (this.#requests.size <= this.#requestIdsMax) break;
        this.#requests.delete(oldest);
      }
    }
    return { revision: this.#revision, changed };
  }

  async labelState(): Promise<LabelState> {
    const keys = [...this.#labels.keys()].sort();
    return { revision: this.#revision, releases: keys.flatMap((key) => this.#labels.get(key) ?? []) };
  }

  close(): void {}
}

function add<T extends Named>(records: T[], content: Omit<Named, "version">, make: (version: string) => T): T {
  const versions = records.filter((record) => record.scenario === content.scenario && record.name === content.name);
  const found = versions.find((record) => record.digest === content.digest);
  if (found !== undefined) return found;
  const record = make(String(versions.length + 1));
  records.push(record);
  return record;
}

function find<T extends Named>(records: readonly T[], scenario: string, name: string, version: string): T | undefined {
  return records.findLast(
    (record) => record.scenario === scenario && record.name === name && (version === "" || record.version === version),
  );
}

function page<T extends { readonly scenario: string }>(records: readonly T[], query: PageQuery): Page<T> {
  const before = query.before ?? Number.POSITIVE_INFINITY;
  const positioned = records.map((record, index) => ({ position: index + 1, record })).reverse();
  const asked = positioned.filter(
    ({ position, record }) => position < before && (query.scenario === "" || record.scenario === query.scenario),
  );
  return fillPage(asked, query);
}
