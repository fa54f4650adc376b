import type { FeatureReference, ValueType } from "@weft/scenario";

/** Types of the features that a matrix holds. */
export type NumericType = "float32" | "float64" | "int64" | "bool";

/**
 * How far a served number may be from the recomputed one, by the feature's type: times the greater of 1 and the
 * recomputed number. A type without one must agree to the bit (0 and -0 are one number).
 */
export type Tolerances = Readonly<Partial<Record<NumericType, number>>>;

/** How one feature compares; each value is in one of the counts. */
export interface FeatureParity {
  readonly reference: FeatureReference;
  readonly type: ValueType;
  /** Values that agree, both absent included. */
  matching: number;
  /** Absent when served, there offline. */
  missing: number;
  /** Served, absent offline. */
  extra: number;
  /** On both sides, and further apart than the tolerance. */
  different: number;
  /** Values that disagree, while rows of their key were coming in. */
  inFlight: number;
  /** Values that disagree, read as of a time before rows of their key that the online store held already. */
  hindsight: number;
  /** Values that were absent because the store could not be reached, as their status said. */
  unavailable: number;
  absoluteErrorMax: number;
  /** Difference divided by the recomputed number; infinite where that is 0. */
  relativeErrorMax: number;
}

/** A value that disagrees. */
export interface ParityDifference {
  readonly id: string;
  readonly reference: FeatureReference;
  /** NaN where it was absent. */
  readonly served: number;
  /** NaN where it is absent. */
  readonly recomputed: number;
  /** Status it was served with; 0 where that is not known. */
  readonly status: number;
  /** What explains it; undefined where nothing does. */
  readonly circumstance: Circumstance | undefined;
}

/**
 * Why a value may disagree though nothing is wrong with it. `inFlight`: rows of its key were coming in while it was read.
 * `hindsight`: it was asked for as of a time before rows of its key that had come in already, and the online store
 * keeps the present, not the past. `unavailable`: the store could not be reached, as the status of the value said.
 */
export type Circumstance = "inFlight" | "hindsight" | "unavailable";

/** How served vectors compare with the offline store. */
export interface ParityReport {
  readonly compared: number;
  /** Vectors that lack a key or a request field. */
  readonly incomplete: number;
  readonly features: readonly FeatureParity[];
  /** The first that were found, those that nothing explains before the others. */
  readonly differences: readonly ParityDifference[];
}

/** What two values of a feature are to each other. */
export type Verdict = "matching" | "missing" | "extra" | "different";

/** Compares float32 values of one feature, NaN where there is none, and keeps the greatest errors. */
export function compareValues(feature: FeatureParity, served: number, recomputed: number, tolerance: number): Verdict {
  if (Number.isNaN(served)) return Number.isNaN(recomputed) ? "matching" : "missing";
  if (Number.isNaN(recomputed)) return "extra";
  if (served === recomputed) return "matching";
  const error = Math.abs(served - recomputed);
  feature.absoluteErrorMax = Math.max(feature.absoluteErrorMax, error);
  feature.relativeErrorMax = Math.max(feature.relativeErrorMax, error / Math.abs(recomputed));
  return error <= tolerance * Math.max(1, Math.abs(recomputed)) ? "matching" : "different";
}
