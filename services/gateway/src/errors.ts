import { Code, createErrors } from "@weft/errors";

/** The reasons that the gateway may raise. What fails behind it is answered for by a fallback, never raised. */
export const errors = createErrors("weft.gateway", {
  INVALID_REQUEST: {
    code: Code.InvalidArgument,
    message: (m: { scenario: string; faults: string }) =>
      `the request for scenario "${m.scenario}" is invalid: ${m.faults}`,
  },
  SCENARIO_MISSING: {
    code: Code.InvalidArgument,
    message: (_: Record<never, never>) => "the request names no scenario",
  },
  WRONG_PIPELINE: {
    code: Code.InvalidArgument,
    message: (m: { scenario: string; method: string; answers: string }) =>
      `scenario "${m.scenario}" answers ${m.answers}, not ${m.method}`,
  },
  DEADLINE_PASSED: {
    code: Code.DeadlineExceeded,
    message: (m: { method: string }) => `the deadline had passed when ${m.method} arrived`,
  },
  OVERLOADED: {
    code: Code.ResourceExhausted,
    message: (m: { inflightMax: number }) => `${m.inflightMax} requests are under way already`,
    retryAfterMs: 50,
  },
  CANCELLED: { code: Code.Cancelled, message: (m: { method: string }) => `${m.method}: the caller has gone` },
  EVENT_MISSING: {
    code: Code.InvalidArgument,
    message: (_: Record<never, never>) => "the stream's message carries no request",
  },
  EVENT_ID_TOO_LONG: {
    code: Code.InvalidArgument,
    message: (m: { bytesMax: number }) => `the event's id is longer than ${m.bytesMax} bytes`,
  },
  FALLBACK_FAILED: {
    code: Code.Internal,
    message: (m: { scenario: string; fallback: string }) =>
      `the fallback "${m.fallback}" of scenario "${m.scenario}" could not answer; the log has the cause`,
  },
  WARM_UP_FAILED: {
    code: Code.Unavailable,
    message: (m: { release: string; stage: string; reason: string }) =>
      `release "${m.release}" did not answer its examples: ${m.stage} failed with ${m.reason}`,
  },
  MODEL_NOT_IN_RELEASE: {
    code: Code.FailedPrecondition,
    message: (m: { release: string; model: string }) => `release "${m.release}" has no version of model "${m.model}"`,
  },
});
