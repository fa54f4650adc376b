export * from "./data.ts";
export * from "./definitions.ts";
export { type DurationText, durationMs, parseDurationMs } from "./duration.ts";
export * from "./expectations.ts";
export type { ScenarioFault } from "./fault.ts";
export { aggregateType, featureNamesOf, sessionSlideMs, slideMsOf } from "./features.ts";
export { loadDefaultExport, loadScenario, ScenarioError } from "./load.ts";
export type { Site } from "./site.ts";
export { referenceTypes, validateScenario } from "./validate.ts";
