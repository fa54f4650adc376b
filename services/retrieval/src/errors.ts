import { Code, createErrors } from "@weft/errors";

/** Every reason that retrieval may raise. */
export const errors = createErrors("weft.retrieval", {
  INDEX_NOT_FOUND: {
    code: Code.NotFound,
    message: (m: { scenario: string; index: string }) => `scenario "${m.scenario}" has no index "${m.index}"`,
  },
  GENERATION_NOT_FOUND: {
    code: Code.NotFound,
    message: (m: { scenario: string; index: string; generation: number }) =>
      `index "${m.index}" of "${m.scenario}" has no generation ${m.generation} here`,
  },
  GENERATION_CORRUPT: {
    code: Code.DataLoss,
    message: (m: { scenario: string; index: string; generation: number; file: string; problem: string }) =>
      `generation ${m.generation} of index "${m.index}" of "${m.scenario}" is corrupt: ${m.file} ${m.problem}; build it again`,
  },
  RELEASE_NOT_LOADED: {
    code: Code.Unavailable,
    message: (m: { release: string }) => `release "${m.release}" is not loaded here`,
    retryAfterMs: 500,
  },
  REQUEST_INVALID: {
    code: Code.InvalidArgument,
    message: (m: { field: string; problem: string }) => `${m.field}: ${m.problem}`,
  },
  QUERY_DIMENSION: {
    code: Code.InvalidArgument,
    message: (m: { index: string; dimension: number; bytes: number }) =>
      `queries of index "${m.index}" are float32[queries, ${m.dimension}], ${m.dimension * 4} bytes each; ${m.bytes} bytes are not 1 to 256 of them`,
  },
  ATTRIBUTE_UNKNOWN: {
    code: Code.InvalidArgument,
    message: (m: { attribute: string; known: string }) =>
      m.known === ""
        ? `no attribute "${m.attribute}": the index has none`
        : `no attribute "${m.attribute}"; there are ${m.known}`,
  },
  FILTER_INVALID: {
    code: Code.InvalidArgument,
    message: (m: { attribute: string; problem: string }) => `filter on "${m.attribute}": ${m.problem}`,
  },
  BUILD_INVALID: {
    code: Code.InvalidArgument,
    message: (m: { item: number; problem: string }) => (m.item < 0 ? m.problem : `item ${m.item}: ${m.problem}`),
  },
  BUILD_TOO_LARGE: {
    code: Code.ResourceExhausted,
    message: (m: { itemsMax: number; bytesMax: number }) =>
      `a generation has at most ${m.itemsMax} items and ${m.bytesMax} bytes of vectors`,
  },
  BUILD_IN_PROGRESS: {
    code: Code.Aborted,
    message: (m: { index: string }) => `index "${m.index}" is being built`,
    retryAfterMs: 1_000,
  },
  BUILDS_FULL: {
    code: Code.ResourceExhausted,
    message: (m: { buildsMax: number }) => `${m.buildsMax} builds run already`,
    retryAfterMs: 1_000,
  },
  BUILD_FAILED: {
    code: Code.Internal,
    message: (m: { problem: string }) => `the generation could not be built: ${m.problem}`,
  },
  DISK_FULL: {
    code: Code.ResourceExhausted,
    message: () => "no space is left for the generation; the one before it is untouched",
  },
  CANCELLED: { code: Code.Cancelled, message: () => "the caller cancelled" },
  DEADLINE_PASSED: { code: Code.DeadlineExceeded, message: () => "the deadline passed before the search was done" },
});
