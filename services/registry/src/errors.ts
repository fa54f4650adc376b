import { Code, createErrors } from "@weft/errors";

/** Every reason for which the registry refuses or fails. */
export const errors = createErrors("weft.registry", {
  REQUEST_INVALID: {
    code: Code.InvalidArgument,
    message: (m: { fault: string }) => m.fault,
  },
  PAGE_TOKEN_INVALID: {
    code: Code.InvalidArgument,
    message: (_: { list: string }) => "the page token is not one that this list answered with these filters",
  },
  REQUEST_ID_REUSED: {
    code: Code.InvalidArgument,
    message: (m: { requestId: string }) => `request id "${m.requestId}" was used for another move`,
  },
  DIGEST_MISMATCH: {
    code: Code.InvalidArgument,
    message: (m: { expected: string; actual: string }) =>
      `the bytes have digest ${m.actual}, not ${m.expected}; nothing was stored`,
  },
  ARTIFACT_TOO_LARGE: {
    code: Code.InvalidArgument,
    message: (m: { limitBytes: number }) => `the artifact is larger than ${m.limitBytes} bytes; nothing was stored`,
  },
  ARTIFACT_NOT_FOUND: {
    code: Code.NotFound,
    message: (m: { digest: string }) => `no artifact ${m.digest}`,
  },
  ARTIFACT_MISSING: {
    code: Code.FailedPrecondition,
    message: (m: { field: string; digest: string }) => `${m.field}: no artifact ${m.digest}; put it first`,
  },
  ARTIFACT_CORRUPT: {
    code: Code.DataLoss,
    message: (m: { digest: string }) =>
      `the stored bytes of artifact ${m.digest} no longer have this digest; put it again`,
  },
  ONNX_INVALID: {
    code: Code.InvalidArgument,
    message: (m: { digest: string; fault: string }) => `artifact ${m.digest} is not an ONNX model: ${m.fault}`,
  },
  ONNX_TOO_LARGE: {
    code: Code.InvalidArgument,
    message: (m: { digest: string; limitBytes: number }) =>
      `model artifact ${m.digest} is larger than ${m.limitBytes} bytes`,
  },
  ONNX_TOO_MANY_NODES: {
    code: Code.InvalidArgument,
    message: (m: { digest: string; limit: number }) => `model artifact ${m.digest} has more than ${m.limit} nodes`,
  },
  ONNX_EXTERNAL_DATA: {
    code: Code.InvalidArgument,
    message: (m: { digest: string; tensor: string }) =>
      `model artifact ${m.digest} keeps tensor "${m.tensor}" outside the file; a model must be one file`,
  },
  ONNX_DOMAIN_UNKNOWN: {
    code: Code.InvalidArgument,
    message: (m: { digest: string; domain: string; operator: string }) =>
      `model artifact ${m.digest} uses operator "${m.operator}" of the unknown domain "${m.domain}"`,
  },
  SIGNATURE_MISMATCH: {
    code: Code.InvalidArgument,
    message: (m: { model: string; faults: string }) => `signature of model "${m.model}": ${m.faults}`,
  },
  MODEL_NOT_FOUND: {
    code: Code.NotFound,
    message: (m: { scenario: string; model: string; version: string }) =>
      `no model "${m.model}"${m.version === "" ? "" : ` version "${m.version}"`} in scenario "${m.scenario}"`,
  },
  FEATURE_VIEW_NOT_FOUND: {
    code: Code.NotFound,
    message: (m: { scenario: string; view: string; version: string }) =>
      `no feature view "${m.view}"${m.version === "" ? "" : ` version "${m.version}"`} in scenario "${m.scenario}"`,
  },
  LINEAGE_UNKNOWN: {
    code: Code.NotFound,
    message: (m: { scenario: string; part: string }) => `no ${m.part} in the lineage of scenario "${m.scenario}"`,
  },
  RELEASE_NOT_FOUND: {
    code: Code.NotFound,
    message: (m: { release: string }) => `no release "${m.release}"`,
  },
  RELEASE_ID_TAKEN: {
    code: Code.Internal,
    message: (m: { release: string }) => `release id "${m.release}" belongs to other parts`,
  },
  RELEASE_OF_OTHER_SCENARIO: {
    code: Code.InvalidArgument,
    message: (m: { release: string; scenario: string }) => `release "${m.release}" is not of scenario "${m.scenario}"`,
  },
  LABEL_MOVED: {
    code: Code.Aborted,
    message: (m: { scenario: string; label: string; expected: string; actual: string }) =>
      `label "${m.label}" of scenario "${m.scenario}" points at "${m.actual}", not at "${m.expected}"`,
  },
  SCENARIOS_FULL: {
    code: Code.ResourceExhausted,
    message: (m: { limit: number }) => `${m.limit} scenarios have labels; remove the labels of one first`,
  },
  UPLOADS_FULL: {
    code: Code.ResourceExhausted,
    message: (m: { limit: number }) => `${m.limit} uploads are running`,
    retryAfterMs: 200,
  },
  DOWNLOADS_FULL: {
    code: Code.ResourceExhausted,
    message: (m: { limit: number }) => `${m.limit} downloads are running`,
    retryAfterMs: 200,
  },
  REGISTRATIONS_FULL: {
    code: Code.ResourceExhausted,
    message: (m: { limit: number }) => `${m.limit} models are being checked`,
    retryAfterMs: 200,
  },
  WATCHERS_FULL: {
    code: Code.ResourceExhausted,
    message: (m: { limit: number }) => `${m.limit} callers are watching`,
    retryAfterMs: 1_000,
  },
  DISK_FULL: {
    code: Code.ResourceExhausted,
    message: (m: { store: string }) => `no space is left for the ${m.store}; nothing was stored`,
  },
  STORE_IN_USE: {
    code: Code.FailedPrecondition,
    message: (m: { path: string }) => `another registry has ${m.path} open; end it, or use another data directory`,
  },
  STORE_TOO_NEW: {
    code: Code.FailedPrecondition,
    message: (m: { path: string; schema: number }) => `${m.path} has schema ${m.schema}, made by a newer registry`,
  },
  STORE_FAILED: {
    code: Code.Internal,
    message: (m: { store: string }) => `the ${m.store} failed`,
  },
});
