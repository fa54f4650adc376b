import type { FeatureView, Source, Value, ValueType } from "@weft/scenario";
import type { EntityKey } from "./entity-key.ts";

/** A row of a source. `values` follows `sourceFields(source)`; times are microseconds since 1970, whole numbers. */
export interface SourceRow {
  readonly eventTimeUs: number;
  /** The event time where the source has no created times. */
  readonly createdTimeUs: number;
  readonly values: readonly Value[];
}

/** A field of a source with its type. */
export interface SourceField {
  readonly name: string;
  readonly type: ValueType;
}

/** Fields of a source, without its two time fields, in the order of its definition. */
export function sourceFields(source: Source): readonly SourceField[] {
  return Object.entries(source.fields)
    .filter(([name]) => name !== source.eventTime && name !== source.createdTime)
    .map(([name, type]) => ({ name, type }));
}

/** What a read found for one value; the numbers are those of `weft.feature.v1.FeatureStatus`. */
export const Status = { Present: 1, Null: 2, NotFound: 3, OutsideMaxAge: 4, Defaulted: 5, Unavailable: 6 } as const;

/** A feature that a compiled view answers. */
export interface ViewFeature {
  readonly name: string;
  /**
   * Type of the answer. Aggregates: int64 for count and distinct; float64 for sum, mean, min, max and std; the field's
   * own type for last; keys for recent and top.
   */
  readonly type: ValueType;
  /** Stands in where there is no value; undefined unless the view's ladder has "default". */
  readonly default: number | bigint | boolean | string | undefined;
}

/**
 * What one read of a view found, for a selection of its features; reused from read to read. Position i stands for
 * `features[i]`.
 */
export interface ViewReading {
  readonly features: readonly ViewFeature[];
  /** Number of float, int64 (rounded to a double) and bool (0 or 1) features; NaN where there is no value, or for other types. */
  readonly numbers: Float64Array;
  /** Status of each feature, after the ladder. */
  readonly statuses: Uint8Array;
  /** Event time of the row that answered, or of the newest event counted; NaN where there is none. */
  eventTimeUs: number;
  /** True where a state or row was found, of whatever age. */
  found: boolean;
  /** The exact value of a feature, null where there is none. int64 as bigint. */
  value(index: number): Value;
  /** Takes every value back, for a state that could not be read: the default stands in where the ladder has it. */
  withhold(): void;
}

/** The part of `ViewReading.withhold` that is the same for every reading. */
export function withholdNumbers({ features, numbers, statuses }: ViewReading): void {
  for (let i = 0; i < features.length; i++) {
    const fallback = features[i]?.default;
    statuses[i] = fallback === undefined ? Status.Unavailable : Status.Defaulted;
    numbers[i] = fallback === undefined || typeof fallback === "string" ? Number.NaN : Number(fallback);
  }
}

/** State of one key of a view: the newest row, or the tiles and tail of its windows. */
export interface ViewState {
  /** Takes a row in; false where it changes nothing. Rows may come in any order. */
  apply(row: SourceRow): boolean;
  /** Packs the state. The bytes are never written to again; they may be part of a larger buffer, so keep a copy. */
  encode(): Uint8Array;
}

/**
 * A view ready to be kept and read (see `compileView` in compile-view.ts): one evaluator for the stream, for materialization and for training sets, so that
 * they give the same bits.
 */
export interface CompiledView {
  readonly view: FeatureView;
  readonly name: string;
  readonly kind: "fields" | "windows";
  /** sha256 of what decides the stored state, 64 hex digits. */
  readonly digest: string;
  /** Fields of the source, in the order of a row's values. */
  readonly fields: readonly SourceField[];
  /** Every feature of the view. */
  readonly features: readonly ViewFeature[];
  /** 0 = no limit. */
  readonly ttlUs: number;
  /** Key of a row; undefined where one of its key fields is null (such a row belongs to nobody). */
  keyOf(row: SourceRow): EntityKey | undefined;
  emptyState(): ViewState;
  /** Reads packed bytes, without copying where they are 8-byte aligned; RangeError on bytes of another definition. */
  decode(bytes: Uint8Array): ViewState;
  /** A reading of the named features, or of all; RangeError on an unknown name. */
  createReading(names?: readonly string[]): ViewReading;
  /**
   * Reads the features as of a time, TTL and ladder applied. No state reads as: windows count nothing, fields are not
   * found. Sees rows with event time <= t (windows: < t) and created time <= t; a field view keeps only its newest
   * row, so one that is newer than t hides what came before. `maxAgeUs` holds for this read where the view's TTL is
   * longer; windows, which bound the age of what they count, take no notice of it.
   */
  read(state: ViewState | undefined, asOfUs: number, reading: ViewReading, maxAgeUs?: number): void;
}
