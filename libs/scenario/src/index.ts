export * from "./data.ts";
export * from "./definitions.ts";
export { type DurationText, durationMs, parseDurationMs } from "./duration.ts";
export type { Site } from "./site.ts";
