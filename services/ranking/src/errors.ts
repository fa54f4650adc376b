import { Code, createErrors } from "@weft/errors";

/** Every reason that ranking may raise. */
export const errors = createErrors("weft.ranking", {
  MODEL_NOT_FOUND: {
    code: Code.NotFound,
    message: (m: { model: string; release: string }) =>
      m.release === ""
        ? `no champion release has a model "${m.model}"`
        : `release "${m.release}" has no model "${m.model}"`,
  },
  MODEL_VERSION_NOT_FOUND: {
    code: Code.NotFound,
    message: (m: { model: string; version: string }) => `no loaded release has version "${m.version}" of "${m.model}"`,
  },
  MODEL_AMBIGUOUS: {
    code: Code.InvalidArgument,
    message: (m: { model: string; scenarios: string }) =>
      `"${m.model}" is in several scenarios (${m.scenarios}): name it "<scenario>/${m.model}", or send a release`,
  },
  RELEASE_NOT_LOADED: {
    code: Code.Unavailable,
    message: (m: { release: string }) => `release "${m.release}" is not loaded here`,
    retryAfterMs: 500,
  },
  TENSOR_UNKNOWN: {
    code: Code.InvalidArgument,
    message: (m: { model: string; tensor: string; known: string }) =>
      `model "${m.model}" has no tensor "${m.tensor}"; it has ${m.known}`,
  },
  TENSOR_REPEATED: {
    code: Code.InvalidArgument,
    message: (m: { tensor: string }) => `tensor "${m.tensor}" is sent more than once`,
  },
  TENSOR_MISSING: {
    code: Code.InvalidArgument,
    message: (m: { model: string; tensor: string }) => `model "${m.model}" needs the input tensor "${m.tensor}"`,
  },
  TENSOR_DATATYPE: {
    code: Code.InvalidArgument,
    message: (m: { tensor: string; expected: string; actual: string }) =>
      `tensor "${m.tensor}" is ${m.expected}, not ${m.actual}`,
  },
  TENSOR_SHAPE: {
    code: Code.InvalidArgument,
    message: (m: { tensor: string; expected: string; actual: string }) =>
      `tensor "${m.tensor}" has shape ${m.expected}, not ${m.actual}`,
  },
  TENSOR_CONTENTS: {
    code: Code.InvalidArgument,
    message: (m: { tensor: string; problem: string }) => `contents of tensor "${m.tensor}": ${m.problem}`,
  },
  VALUE_REFUSED: {
    code: Code.InvalidArgument,
    message: (m: { tensor: string; row: number; column: number; value: string }) =>
      `tensor "${m.tensor}" holds ${m.value} in row ${m.row}, column ${m.column}`,
  },
  REQUEST_TOO_LARGE: {
    code: Code.InvalidArgument,
    message: (m: { rows: number; rowsMax: number }) => `a request has at most ${m.rowsMax} rows, not ${m.rows}`,
  },
  QUEUE_FULL: {
    code: Code.ResourceExhausted,
    message: (m: { rowsMax: number }) => `the queue holds its ${m.rowsMax} rows`,
    retryAfterMs: 50,
  },
  DEADLINE_PASSED: {
    code: Code.DeadlineExceeded,
    message: () => "the deadline passed in the queue; the model was not run",
  },
  REQUEST_CANCELLED: {
    code: Code.Cancelled,
    message: () => "the caller cancelled; the model was not run",
  },
  MODEL_FAILED: {
    code: Code.Internal,
    message: (m: { model: string; version: string; problem: string }) =>
      `model "${m.model}" version ${m.version} failed: ${m.problem}`,
  },
  MODEL_REFUSED: {
    code: Code.FailedPrecondition,
    message: (m: { model: string; version: string; problem: string }) =>
      `model "${m.model}" version ${m.version} cannot be served: ${m.problem}`,
  },
  SHUTTING_DOWN: {
    code: Code.Unavailable,
    message: () => "the service is shutting down",
    retryAfterMs: 100,
  },
});
