import { Code, createErrors } from "@weft/errors";

/** Every reason that the online side of the feature service may give. */
export const errors = createErrors("weft.feature", {
  REQUEST_INVALID: { code: Code.InvalidArgument, message: (m: { fault: string }) => m.fault },
  SCENARIO_AMBIGUOUS: {
    code: Code.InvalidArgument,
    message: (m: { scenarios: string; metadata: string }) =>
      `the call names no scenario of those served (${m.scenarios === "" ? "none" : m.scenarios}); name one with the metadata ${m.metadata}`,
  },
  FEATURE_UNKNOWN: {
    code: Code.NotFound,
    message: (m: { feature: string; scenario: string }) => `scenario "${m.scenario}" has no feature "${m.feature}"`,
  },
  FEATURE_SERVICE_UNKNOWN: {
    code: Code.NotFound,
    message: (m: { featureService: string; scenario: string }) =>
      `scenario "${m.scenario}" has no feature service "${m.featureService}"`,
  },
  VIEW_UNKNOWN: {
    code: Code.NotFound,
    message: (m: { view: string; scenario: string }) => `scenario "${m.scenario}" has no view "${m.view}"`,
  },
  SOURCE_UNKNOWN: {
    code: Code.NotFound,
    message: (m: { source: string; scenario: string }) => `scenario "${m.scenario}" has no source "${m.source}"`,
  },
  ENTITY_UNKNOWN: {
    code: Code.InvalidArgument,
    message: (m: { entity: string; scenario: string }) => `scenario "${m.scenario}" has no entity "${m.entity}"`,
  },
  ENTITY_MISSING: {
    code: Code.InvalidArgument,
    message: (m: { entity: string }) => `the features asked for need keys of entity "${m.entity}"`,
  },
  KEY_INVALID: {
    code: Code.InvalidArgument,
    message: (m: { entity: string; fault: string }) => `keys of entity "${m.entity}": ${m.fault}`,
  },
  REQUEST_FEATURE_INVALID: {
    code: Code.InvalidArgument,
    message: (m: { field: string; fault: string }) => `request feature "${m.field}": ${m.fault}`,
  },
  ROWS_TOO_MANY: {
    code: Code.InvalidArgument,
    message: (m: { rows: number; rowsMax: number }) => `${m.rows} rows; at most ${m.rowsMax} a request`,
  },
  FEATURE_NOT_NUMERIC: {
    code: Code.InvalidArgument,
    message: (m: { feature: string }) =>
      `"${m.feature}" is neither a number, a truth value nor a vector, so no matrix can hold it`,
  },
  COLUMN_INVALID: {
    code: Code.InvalidArgument,
    message: (m: { column: string; fault: string }) => `column "${m.column}": ${m.fault}`,
  },
  EVENT_TIME_OUT_OF_RANGE: {
    code: Code.OutOfRange,
    message: (m: { row: number; fault: string }) => `event time of row ${m.row}: ${m.fault}`,
  },
  REPORT_UNKNOWN: {
    code: Code.NotFound,
    message: (m: { scenario: string }) =>
      `no such validation report of scenario "${m.scenario}": its sources expect nothing, or nothing was materialized`,
  },
  ROWS_UNEXPECTED: {
    code: Code.InvalidArgument,
    message: (m: { source: string; violations: number; first: string }) =>
      `source "${m.source}" expects otherwise: ${m.first}${m.violations > 1 ? `, and ${m.violations - 1} more` : ""}; nothing of this request was kept`,
  },
  TRANSFORM_FAILED: {
    code: Code.Internal,
    message: (m: { transform: string }) => `transform "${m.transform}" threw, or answered a value of another type`,
  },
  DEFINITION_INVALID: { code: Code.FailedPrecondition, message: (m: { fault: string }) => m.fault },
  PUSH_QUEUE_FULL: {
    code: Code.ResourceExhausted,
    message: (m: { queueMax: number }) => `${m.queueMax} rows are waiting to be written`,
    retryAfterMs: 50,
  },
  EVENT_LOG_FULL: {
    code: Code.ResourceExhausted,
    message: () => "the event log has no room: its size bound or the disk is full; nothing of this request was kept",
    retryAfterMs: 10_000,
  },
  EVENT_LOG_FAILED: {
    code: Code.Unavailable,
    message: () => "the event log could not be written; nothing of this request was kept",
    retryAfterMs: 1_000,
  },
  APPLY_FAILED: {
    code: Code.Unavailable,
    message: () => "the rows are durable, and will be visible once the online store can be written again",
    retryAfterMs: 1_000,
  },
  STORE_UNAVAILABLE: {
    code: Code.Unavailable,
    message: () =>
      "the online store could not be read, and no ladder of the views asked for has anything that stands in",
    retryAfterMs: 100,
  },
  STATE_CORRUPT: {
    code: Code.DataLoss,
    message: (m: { view: string }) => `a stored value of view "${m.view}" cannot be read`,
  },
  PAGE_TOKEN_INVALID: { code: Code.InvalidArgument, message: () => "the page token is not one that this service gave" },
});
