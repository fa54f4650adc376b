/** A model that gave a score. */
export interface ScoredModel {
  readonly model: string;
  readonly version: string;
  /** True for a shadow: logged, never answered. */
  readonly shadow: boolean;
}

/** What many predictions have in common and what their numbers mean; stored once and referred to by rows. */
export interface PredictionLayout {
  readonly scenario: string;
  readonly releaseId: string;
  /** Model whose features a row holds; empty where it holds none. */
  readonly featureModel: string;
  /** One entry a score, in the order of the scores. */
  readonly models: readonly ScoredModel[];
}

/** The text that identifies a layout. */
export function layoutKey(layout: PredictionLayout): string {
  return JSON.stringify([
    layout.scenario,
    layout.releaseId,
    layout.featureModel,
    layout.models.map(({ model, version, shadow }) => [model, version, shadow ? 1 : 0]),
  ]);
}

/** Reads what `layoutKey` wrote. */
export function parseLayoutKey(key: string): PredictionLayout {
  const [scenario, releaseId, featureModel, models] = JSON.parse(key) as [
    string,
    string,
    string,
    [string, string, 0 | 1][],
  ];
  return {
    scenario,
    releaseId,
    featureModel,
    models: models.map(([model, version, shadow]) => ({ model, version, shadow: shadow === 1 })),
  };
}

/** A request field as its caller sent it; without a kind where it was not known. */
export interface RequestValue {
  readonly kind:
    | { readonly case: "number"; readonly value: number }
    | { readonly case: "integer"; readonly value: bigint }
    | { readonly case: "flag"; readonly value: boolean }
    | { readonly case: "text"; readonly value: string }
    | { readonly case: undefined; readonly value?: undefined };
}

/** The part of a prediction that is stored as one value; see `encodePayload` for the bytes. */
export interface PredictionPayload {
  /** Entity keys as text, by entity. */
  readonly entities: Readonly<Record<string, string>>;
  /** float32[features] little-endian; NaN where there was no value. */
  readonly features: Uint8Array;
  /** uint8[features], or empty. */
  readonly statuses: Uint8Array;
  /** In the order of the layout's models. */
  readonly scores: readonly number[];
  readonly decision: string;
  readonly degraded: boolean;
  readonly tenant: string;
  readonly arm: string;
  /** Request fields by name; a field that is absent was not kept. */
  readonly request: Readonly<Record<string, RequestValue>>;
  /** When reading the features began, microseconds since 1970; 0 where that is not known. */
  readonly readTimeUs: bigint;
}

/**
 * Rows of predictions in a form that crosses to another thread and into a store without being taken apart:
 * column arrays, and one buffer with all payloads, each at a multiple of 8 bytes.
 */
export interface PackedPredictions {
  readonly count: number;
  readonly layouts: readonly PredictionLayout[];
  /** Per row, the place of its layout in `layouts`. */
  readonly layoutIndexes: Uint32Array;
  readonly requestIds: readonly string[];
  /** Per row, the item key as text; empty where there is none. */
  readonly items: readonly string[];
  /** Per row, microseconds since 1970, exact integers below 2^53. */
  readonly eventTimesUs: Float64Array;
  /** Per row, where its payload starts in `payloads`. */
  readonly payloadStarts: Uint32Array;
  /** Per row, its payload's length in bytes. */
  readonly payloadLengths: Uint32Array;
  readonly payloads: Uint8Array<ArrayBuffer>;
}

/** A prediction as the log holds it. */
export interface StoredPrediction {
  /** Place in the log: grows by arrival, never reused. */
  readonly sequence: number;
  readonly layout: PredictionLayout;
  readonly requestId: string;
  readonly item: string;
  readonly eventTimeUs: number;
  readonly payload: Uint8Array;
}

/** The truth about one prediction. */
export interface LabelRecord {
  readonly requestId: string;
  readonly item: string;
  /** Finite. */
  readonly value: number;
  /** When the truth was known, microseconds since 1970. */
  readonly labelTimeUs: number;
}
