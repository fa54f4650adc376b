/** Labels that a scenario can point at a release. */
export const labels = ["champion", "challenger", "canary", "shadow"] as const;

/** A label of a scenario. */
export type Label = (typeof labels)[number];

/** A feature view's definition before it has a version. */
export interface FeatureViewContent {
  readonly scenario: string;
  readonly name: string;
  /** Canonical JSON. */
  readonly definition: string;
  /** sha256 of the definition. */
  readonly digest: string;
}

/** A version of a feature view. Never changes. */
export interface FeatureViewVersion extends FeatureViewContent {
  /** "1", "2", … in the order registered, a number of its own for each (scenario, name). */
  readonly version: string;
  /** Microseconds since 1970. */
  readonly createTimeUs: number;
}

/** A tensor of a model's signature. */
export interface TensorSignature {
  readonly name: string;
  /** Element type as the Open Inference Protocol names it: FP32, INT64, BYTES, … */
  readonly datatype: string;
  /** Dimensions; -1 where it varies. */
  readonly shape: readonly number[];
}

/** Where a model came from. */
export interface Lineage {
  /** sha256 of the training set; "" where unknown. */
  readonly trainingSetHash: string;
  readonly trainingRows: number;
  /** Feature view versions as `name@version`. */
  readonly featureViews: readonly string[];
  /** sha256 of the scenario's code; "" where unknown. */
  readonly codeDigest: string;
  readonly trainer: string;
  readonly libraries: Readonly<Record<string, string>>;
}

/** A model before it has a version. */
export interface ModelContent {
  readonly scenario: string;
  readonly name: string;
  /** sha256 of the ONNX file. */
  readonly artifactDigest: string;
  readonly inputs: readonly TensorSignature[];
  readonly outputs: readonly TensorSignature[];
  /** Feature references in the column order of the input. */
  readonly features: readonly string[];
  readonly metrics: Readonly<Record<string, number>>;
  readonly lineage: Lineage;
  /** sha256 of the reference statistics; "" where there are none. */
  readonly referenceDigest: string;
}

/** A version of a model. Never changes. */
export interface ModelVersion extends ModelContent {
  /** "1", "2", … in the order registered, a number of its own for each (scenario, name). */
  readonly version: string;
  /** sha256 over the canonical content. */
  readonly digest: string;
  /** Microseconds since 1970. */
  readonly createTimeUs: number;
}

/** A version by name. */
export interface VersionReference {
  readonly name: string;
  readonly version: string;
}

/** A generation of an index. */
export interface IndexGeneration {
  readonly index: string;
  /** From 1 up, below 2^53. */
  readonly generation: number;
}

/** The parts of a release and the id that follows from them. */
export interface ReleaseContent {
  readonly id: string;
  readonly scenario: string;
  /** sha256 over the canonical parts; the id holds its first 12 digits. */
  readonly digest: string;
  readonly codeDigest: string;
  /** By name. */
  readonly models: readonly VersionReference[];
  /** By name. */
  readonly featureViews: readonly VersionReference[];
  /** By index. */
  readonly indexes: readonly IndexGeneration[];
}

/** What is deployed, rolled back and logged as one, with its models whole. Never changes. */
export interface Release extends Omit<ReleaseContent, "models"> {
  readonly models: readonly ModelVersion[];
  /** Microseconds since 1970. */
  readonly createTimeUs: number;
}

/** Part of a list, newest first. */
export interface Page<T> {
  readonly entries: readonly T[];
  /** Position to go on before; undefined at the end. */
  readonly before: number | undefined;
}

/** What part of a list to read. */
export interface PageQuery {
  /** Scenario name; every scenario when "". */
  readonly scenario: string;
  /** Greatest number of entries, from 1 up. */
  readonly limit: number;
  /** Ends the page before its entries take more than this as JSON; one entry is always given. */
  readonly bytesMax: number;
  /** Position that an earlier page answered. */
  readonly before?: number | undefined;
}

/** A move of a label. */
export interface LabelMove {
  readonly scenario: string;
  readonly label: Label;
  /** "" removes the label. */
  readonly releaseId: string;
  /** Moves only if the label points here now ("" = the label is not set). */
  readonly expectedReleaseId?: string | undefined;
  /** A repeat of the same move under the same id answers what the first answered; "" = none. */
  readonly requestId: string;
}

/** What a move did. */
export interface LabelMoved {
  /** Revision after the move. */
  readonly revision: number;
  /** False where the label pointed there already, or the move is a repeat. */
  readonly changed: boolean;
}

/** A label and its release. */
export interface LabelledRelease {
  readonly label: Label;
  readonly release: Release;
}

/** Every label of every scenario at one revision, by scenario and label. */
export interface LabelState {
  /** 0 at first; grows by one with each label that moves. */
  readonly revision: number;
  readonly releases: readonly LabelledRelease[];
}

/**
 * The records of the registry. What a method has answered is durable. Feature views, models and releases are only ever
 * added; the same content answers the record that has it.
 */
export interface Catalog {
  addFeatureView(view: FeatureViewContent, createTimeUs: number): Promise<FeatureViewVersion>;
  /** The newest version when `version` is "". */
  featureView(scenario: string, name: string, version: string): Promise<FeatureViewVersion | undefined>;
  /** The newest version of each of a scenario's views, by name. */
  newestFeatureViews(scenario: string): Promise<readonly FeatureViewVersion[]>;
  listFeatureViews(query: PageQuery): Promise<Page<FeatureViewVersion>>;

  addModel(model: ModelContent, createTimeUs: number): Promise<ModelVersion>;
  /** The newest version when `version` is "". */
  model(scenario: string, name: string, version: string): Promise<ModelVersion | undefined>;
  listModels(query: PageQuery): Promise<Page<ModelVersion>>;

  /** Throws RELEASE_ID_TAKEN where the id has another digest. Every part must be in the catalog. */
  addRelease(release: ReleaseContent, createTimeUs: number): Promise<Release>;
  release(id: string): Promise<Release | undefined>;
  listReleases(query: PageQuery): Promise<Page<Release>>;

  /** Moves a label atomically. Throws LABEL_MOVED, RELEASE_NOT_FOUND or REQUEST_ID_REUSED, and then changes nothing. */
  moveLabel(move: LabelMove): Promise<LabelMoved>;
  labelState(): Promise<LabelState>;

  close(): void;
}
