import { noTrace, type TraceContext } from "@weft/telemetry";

/** Text metadata of a request by lower-case key. */
export type Metadata = Readonly<Record<string, string>>;

/** What every request carries, whichever way it came: metadata on the wire, plain fields in memory. */
export interface RequestIdentity {
  /** Names the request in every answer, log and trace. */
  readonly requestId: string;
  /** Empty when the caller named none. */
  readonly tenant: string;
  /** Greater is more important; default 0. */
  readonly priority: number;
  /** Release that the request is pinned to; empty when none. */
  readonly release: string;
  /** Experiment arm; empty when none. */
  readonly arm: string;
}

/** Why a call ended early. */
export type CancelReason = "cancelled" | "deadline";

/** What a handler knows of the call that it answers. */
export interface CallContext extends RequestIdentity {
  /** Epoch milliseconds by which the answer must have left; Infinity when the caller set none. */
  readonly deadlineMs: number;
  /** Aborts when the caller cancels or the deadline passes. */
  readonly signal: AbortSignal;
  /** Everything the caller sent besides the identity. */
  readonly metadata: Metadata;
  readonly trace: TraceContext;
  /** Why the call has ended early, if it has. */
  readonly cancelled: CancelReason | undefined;
  /** Milliseconds until the deadline; negative when it has passed. */
  remainingMs(): number;
  /** Runs `listener` once when the call ends early (at once if it has); answers how to stop listening. Cheaper than `signal`. */
  onCancel(listener: (reason: CancelReason) => void): () => void;
}

/** What a context is made from. */
export interface CallContextInit extends Partial<RequestIdentity> {
  readonly deadlineMs?: number;
  readonly metadata?: Metadata;
  readonly trace?: TraceContext;
}

const noMetadata: Metadata = Object.freeze({});
const unsubscribed = () => {};

/** The context of one call. Its signal, listeners and metadata cost nothing until they are used. */
export class CallScope implements CallContext {
  readonly requestId: string;
  readonly tenant: string;
  readonly priority: number;
  readonly release: string;
  readonly arm: string;
  readonly deadlineMs: number;
  trace: TraceContext;
  cancelled: CancelReason | undefined = undefined;
  /** What the answer begins with: set by a handler, or come from the peer. */
  initialMetadata: Metadata | undefined = undefined;
  /** What the answer ends with: set by a handler, or come from the peer. */
  trailingMetadata: Metadata | undefined = undefined;
  /**
   * Whether this side's messages go compressed with gzip: a client's requests, a server's answers to a client that takes
   * them so. Undefined for what the transport is set to.
   */
  compresses: boolean | undefined = undefined;
  #metadata: Metadata | (() => Metadata);
  #listeners: ((reason: CancelReason) => void)[] | undefined = undefined;
  #abort: AbortController | undefined = undefined;

  constructor(init: CallContextInit, readMetadata?: () => Metadata) {
    this.requestId = init.requestId ?? "";
    this.tenant = init.tenant ?? "";
    this.priority = init.priority ?? 0;
    this.release = init.release ?? "";
    this.arm = init.arm ?? "";
    this.deadlineMs = init.deadlineMs ?? Number.POSITIVE_INFINITY;
    this.trace = init.trace ?? noTrace;
    this.#metadata = readMetadata ?? init.metadata ?? noMetadata;
  }

  get metadata(): Metadata {
    if (typeof this.#metadata === "function") this.#metadata = this.#metadata();
    return this.#metadata;
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      const abort = new AbortController();
      this.#abort = abort;
      if (this.cancelled !== undefined) abort.abort();
      else this.onCancel(() => abort.abort());
    }
    return this.#abort.signal;
  }

  remainingMs(): number {
    return this.deadlineMs - Date.now();
  }

  onCancel(listener: (reason: CancelReason) => void): () => void {
    if (this.cancelled !== undefined) {
      listener(this.cancelled);
      return unsubscribed;
    }
    const listeners = this.#listeners ?? [];
    this.#listeners = listeners;
    listeners.push(listener);
    return () => {
      const index = listeners.indexOf(listener);
      if (index !== -1) listeners.splice(index, 1);
    };
  }

  /** Ends the call early; the second time does nothing. */
  cancel(reason: CancelReason): void {
    if (this.cancelled !== undefined) return;
    this.cancelled = reason;
    const listeners = this.#listeners;
    this.#listeners = undefined;
    if (listeners !== undefined) for (const listener of [...listeners]) listener(reason);
  }
}
