import type { CallContext, CallOptions } from "@weft/rpc";

/** On whose behalf peers are called. */
export interface PeerScope {
  /** The call being answered; undefined for work in the background and for calls made for many requests. */
  readonly parent: CallContext | undefined;
  readonly release: string;
  readonly requestId: string;
  /** A request's own go on by themselves; these are for calls without one. */
  readonly priority?: number;
  readonly tenant?: string;
  readonly arm?: string;
}

/** Options of a call within a scope. */
export function callOptions(
  { parent, release, requestId, priority, tenant, arm }: PeerScope,
  timeoutMs: number,
): CallOptions {
  return { parent, timeoutMs, release, requestId, priority, tenant, arm };
}
