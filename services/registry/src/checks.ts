import type { registry } from "@weft/contracts";
import type { FieldViolation } from "@weft/errors";
import type { IndexGeneration, Label, ModelContent, TensorSignature, VersionReference } from "./domain/catalog.ts";
import { labels } from "./domain/catalog.ts";
import type { LineagePart } from "./domain/lineage.ts";
import { isDigest, isName, isVersion, nameRule } from "./domain/names.ts";
import { signatureDatatypes } from "./domain/onnx.ts";
import type { ReleaseRequest } from "./domain/release.ts";
import { errors } from "./errors.ts";

/** Greatest counts and lengths of what a request lists. */
const limits = {
  tensors: 64,
  rank: 8,
  features: 10_000,
  featureBytes: 256,
  metrics: 1_000,
  libraries: 256,
  featureViews: 1_000,
  textBytes: 1_024,
  models: 64,
  indexes: 64,
} as const;

/** Collects what is wrong with a request, so that a caller learns of all of it at once. */
export class Checks {
  readonly #violations: FieldViolation[] = [];

  add(field: string, description: string): void {
    if (this.#violations.length < 32) this.#violations.push({ field, description });
  }

  /** Adds a violation where the condition does not hold. */
  that(holds: boolean, field: string, description: string): void {
    if (!holds) this.add(field, description);
  }

  name(field: string, text: string): void {
    this.that(isName(text), field, `must be ${nameRule}`);
  }

  optionalName(field: string, text: string): void {
    if (text !== "") this.name(field, text);
  }

  digest(field: string, text: string): void {
    this.that(isDigest(text), field, "must be a sha256: 64 lower-case hex digits");
  }

  optionalDigest(field: string, text: string): void {
    if (text !== "") this.digest(field, text);
  }

  optionalVersion(field: string, text: string): void {
    if (text !== "") this.that(isVersion(text), field, "must be a whole number from 1 up, or empty for the newest");
  }

  text(field: string, text: string, bytesMax: number): void {
    this.that(Buffer.byteLength(text) <= bytesMax, field, `must be at most ${bytesMax} bytes`);
  }

  count(field: string, count: number, max: number): boolean {
    this.that(count <= max, field, `must have at most ${max} entries`);
    return count <= max;
  }

  distinct(field: string, names: readonly string[]): void {
    const seen = new Set<string>();
    for (const name of names) {
      if (seen.has(name)) this.add(field, `names "${name}" twice`);
      seen.add(name);
    }
  }

  /** Throws REQUEST_INVALID with every violation, if there is one. */
  done(): void {
    if (this.#violations.length === 0) return;
    const fault = this.#violations.map(({ field, description }) => `${field} ${description}`).join("; ");
    throw errors.REQUEST_INVALID({ fault }, { violations: this.#violations });
  }
}

/** Throws REQUEST_INVALID unless the checks hold. */
export function check(run: (checks: Checks) => void): void {
  const checks = new Checks();
  run(checks);
  checks.done();
}

/** The label of a request. */
export function labelOf(checks: Checks, field: string, text: string): Label {
  const label = labels.find((candidate) => candidate === text);
  if (label === undefined) checks.add(field, `must be one of ${labels.join(", ")}`);
  return label ?? "champion";
}

/** The model of a request, checked by itself: not yet against its artifact. */
export function modelOf(model: registry.Model | undefined): ModelContent {
  const checks = new Checks();
  if (model === undefined) {
    checks.add("model", "is missing");
    checks.done();
    throw errors.REQUEST_INVALID({ fault: "model is missing" });
  }
  checks.name("model.scenario", model.scenario);
  checks.name("model.name", model.name);
  checks.digest("model.artifact_digest", model.artifactDigest);
  checks.optionalDigest("model.reference_digest", model.referenceDigest);
  if (checks.count("model.features", model.features.length, limits.features)) {
    for (const [index, feature] of model.features.entries()) {
      const reference = feature.length <= limits.featureBytes && /^[^:\s]+:[^:\s]+$/.test(feature);
      checks.that(reference, `model.features[${index}]`, "must be a feature reference such as view:feature");
    }
    checks.distinct("model.features", model.features);
  }
  const metrics = Object.entries(model.metrics);
  if (checks.count("model.metrics", metrics.length, limits.metrics)) {
    for (const [name, value] of metrics) {
      checks.text("model.metrics", name, limits.textBytes);
      checks.that(Number.isFinite(value), `model.metrics.${name.slice(0, 64)}`, "must be finite");
    }
  }
  const content: ModelContent = {
    scenario: model.scenario,
    name: model.name,
    artifactDigest: model.artifactDigest,
    inputs: tensorsOf(checks, "model.inputs", model.inputs),
    outputs: tensorsOf(checks, "model.outputs", model.outputs),
    features: [...model.features],
    metrics: { ...model.metrics },
    lineage: lineageOf(checks, model.lineage),
    referenceDigest: model.referenceDigest,
  };
  checks.done();
  return content;
}

function tensorsOf(
  checks: Checks,
  field: string,
  tensors: readonly registry.TensorSignature[],
): readonly TensorSignature[] {
  checks.that(tensors.length > 0, field, "must have an entry");
  if (!checks.count(field, tensors.length, limits.tensors)) return [];
  checks.distinct(
    field,
    tensors.map((tensor) => tensor.name),
  );
  return tensors.map(({ name, datatype, shape }, index) => {
    const path = `${field}[${index}]`;
    checks.that(name !== "", `${path}.name`, "is empty");
    checks.text(`${path}.name`, name, limits.textBytes);
    checks.that(signatureDatatypes.has(datatype), `${path}.datatype`, `must be ${[...signatureDatatypes].join(", ")}`);
    checks.that(shape.length <= limits.rank, `${path}.shape`, `must have at most ${limits.rank} dimensions`);
    const sizes = shape.map(Number);
    const sound = sizes.every((size) => size === -1 || (size > 0 && Number.isSafeInteger(size)));
    checks.that(sound, `${path}.shape`, "must have dimensions from 1 up, or -1");
    return { name, datatype, shape: sizes };
  });
}

function lineageOf(checks: Checks, lineage: registry.Lineage | undefined): ModelContent["lineage"] {
  const field = "model.lineage";
  const content = {
    trainingSetHash: lineage?.trainingSetHash ?? "",
    trainingRows: Number(lineage?.trainingRows ?? 0n),
    featureViews: [...(lineage?.featureViews ?? [])],
    codeDigest: lineage?.codeDigest ?? "",
    trainer: lineage?.trainer ?? "",
    libraries: { ...lineage?.libraries },
  };
  checks.optionalDigest(`${field}.training_set_hash`, content.trainingSetHash);
  checks.optionalDigest(`${field}.code_digest`, content.codeDigest);
  const rows = content.trainingRows >= 0 && Number.isSafeInteger(content.trainingRows);
  checks.that(rows, `${field}.training_rows`, "must be from 0 to 2^53");
  checks.text(`${field}.trainer`, content.trainer, limits.textBytes);
  if (checks.count(`${field}.feature_views`, content.featureViews.length, limits.featureViews)) {
    for (const [index, reference] of content.featureViews.entries()) {
      const sound = viewReferenceOf(reference) !== undefined;
      checks.that(sound, `${field}.feature_views[${index}]`, "must be name@version");
    }
  }
  const libraries = Object.entries(content.libraries);
  if (checks.count(`${field}.libraries`, libraries.length, limits.libraries)) {
    for (const [name, version] of libraries) checks.text(`${field}.libraries`, `${name} ${version}`, limits.textBytes);
  }
  return content;
}

/** The view version that a lineage names as `name@version`; undefined where it does not. */
export function viewReferenceOf(reference: string): VersionReference | undefined {
  const [name = "", version = "", ...rest] = reference.split("@");
  return isName(name) && isVersion(version) && rest.length === 0 ? { name, version } : undefined;
}

/** The part whose lineage a request asks for; undefined for all of the scenario. */
export function lineagePartOf({ scenario, part }: registry.GetLineageRequest): LineagePart | undefined {
  const checks = new Checks();
  checks.name("scenario", scenario);
  const versioned = (kind: "view" | "model", field: string, { name, version }: VersionReference): LineagePart => {
    checks.name(`${field}.name`, name);
    checks.that(isVersion(version), `${field}.version`, "must be a whole number from 1 up");
    return { kind, name, version };
  };
  const read = (): LineagePart | undefined => {
    switch (part.case) {
      case "source":
        checks.text("source", part.value, 128);
        return { kind: "source", name: part.value };
      case "featureView":
        return versioned("view", "feature_view", part.value);
      case "trainingSetHash":
        checks.digest("training_set_hash", part.value);
        return { kind: "training-set", hash: part.value };
      case "model":
        return versioned("model", "model", part.value);
      case "releaseId":
        checks.text("release_id", part.value, 128);
        return { kind: "release", id: part.value };
      default:
        return undefined;
    }
  };
  const found = read();
  checks.done();
  return found;
}

/** The release that a request asks for. */
export function releaseRequestOf(request: registry.CreateReleaseRequest): ReleaseRequest {
  const checks = new Checks();
  checks.name("scenario", request.scenario);
  checks.digest("code_digest", request.codeDigest);
  const asked: ReleaseRequest = {
    scenario: request.scenario,
    codeDigest: request.codeDigest,
    models: referencesOf(checks, "models", request.models, limits.models),
    featureViews: referencesOf(checks, "feature_views", request.featureViews, limits.featureViews),
    indexes: indexesOf(checks, request.indexes),
  };
  checks.done();
  return asked;
}

function referencesOf(
  checks: Checks,
  field: string,
  references: readonly VersionReference[],
  max: number,
): readonly VersionReference[] {
  if (!checks.count(field, references.length, max)) return [];
  for (const [index, { name, version }] of references.entries()) {
    checks.name(`${field}[${index}].name`, name);
    checks.optionalVersion(`${field}[${index}].version`, version);
  }
  checks.distinct(
    field,
    references.map(({ name }) => name),
  );
  return references.map(({ name, version }) => ({ name, version }));
}

function indexesOf(checks: Checks, indexes: readonly registry.ReleaseIndex[]): readonly IndexGeneration[] {
  if (!checks.count("indexes", indexes.length, limits.indexes)) return [];
  checks.distinct(
    "indexes",
    indexes.map(({ index }) => index),
  );
  return indexes.map(({ index, generation }, position) => {
    checks.name(`indexes[${position}].index`, index);
    const sound = generation >= 1n && generation <= BigInt(Number.MAX_SAFE_INTEGER);
    checks.that(sound, `indexes[${position}].generation`, "must be from 1 to 2^53 - 1");
    return { index, generation: Number(generation) };
  });
}
