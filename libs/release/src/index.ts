export { observeReleases } from "./metrics.ts";
export {
  defaultLimits,
  type LoadedRelease,
  type LoadParts,
  type ReleaseEvent,
  ReleaseSource,
  type ReleaseSourceLimits,
  type ReleaseSourceOptions,
} from "./release-source.ts";
export { bundleLimits, packScenario, type ScenarioBundle, unpackScenario } from "./scenario-bundle.ts";
