export { chiSquareCdf, chiSquareQuantile } from "./chi-square.ts";
export type { ReferenceDistribution } from "./distribution.ts";
export { compareWithReference, DRIFT_MINIMUM, FALSE_ALARM, type Stability } from "./stability.ts";
