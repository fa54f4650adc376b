import { Code, createErrors } from "@weft/errors";

/** Every reason for which a release cannot be resolved, loaded or packed. */
export const errors = createErrors("weft.release", {
  SCENARIO_UNKNOWN: {
    code: Code.NotFound,
    message: (m: { scenario: string }) => `no scenario "${m.scenario}" is deployed`,
  },
  RELEASE_UNKNOWN: {
    code: Code.NotFound,
    message: (m: { scenario: string; release: string }) =>
      m.release === ""
        ? `scenario "${m.scenario}" has no champion`
        : `release "${m.release}" of scenario "${m.scenario}" is not deployed`,
  },
  RELEASE_NOT_LOADED: {
    code: Code.Unavailable,
    message: (m: { scenario: string; release: string }) =>
      `release "${m.release === "" ? "champion" : m.release}" of scenario "${m.scenario}" is not loaded yet`,
    retryAfterMs: 200,
  },
  RELEASE_LOAD_FAILED: {
    code: Code.Unavailable,
    message: (m: { scenario: string; release: string; why: string }) =>
      `release "${m.release}" of scenario "${m.scenario}" could not be loaded, which is tried again: ${m.why}`,
    retryAfterMs: 1_000,
  },
  RELEASES_FULL: {
    code: Code.ResourceExhausted,
    message: (m: { limit: number }) => `${m.limit} releases are held`,
  },
  SCENARIO_MISMATCH: {
    code: Code.FailedPrecondition,
    message: (m: { release: string; expected: string; actual: string }) =>
      `the code of release "${m.release}" defines scenario "${m.actual}", not "${m.expected}"`,
  },
  ARTIFACT_CORRUPT: {
    code: Code.DataLoss,
    message: (m: { expected: string; actual: string }) => `artifact ${m.expected} came with digest ${m.actual}`,
  },
  ARTIFACT_TOO_LARGE: {
    code: Code.ResourceExhausted,
    message: (m: { digest: string; limitBytes: number }) => `artifact ${m.digest} is larger than ${m.limitBytes} bytes`,
  },
  BUNDLE_INVALID: {
    code: Code.InvalidArgument,
    message: (m: { faults: string }) => `the scenario's code cannot be packed or unpacked: ${m.faults}`,
  },
});
