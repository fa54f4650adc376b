import type { FeatureReference, KeyType, Value, ValueType } from "@weft/scenario";

/** An entity key: text, or an integer of the full signed 64-bit range. */
export type Key = string | bigint;

/** What a read found for one value; the numbers of weft.feature.v1.FeatureStatus. */
export const FeatureStatus = {
  Present: 1,
  Null: 2,
  NotFound: 3,
  OutsideMaxAge: 4,
  Defaulted: 5,
  Unavailable: 6,
} as const;

/** An entity that a read needs, and where its keys stand among the request's. */
export interface EntityInput {
  readonly name: string;
  readonly key: KeyType;
  readonly position: number;
}

/** A request field that a read needs, and where its value stands among the request's. */
export interface FieldInput {
  readonly name: string;
  readonly type: ValueType;
  readonly position: number;
}

/** A read of features, prepared once a release. */
export interface FeatureRead {
  readonly scenario: string;
  /** Feature service (a model's name) to read; empty where references are named. */
  readonly featureService: string;
  /** What the answer holds, in order. */
  readonly references: readonly FeatureReference[];
  /** Whether a value older than its TTL is a value, by reference: the view's ladder says "stale". */
  readonly stale: readonly boolean[];
  readonly entities: readonly EntityInput[];
  readonly fields: readonly FieldInput[];
}

/** Features as a model takes them. */
export interface FeatureMatrix {
  readonly rows: number;
  /** float32[rows, references], row-major little-endian; NaN where there is no value. */
  readonly values: Uint8Array;
  /** uint8[rows, references] of FeatureStatus. */
  readonly statuses: Uint8Array;
}

/** One feature of every row. */
export interface FeatureColumn {
  /** One a row; null where there is no value. */
  readonly values: readonly Value[];
  /** FeatureStatus of each row. */
  readonly statuses: readonly number[];
}

/** A model as a release holds it. */
export interface ModelTarget {
  readonly name: string;
  readonly version: string;
  /** Output tensor that is read. */
  readonly output: string;
  /** Columns of its input. */
  readonly features: number;
}

/** A generation of an index as a release holds it. */
export interface IndexTarget {
  readonly scenario: string;
  readonly index: string;
  readonly generation: bigint;
  readonly itemKey: KeyType;
}

/** A condition on an item. Values have the attribute's own type. */
export interface ItemFilter {
  readonly attribute: FeatureReference;
  /** Empty: any value. */
  readonly anyOf: readonly (number | bigint | string | boolean)[];
  readonly atLeast: number | undefined;
  readonly atMost: number | undefined;
}

/** Items near an embedding, closest first. */
export interface Neighbors {
  readonly keys: readonly Key[];
  readonly similarities: readonly number[];
}

/**
 * The services behind the gateway, called on behalf of one request: its deadline, cancellation, trace, tenant and release
 * travel along. Every call ends within `timeoutMs`, by an answer or by a WeftError.
 */
export interface Peers {
  /** True once the caller no longer waits. */
  readonly cancelled: boolean;
  /**
   * Reads features as a model's input tensor. `keys` holds a column of keys an entity (a single key stands for all rows)
   * and `fields` a value a request field, both in the order of the scenario's inputs.
   */
  readMatrix(
    read: FeatureRead,
    keys: readonly (readonly Key[])[],
    fields: readonly Value[],
    eventTimeUs: number,
    timeoutMs: number,
  ): Promise<FeatureMatrix>;
  /** Reads features of any type, one column a reference. */
  readColumns(
    read: FeatureRead,
    keys: readonly (readonly Key[])[],
    fields: readonly Value[],
    eventTimeUs: number,
    timeoutMs: number,
  ): Promise<readonly FeatureColumn[]>;
  /** Runs a model over float32[rows, features]; answers its output tensor, row-major. */
  infer(model: ModelTarget, rows: number, features: Uint8Array, timeoutMs: number): Promise<Float32Array>;
  /** Finds the items nearest to an embedding. */
  search(
    target: IndexTarget,
    embedding: Float32Array,
    count: number,
    filters: readonly ItemFilter[],
    excluded: readonly Key[],
    timeoutMs: number,
  ): Promise<Neighbors>;
}
