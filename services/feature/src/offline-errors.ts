import { Code, createErrors } from "@weft/errors";

/** The reasons of the offline half: sources, materialization and training sets. */
export const offlineReasons = {
  SOURCE_FILE_MISSING: {
    code: Code.FailedPrecondition,
    message: (m: { source: string; file: string }) => `source "${m.source}": there is no file ${m.file}`,
  },
  SOURCE_FILE_INVALID: {
    code: Code.FailedPrecondition,
    message: (m: { source: string; file: string; fault: string }) => `source "${m.source}": ${m.file}: ${m.fault}`,
  },
  SOURCE_COLUMN_MISSING: {
    code: Code.FailedPrecondition,
    message: (m: { source: string; file: string; columns: string; present: string }) =>
      `source "${m.source}": ${m.file} has no column ${m.columns}; it has ${m.present}`,
  },
  SOURCE_COLUMN_TYPE: {
    code: Code.FailedPrecondition,
    message: (m: { source: string; file: string; column: string; declared: string; found: string }) =>
      `source "${m.source}": ${m.file}: column "${m.column}" is declared ${m.declared} and holds ${m.found}`,
  },
  SOURCE_ROW_INVALID: {
    code: Code.FailedPrecondition,
    message: (m: { source: string; file: string; line: number; column: string; fault: string }) =>
      `source "${m.source}": ${m.file}${m.line > 0 ? `:${m.line}` : ""}${m.column === "" ? "" : `, column "${m.column}"`}: ${m.fault}`,
  },
  TOPIC_UNREADABLE: {
    code: Code.Unavailable,
    message: (m: { source: string; topic: string }) =>
      `source "${m.source}": topic "${m.topic}" could not be read to its end`,
    retryAfterMs: 1_000,
  },
  TRAINING_SET_UNKNOWN: {
    code: Code.NotFound,
    message: (m: { trainingSet: string; scenario: string }) =>
      `no model of scenario "${m.scenario}" uses a training set "${m.trainingSet}"`,
  },
  TRAINING_SET_INVALID: {
    code: Code.FailedPrecondition,
    message: (m: { trainingSet: string; fault: string }) => `training set "${m.trainingSet}": ${m.fault}`,
  },
  TRAINING_SET_RANGE: {
    code: Code.InvalidArgument,
    message: (m: { startUs: number; endUs: number }) =>
      `the end ${m.endUs} us must come after the start ${m.startUs} us`,
  },
  EXPECTATION_NOT_MET: {
    code: Code.FailedPrecondition,
    message: (m: { source: string; expectation: string; observed: string; others: number }) =>
      `source "${m.source}": expected ${m.expectation}; ${m.observed}${m.others > 0 ? `; ${m.others} more expectations are not met` : ""}; readers keep what they have`,
  },
  OFFLINE_JOBS_FULL: {
    code: Code.ResourceExhausted,
    message: (m: { jobsMax: number }) => `${m.jobsMax} jobs of the offline store are waiting already`,
    retryAfterMs: 1_000,
  },
  OFFLINE_STORE_FULL: {
    code: Code.ResourceExhausted,
    message: (m: { fault: string }) => `no room is left for the offline store: ${m.fault}`,
  },
  OFFLINE_QUERY_FAILED: {
    code: Code.Internal,
    message: (m: { statement: string }) => `the offline store could not run its statement ${m.statement}`,
  },
};

/** Errors of the offline half, in the service's own domain. */
export const offlineErrors = createErrors("weft.feature", offlineReasons);
