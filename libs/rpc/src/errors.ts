import { Code, createErrors, isWeftError, type WeftError } from "@weft/errors";

/** The errors that the call layer itself may raise. */
export const errors = createErrors("weft.rpc", {
  DEADLINE_EXCEEDED: {
    code: Code.DeadlineExceeded,
    message: (m: { method: string }) => `${m.method}: deadline exceeded`,
  },
  CANCELLED: { code: Code.Cancelled, message: (m: { method: string }) => `${m.method}: cancelled by the caller` },
  METHOD_UNIMPLEMENTED: {
    code: Code.Unimplemented,
    message: (m: { method: string }) => `${m.method} is not served here`,
  },
  SERVICE_UNAVAILABLE: {
    code: Code.Unavailable,
    message: (m: { method: string }) => `${m.method}: the service does not take calls`,
    retryAfterMs: 100,
  },
  MALFORMED_MESSAGE: {
    code: Code.InvalidArgument,
    message: (m: { type: string }) => `the request is not a valid ${m.type}`,
  },
  MESSAGE_TOO_LARGE: {
    code: Code.ResourceExhausted,
    message: (m: { sizeBytes: number; maxBytes: number }) =>
      `a message of ${m.sizeBytes} bytes or more, where ${m.maxBytes} is the most`,
  },
  FRAMING_MALFORMED: { code: Code.Internal, message: (m: { why: string }) => `not the framing of gRPC: ${m.why}` },
  ENCODING_UNKNOWN: {
    code: Code.Unimplemented,
    message: (m: { encoding: string }) => `messages compressed with "${m.encoding}" are not taken`,
  },
  TIMEOUT_MALFORMED: {
    code: Code.Internal,
    message: (m: { timeout: string }) => `"${m.timeout}" is not a grpc-timeout`,
  },
  CARDINALITY: {
    code: Code.Unimplemented,
    message: (m: { method: string; messages: number }) => `${m.method}: ${m.messages} messages where one was expected`,
  },
  METADATA_INVALID: {
    code: Code.InvalidArgument,
    message: (m: { key: string }) => `"${m.key}" cannot be sent as metadata, or its value cannot`,
  },
  METADATA_MALFORMED: {
    code: Code.Internal,
    message: (m: { key: string }) => `the value of "${m.key}" is not base64`,
  },
  PEER_UNREACHABLE: {
    code: Code.Unavailable,
    message: (m: { target: string; why: string }) => `${m.target} cannot be reached: ${m.why}`,
    retryAfterMs: 100,
  },
  CONNECTION_LOST: {
    code: Code.Unavailable,
    message: (m: { method: string }) => `${m.method}: the connection was lost`,
  },
  CALLS_WAITING: {
    code: Code.ResourceExhausted,
    message: (m: { target: string }) => `too many calls wait for a connection to ${m.target}`,
    retryAfterMs: 100,
  },
  DECOMPRESSIONS_WAITING: {
    code: Code.ResourceExhausted,
    message: (m: { waitingMax: number }) => `${m.waitingMax} compressed messages wait to be read`,
    retryAfterMs: 100,
  },
  INTERNAL: { code: Code.Internal, message: (m: { method: string }) => `${m.method} failed; the log has the cause` },
});

/** The error of a call that ended early. */
export function cancelError(reason: "cancelled" | "deadline", method: string): WeftError {
  return reason === "deadline" ? errors.DEADLINE_EXCEEDED({ method }) : errors.CANCELLED({ method });
}

/** Any thrown value as a WeftError; what is none becomes INTERNAL with the value as its cause. */
export function toWeftError(thrown: unknown, method: string): WeftError {
  return isWeftError(thrown) ? thrown : errors.INTERNAL({ method }, { cause: thrown });
}
