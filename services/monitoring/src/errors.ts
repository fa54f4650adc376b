import { Code, createErrors } from "@weft/errors";

/** Every reason for which monitoring refuses or fails. */
export const errors = createErrors("weft.monitoring", {
  REQUEST_INVALID: {
    code: Code.InvalidArgument,
    message: (m: { fault: string }) => m.fault,
  },
  BATCH_TOO_LARGE: {
    code: Code.InvalidArgument,
    message: (m: { count: number; max: number }) => `${m.count} in one request; at most ${m.max}`,
  },
  PAGE_TOKEN_INVALID: {
    code: Code.InvalidArgument,
    message: () => "the page token is not one that this service gave",
  },
  WINDOW_TOO_LONG: {
    code: Code.InvalidArgument,
    message: (m: { maxHours: number }) => `the window is longer than the ${m.maxHours} hours that are kept`,
  },
  SCENARIO_UNKNOWN: {
    code: Code.NotFound,
    message: (m: { scenario: string }) => `no release of scenario "${m.scenario}"`,
  },
  RELEASE_UNKNOWN: {
    code: Code.NotFound,
    message: (m: { scenario: string; release: string }) => `scenario "${m.scenario}" has no release "${m.release}"`,
  },
  NO_PREDICTIONS: {
    code: Code.FailedPrecondition,
    message: (m: { scenario: string; release: string }) =>
      `no predictions of scenario "${m.scenario}"${m.release === "" ? "" : `, release "${m.release}"`} in the log`,
  },
  REFERENCE_MISSING: {
    code: Code.FailedPrecondition,
    message: (m: { release: string }) => `no model of release "${m.release}" was registered with a reference`,
  },
  REFERENCE_INVALID: {
    code: Code.FailedPrecondition,
    message: (m: { release: string; model: string; fault: string }) =>
      `the reference of model "${m.model}" in release "${m.release}" cannot be used: ${m.fault}`,
  },
  REFERENCE_CORRUPT: {
    code: Code.DataLoss,
    message: (m: { digest: string }) => `the bytes of reference ${m.digest} do not have this digest`,
  },
  REFERENCE_TOO_LARGE: {
    code: Code.FailedPrecondition,
    message: (m: { digest: string; limitBytes: number }) =>
      `reference ${m.digest} is larger than ${m.limitBytes} bytes`,
  },
  REGISTRY_UNAVAILABLE: {
    code: Code.Unavailable,
    message: (m: { what: string }) => `the registry cannot be asked for ${m.what}`,
    retryAfterMs: 1_000,
  },
  DISK_FULL: {
    code: Code.ResourceExhausted,
    message: (m: { store: string }) => `no space is left for the ${m.store}; nothing of the request was stored`,
  },
  LAYOUTS_FULL: {
    code: Code.ResourceExhausted,
    message: (m: { store: string }) => `the ${m.store} holds too many combinations of release and models`,
  },
  QUEUE_FULL: {
    code: Code.ResourceExhausted,
    message: (m: { store: string }) => `too much waits for the ${m.store}`,
    retryAfterMs: 100,
  },
  LOG_UNAVAILABLE: {
    code: Code.Unavailable,
    message: (m: { store: string }) => `the ${m.store} is not open`,
    retryAfterMs: 1_000,
  },
  LOG_NOT_OPENED: {
    code: Code.FailedPrecondition,
    message: (m: { fault: string }) => m.fault,
  },
  LOG_FAILED: {
    code: Code.Internal,
    message: (m: { store: string }) => `the ${m.store} failed`,
  },
});
