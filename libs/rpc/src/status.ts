import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema, anyPack, anyUnpack, DurationSchema } from "@bufbuild/protobuf/wkt";
import { rpcDetails, rpcStatus } from "@weft/contracts";
import { codeFromNumber, codeName, WeftError } from "@weft/errors";

/** Metadata key of serialized error details. */
export const detailsKey = "grpc-status-details-bin";
/** Metadata key that tells a client how long to wait before it retries; -1 forbids a retry. */
export const pushbackKey = "grpc-retry-pushback-ms";

/** The details of an error as `google.protobuf.Any` messages: ErrorInfo, and RetryInfo or BadRequest where they apply. */
export function errorDetails(error: WeftError) {
  const { reason, domain, metadata } = error;
  const details = [
    anyPack(
      rpcDetails.ErrorInfoSchema,
      create(rpcDetails.ErrorInfoSchema, { reason, domain, metadata: { ...metadata } }),
    ),
  ];
  if (error.retryAfterMs !== undefined) {
    const ms = Math.max(0, Math.ceil(error.retryAfterMs));
    const retryDelay = create(DurationSchema, {
      seconds: BigInt(Math.floor(ms / 1000)),
      nanos: (ms % 1000) * 1_000_000,
    });
    details.push(anyPack(rpcDetails.RetryInfoSchema, create(rpcDetails.RetryInfoSchema, { retryDelay })));
  }
  if (error.violations.length > 0) {
    const fieldViolations = error.violations.map(({ field, description }) => ({ field, description }));
    details.push(anyPack(rpcDetails.BadRequestSchema, create(rpcDetails.BadRequestSchema, { fieldViolations })));
  }
  return details;
}

/** A google.rpc.Status of an error, serialized for `grpc-status-details-bin`. */
export function encodeStatus(error: WeftError): Uint8Array {
  const status = { code: error.code, message: error.message, details: errorDetails(error) };
  return toBinary(rpcStatus.StatusSchema, create(rpcStatus.StatusSchema, status));
}

/** The error that a peer sent; without details the reason is the code's name and the domain "grpc". */
export function decodeStatus(
  code: number,
  message: string,
  details: Uint8Array | undefined,
  cause?: unknown,
): WeftError {
  const known = codeFromNumber(code);
  let reason = codeName(known);
  let domain = "grpc";
  let metadata: Record<string, string> = {};
  let retryAfterMs: number | undefined;
  let violations: { field: string; description: string }[] = [];
  try {
    const status = details === undefined ? undefined : fromBinary(rpcStatus.StatusSchema, details);
    for (const detail of status?.details ?? []) {
      const any = create(AnySchema, detail);
      const info = anyUnpack(any, rpcDetails.ErrorInfoSchema);
      if (info !== undefined) ({ reason, domain, metadata } = info);
      const retry = anyUnpack(any, rpcDetails.RetryInfoSchema)?.retryDelay;
      if (retry !== undefined) retryAfterMs = Number(retry.seconds) * 1000 + Math.ceil(retry.nanos / 1_000_000);
      const request = anyUnpack(any, rpcDetails.BadRequestSchema);
      if (request !== undefined)
        violations = request.fieldViolations.map(({ field, description }) => ({ field, description }));
    }
  } catch {
    // Details that cannot be read add nothing: the code and the message still stand.
  }
  return new WeftError({ code: known, reason, domain, message, metadata, retryAfterMs, violations, cause });
}
