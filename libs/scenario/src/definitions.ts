import type { DurationText } from "./duration.ts";
import type { Expectation } from "./expectations.ts";
import { callSite, type Site } from "./site.ts";

/** Type of an entity key. int64 keys are `bigint` in code and never lose a bit. */
export type KeyType = "string" | "int64";

/** Type of a field or feature. `vector` holds float32 elements; `keys` is a list of entity keys, int64 or string. */
export type ValueType =
  | "float32"
  | "float64"
  | "int64"
  | "bool"
  | "string"
  | "bytes"
  | { readonly vector: number }
  | { readonly keys: KeyType };

/** A value in TypeScript: number for floats, bigint for int64, null where absent. */
export type Value =
  | number
  | bigint
  | boolean
  | string
  | Uint8Array
  | Float32Array
  | readonly (bigint | string)[]
  | null;

/** `view:feature`, `transform:output`, or `request:field`. */
export type FeatureReference = string;

interface Definition<Kind extends string> {
  readonly kind: Kind;
  readonly name: string;
  /** Where the definition stands in the user's file; never part of a digest. */
  readonly at: Site;
}

/** A thing that features describe, such as a card, a user or an item. */
export interface Entity extends Definition<"entity"> {
  readonly key: KeyType;
  readonly description?: string;
}

/** Rows of facts with an event time: a CSV or Parquet file of the offline store, and what is pushed under its name. */
export interface Source extends Definition<"source"> {
  /** File name inside the scenario's folder of the offline store, ending in .csv or .parquet. */
  readonly file: string;
  /**
   * Kafka topic that brings further rows as they happen, each message a JSON object of fields by name; followed where
   * the feature service has brokers. The file holds what is not in the topic.
   */
  readonly topic?: string;
  /** Field with the event time: int64 microseconds since 1970. */
  readonly eventTime: string;
  /** Field with the time at which the row became known, int64 microseconds; absent: the event time. */
  readonly createdTime?: string;
  /** Every other field with its type. */
  readonly fields: Readonly<Record<string, ValueType>>;
  /** How often the file is looked at for new rows, from 1s; "0s": only when asked to. Default: the feature service's setting, 1h. */
  readonly refresh?: DurationText;
  /** What is expected of the rows, checked when they are pushed and when they are materialized; at most 100. */
  readonly expectations?: readonly Expectation[];
  readonly description?: string;
}

/** A feature that is the newest row's field. */
export interface FieldFeature {
  readonly type: ValueType;
  /** Field of the source; default: the feature's own name. */
  readonly field?: string;
  /** Stands in where there is no value, if the view's ladder has "default". */
  readonly default?: number | bigint | boolean | string;
}

/**
 * Function of a window aggregate. `count` needs no field; with one it counts events where it is
 * not null. `last`: value of the newest event. `distinct`: exact number
 * of different values. `approx_distinct`: their number by HyperLogLog with 4,096 registers, standard error 1.6 %, at a
 * bounded size. `quantile`: a value within 1/128 of the exact quantile's magnitude (DDSketch). `recent`: the newest
 * different values of a key field, newest first (type keys). `top`: the most frequent values of a key field, most
 * frequent first, ties by smaller value (type keys). On an empty window count, sum, distinct and approx_distinct are 0,
 * recent and top are empty lists, and the others are absent (null). std is the population's.
 */
export type AggregateFunction =
  | "count"
  | "sum"
  | "mean"
  | "min"
  | "max"
  | "std"
  | "last"
  | "distinct"
  | "approx_distinct"
  | "quantile"
  | "recent"
  | "top";

/**
 * Kind of a window, read at t. `sliding`: from `floor(t − W, slide)` to t. `tumbling`: the newest window of the grid of
 * W since 1970 that is over, from `floor(t, W) − W` to `floor(t, W)`. `session`: from the first event of the running
 * session to t; a session goes on while the key's next event of the source, filtered or not, is at most the gap later,
 * and it is over, and empty, once t is more than the gap after its newest event. Starts are inclusive, ends exclusive.
 */
export type WindowKind = "sliding" | "tumbling" | "session";

/** One function over one field in several windows; makes a feature a window, named `<name>_<window>`. */
export interface Aggregate {
  readonly function: AggregateFunction;
  /** Field of the source; none for count. */
  readonly field?: string;
  /** Lengths of the windows; of a session its gap. */
  readonly windows: readonly DurationText[];
  /** Default sliding. */
  readonly kind?: WindowKind;
  /**
   * Greatest reach of a session: of a longer one only the events of this last span count. At least the gap; default
   * "24h", or 2,048 slides where that is less. The slide is the greatest of 1 s, 5 s, 1 min, 5 min, 1 h and 1 day that is
   * at most the gap; the span's left edge is aligned to it.
   */
  readonly longest?: DurationText;
  /** Counts only events whose field equals this value. */
  readonly where?: { readonly field: string; readonly equals: number | bigint | boolean | string };
  /** Which quantile, 0 to 1: of n values in order, the one at place floor(quantile * (n − 1)), from 0. Only for quantile. */
  readonly quantile?: number;
  /** Greatest number of values for recent and top, 1 to 10,000; default 100. */
  readonly limit?: number;
  /** Alignment of a sliding window's left edge; default by the rule of slides. */
  readonly slide?: DurationText;
  /** Stands in where the function has no value, if the view's ladder has "default". */
  readonly default?: number;
}

/** What a read may fall back to, in this order, before the value is omitted. */
export type LadderStep = "stale" | "default";

/** Features of one entity (or of several together, or of none) from one source. Has `features` or `aggregates`. */
export interface FeatureView extends Definition<"view"> {
  /** Entities whose keys identify a row, with the source field that holds each key. Empty: one row for all. */
  readonly entities: readonly { readonly entity: Entity; readonly field: string }[];
  readonly source: Source;
  /** Greatest age of a value; "0s" = no limit. Window views have none: their windows bound the age. */
  readonly ttl: DurationText;
  readonly features: Readonly<Record<string, FieldFeature>>;
  readonly aggregates: Readonly<Record<string, Aggregate>>;
  readonly ladder: readonly LadderStep[];
  /** Who answers for it: a team, an address. Never part of a digest, as the two below. */
  readonly owner?: string;
  readonly description?: string;
  /** What else is worth finding it by. At most 32, texts of at most 128 characters. */
  readonly tags?: Readonly<Record<string, string>>;
}

/** A named list of features that is read as one, such as what a model reads. A model is also one under its own name. */
export interface FeatureService extends Definition<"feature-service"> {
  readonly features: readonly FeatureReference[];
  readonly owner?: string;
  readonly description?: string;
  readonly tags?: Readonly<Record<string, string>>;
}

/** An on-demand transform: a pure function of features and request fields, run by the same code online and offline. */
export interface Transform extends Definition<"transform"> {
  /** Local name → reference. */
  readonly inputs: Readonly<Record<string, FeatureReference>>;
  readonly outputs: Readonly<Record<string, "float32" | "float64" | "int64" | "bool" | "string">>;
  /** Reads inputs by local name (null where absent); answers every output (null where absent). */
  readonly compute: (inputs: Readonly<Record<string, never>>) => Record<string, Value>;
  readonly description?: string;
}

/** Labelled events to train on: a spine that features are joined to, as they were known at each row's event time. */
export interface TrainingSet extends Definition<"training-set"> {
  /** Rows with entity keys, event time, request fields and the label. */
  readonly source: Source;
  /** Entity name → field of the source that holds its key. */
  readonly entities: Readonly<Record<string, string>>;
  /** Field with the label. */
  readonly label: string;
  /** Field with the time at which the label was known, int64 microseconds; absent: known at the event. */
  readonly labelTime?: string;
  /** Further fields of the source to carry into the file under their own names, such as a group id or a weight. */
  readonly extra?: readonly string[];
  /** Share of the rows, by time and from the end, that training never sees; 0 to 0.5. */
  readonly testShare: number;
}

/** A condition that a metric of `metrics.json` must meet before the model is registered. */
export interface Gate {
  readonly metric: string;
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** A model: its inputs by feature reference, how it is trained and what it must reach. Its name is also the feature service that reads its inputs. */
export interface Model extends Definition<"model"> {
  /** Column order of the input tensor float32[rows, features]. */
  readonly features: readonly FeatureReference[];
  readonly trainingSet: TrainingSet;
  /** Module under `training/` and its parameters. */
  readonly trainer: { readonly name: string; readonly parameters: Readonly<Record<string, unknown>> };
  readonly gates: readonly Gate[];
  /** Output tensor that pipelines read: float32[rows], float32[rows, 1], or float32[rows, dimension] for an embedding. */
  readonly output: string;
}

/** An index of item embeddings, filled by running a model over every item. */
export interface Index extends Definition<"index"> {
  readonly item: Entity;
  /** View that lists the items. */
  readonly catalog: FeatureView;
  /** Model that embeds an item. */
  readonly model: Model;
  readonly metric: "inner_product" | "cosine";
  /** Features of an item that filters can use. */
  readonly attributes: readonly FeatureReference[];
}

/** What a rules fallback answers. */
export interface RuleResult {
  /** 0 to 1. */
  readonly score: number;
  readonly reasons: readonly string[];
}

/** A stage's share of the time and what answers when it fails. */
export interface StageOptions {
  /** Greatest time the stage may take, in milliseconds; less when the request's deadline leaves less. */
  readonly budgetMs: number;
}

/** A pipeline that answers `Score`. Stages: features → scoring → decision. */
export interface ScorePipeline extends Definition<"score-pipeline"> {
  readonly type: "score";
  /** Deadline of a request that brings none. */
  readonly deadlineMs: number;
  readonly entities: readonly Entity[];
  readonly stages: {
    readonly features: StageOptions;
    readonly scoring: StageOptions & { readonly model: Model };
  };
  /** Models that score every request after the answer is sent; logged, never answered. */
  readonly shadows: readonly Model[];
  /** Decisions from the greatest threshold down; the last has atLeast 0. */
  readonly decisions: readonly { readonly decision: string; readonly atLeast: number }[];
  /** Names why, most important first, from the model's features by reference. */
  readonly reasons?: (features: Readonly<Record<FeatureReference, number | null>>, score: number) => readonly string[];
  /** Answers from the request fields alone when features or scoring fail. */
  readonly fallback: {
    readonly name: string;
    readonly rules: (request: Readonly<Record<string, Value>>) => RuleResult;
  };
}

/** One source of candidates. */
export interface CandidateSource {
  readonly name: string;
  readonly index: Index;
  /** Model that embeds the user. */
  readonly queryModel: Model;
  /** Candidates to retrieve, 1 to 10,000. */
  readonly count: number;
}

/** A pipeline that answers `Recommend`. Stages: retrieval → filtering → scoring → ordering. */
export interface RecommendPipeline extends Definition<"recommend-pipeline"> {
  readonly type: "recommend";
  readonly deadlineMs: number;
  readonly user: Entity;
  readonly item: Entity;
  readonly stages: {
    readonly retrieval: StageOptions & { readonly sources: readonly CandidateSource[] };
    /** Drops candidates whose key is in this list feature of the user. */
    readonly filtering: StageOptions & { readonly seen?: FeatureReference };
    readonly scoring: StageOptions & { readonly model: Model };
    /** Item features to show with each answer. */
    readonly ordering: { readonly display: readonly FeatureReference[] };
  };
  /** List feature of a view without entities, best first; refreshed in the background, answers when retrieval or scoring fails. */
  readonly fallback: { readonly name: string; readonly list: FeatureReference; readonly refreshMs: number };
}

export type Pipeline = ScorePipeline | RecommendPipeline;

/** Requests that a service answers before it says it is ready, and examples for a person to paste. */
export interface Example {
  /** Entity name → key. */
  readonly entities: Readonly<Record<string, string | bigint>>;
  readonly request?: Readonly<Record<string, Value>>;
  /** Microseconds since 1970. */
  readonly eventTimeUs: bigint;
}

/** Everything a scenario is made of. */
export interface Scenario extends Definition<"scenario"> {
  readonly description: string;
  /** True where the data is simulated; said wherever it shows. */
  readonly simulated: boolean;
  /** Request fields by name: what a caller brings with the request. */
  readonly request: Readonly<Record<string, ValueType>>;
  readonly views: readonly FeatureView[];
  readonly transforms: readonly Transform[];
  readonly models: readonly Model[];
  readonly indexes: readonly Index[];
  /** Feature services beside those of the models; names of the two never collide. */
  readonly featureServices?: readonly FeatureService[];
  readonly pipeline: Pipeline;
  /** Module under `training/` that reports on the whole pipeline after its models are trained. */
  readonly evaluation?: {
    readonly name: string;
    readonly parameters: Readonly<Record<string, unknown>>;
    /** Rows to replay, with the features of all models; built only for the evaluation. */
    readonly trainingSet?: TrainingSet;
  };
  /** 1 to 100. */
  readonly examples: readonly Example[];
}

type Input<D extends Definition<string>, Defaults extends keyof D = never> = Omit<D, "kind" | "at" | Defaults> &
  Partial<Pick<D, Defaults>>;

/** Defines an entity. */
export function defineEntity(input: Input<Entity>): Entity {
  return { kind: "entity", at: callSite(defineEntity), ...input };
}

/** Defines a source of rows. */
export function defineSource(input: Input<Source>): Source {
  return { kind: "source", at: callSite(defineSource), ...input };
}

/** Defines a feature view. */
export function defineFeatureView(
  input: Input<FeatureView, "ttl" | "features" | "aggregates" | "ladder">,
): FeatureView {
  return {
    kind: "view",
    at: callSite(defineFeatureView),
    ttl: "0s",
    features: {},
    aggregates: {},
    ladder: [],
    ...input,
  };
}

/** Defines an on-demand transform. Inputs and outputs are typed by the caller's own function. */
export function defineTransform<I extends Record<string, Value>>(
  input: Omit<Input<Transform>, "compute" | "inputs"> & {
    readonly inputs: { readonly [K in keyof I]: FeatureReference };
    readonly compute: (inputs: { readonly [K in keyof I]: I[K] | null }) => Record<string, Value>;
  },
): Transform {
  return { kind: "transform", at: callSite(defineTransform), ...input } as unknown as Transform;
}

/** Defines a training set. */
export function defineTrainingSet(input: Input<TrainingSet>): TrainingSet {
  return { kind: "training-set", at: callSite(defineTrainingSet), ...input };
}

/** Defines a feature service. */
export function defineFeatureService(input: Input<FeatureService>): FeatureService {
  return { kind: "feature-service", at: callSite(defineFeatureService), ...input };
}

/** Defines a model. Its features are references, or what a feature service lists. */
export function defineModel(
  input: Omit<Input<Model, "gates">, "features"> & {
    readonly features: readonly FeatureReference[] | FeatureService;
  },
): Model {
  const features = "kind" in input.features ? input.features.features : input.features;
  return { kind: "model", at: callSite(defineModel), gates: [], ...input, features };
}

/** Defines an index. */
export function defineIndex(input: Input<Index, "attributes">): Index {
  return { kind: "index", at: callSite(defineIndex), attributes: [], ...input };
}

/** Defines the pipeline of a scenario that answers `Score`. */
export function defineScorePipeline(input: Omit<Input<ScorePipeline, "shadows">, "type">): ScorePipeline {
  return { kind: "score-pipeline", type: "score", at: callSite(defineScorePipeline), shadows: [], ...input };
}

/** Defines the pipeline of a scenario that answers `Recommend`. */
export function defineRecommendPipeline(input: Omit<Input<RecommendPipeline>, "type">): RecommendPipeline {
  return { kind: "recommend-pipeline", type: "recommend", at: callSite(defineRecommendPipeline), ...input };
}

/** Defines the scenario: the default export of a folder's `scenario.ts`. */
export function defineScenario(input: Input<Scenario, "simulated" | "request" | "transforms" | "indexes">): Scenario {
  return {
    kind: "scenario",
    at: callSite(defineScenario),
    simulated: false,
    request: {},
    transforms: [],
    indexes: [],
    ...input,
  };
}
