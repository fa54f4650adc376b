import type { TraceContext } from "@weft/telemetry";
import { formatTraceparent } from "@weft/telemetry";
import type { Metadata, RequestIdentity } from "./context.ts";

/** Metadata keys of what every request carries. */
export const identityKeys = {
  requestId: "x-weft-request-id",
  tenant: "x-weft-tenant",
  priority: "x-weft-priority",
  release: "x-weft-release",
  arm: "x-weft-arm",
  trace: "traceparent",
} as const;

/** Longest value taken of a text in the identity; longer ones are cut. */
const textMax = 128;

/** Reads the identity of a request from its metadata. */
export function readIdentity(get: (key: string) => string | undefined): RequestIdentity {
  const priority = Number(get(identityKeys.priority) ?? 0);
  return {
    requestId: get(identityKeys.requestId)?.slice(0, textMax) ?? "",
    tenant: get(identityKeys.tenant)?.slice(0, textMax) ?? "",
    priority: Number.isInteger(priority) && Math.abs(priority) <= 100 ? priority : 0,
    release: get(identityKeys.release)?.slice(0, textMax) ?? "",
    arm: get(identityKeys.arm)?.slice(0, textMax) ?? "",
  };
}

/** Writes the identity of a request as metadata, leaving out what is empty. */
export function writeIdentity(
  identity: RequestIdentity,
  trace: TraceContext,
  metadata: Metadata,
  set: (key: string, value: string) => void,
): void {
  for (const key in metadata) set(key, metadata[key] ?? "");
  if (identity.requestId !== "") set(identityKeys.requestId, identity.requestId);
  if (identity.tenant !== "") set(identityKeys.tenant, identity.tenant);
  if (identity.priority !== 0) set(identityKeys.priority, String(identity.priority));
  if (identity.release !== "") set(identityKeys.release, identity.release);
  if (identity.arm !== "") set(identityKeys.arm, identity.arm);
  const traceparent = formatTraceparent(trace);
  if (traceparent !== undefined) set(identityKeys.trace, traceparent);
}

/** The value that a call has for a metadata key, its identity included. */
export function metadataValue(identity: RequestIdentity, metadata: Metadata, key: string): string | undefined {
  const text = (value: string) => (value === "" ? undefined : value);
  switch (key) {
    case identityKeys.requestId:
      return text(identity.requestId);
    case identityKeys.tenant:
      return text(identity.tenant);
    case identityKeys.release:
      return text(identity.release);
    case identityKeys.arm:
      return text(identity.arm);
    default:
      return metadata[key];
  }
}
