import { type ArrivingPrediction, packPredictions } from "./packer.ts";
import type { PackedPredictions, RequestValue } from "./prediction.ts";
import type { Reference } from "./reference.ts";
import type { ReleaseParts } from "./release-parts.ts";

/** Event time of the first prediction of the tests: 2024-01-01T00:00:00Z. */
export const startUs = 1_704_067_200_000_000;

/** float32 little-endian bytes. */
export function floatBytes(values: readonly number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

/** A prediction that can be sent as a message too. */
export interface SentPrediction extends ArrivingPrediction {
  readonly entities: Record<string, string>;
  readonly scores: { model: string; version: string; shadow: boolean; score: number }[];
  readonly request: Record<string, RequestValue>;
}

/** A prediction with two features and one score; `over` replaces what a test is about. */
export function prediction(requestId: string, over: Partial<SentPrediction> = {}): SentPrediction {
  return {
    requestId,
    item: "",
    scenario: "fraud",
    releaseId: "fraud-1",
    eventTimeUs: BigInt(startUs),
    entities: { card: "c1" },
    featureModel: "tree",
    features: floatBytes([1, 2]),
    statuses: Uint8Array.of(1, 1),
    scores: [{ model: "tree", version: "1", score: 0.5, shadow: false }],
    decision: "approve",
    degraded: false,
    tenant: "",
    arm: "",
    request: {},
    readTimeUs: 0n,
    ...over,
  };
}

/** Packs predictions that have no fault; columns are not checked. */
export function pack(...predictions: readonly ArrivingPrediction[]): PackedPredictions {
  const rules = { release: () => undefined, eventTimeMaxUs: Number.MAX_SAFE_INTEGER };
  const { packed, faults } = packPredictions(predictions, rules);
  if (faults.length > 0) {
    throw new Error(JSON.stringify(faults));
  }
  return packed;
}

/** What the tests' models saw in training. */
export const reference: Reference = {
  rows: 1000,
  features: {
    "card:amount": { edges: [0, 1, 2], shares: [0.25, 0.25, 0.25, 0.25], missingRatio: 0 },
    "card:age": { edges: [10], shares: [0.5, 0.5], missingRatio: 0.2 },
  },
  scores: { edges: [0.2, 0.5, 0.8], shares: [0.4, 0.3, 0.2, 0.1], missingRatio: 0 },
};

/** A release with a champion and a shadow that have the reference. */
export function releaseParts(releaseId = "fraud-1", scenario = "fraud"): ReleaseParts {
  const features = ["card:amount", "card:age"];
  return {
    releaseId,
    scenario,
    models: [
      { name: "tree", version: "1", features, reference },
      { name: "network", version: "1", features, reference },
    ],
  };
}
