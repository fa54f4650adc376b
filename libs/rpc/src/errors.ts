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
