import type { DescMethod, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { CallContext } from "./context.ts";

type Handler<M extends DescMethod> = M["methodKind"] extends "unary"
  ? (
      request: MessageShape<M["input"]>,
      context: CallContext,
    ) => MessageInitShape<M["output"]> | Promise<MessageInitShape<M["output"]>>
  : M["methodKind"] extends "server_streaming"
    ? (request: MessageShape<M["input"]>, context: CallContext) => AsyncIterable<MessageInitShape<M["output"]>>
    : M["methodKind"] extends "client_streaming"
      ? (
          requests: AsyncIterable<MessageShape<M["input"]>>,
          context: CallContext,
        ) => Promise<MessageInitShape<M["output"]>>
      : (
          requests: AsyncIterable<MessageShape<M["input"]>>,
          context: CallContext,
        ) => AsyncIterable<MessageInitShape<M["output"]>>;

/** The handlers of a service: plain functions, which cannot tell how they are reached. */
export type Handlers<S extends DescService> = { readonly [K in keyof S["method"]]: Handler<S["method"][K]> };

/** What a caller can set on a call. */
export interface CallOptions {
  /** The call being answered: its deadline, cancellation, trace and identity go on. */
  readonly parent?: CallContext | undefined;
  /** Greatest time for the call; the parent's deadline wins when it is earlier. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly requestId?: string | undefined;
  readonly tenant?: string | undefined;
  readonly priority?: number | undefined;
  readonly release?: string | undefined;
  readonly arm?: string | undefined;
  /** Whether requests go compressed with gzip; default what the transport is set to. In memory nothing is compressed. */
  readonly compress?: boolean | undefined;
}

type Caller<M extends DescMethod> = M["methodKind"] extends "unary"
  ? (request: MessageInitShape<M["input"]>, options?: CallOptions) => Promise<MessageShape<M["output"]>>
  : M["methodKind"] extends "server_streaming"
    ? (request: MessageInitShape<M["input"]>, options?: CallOptions) => AsyncIterable<MessageShape<M["output"]>>
    : M["methodKind"] extends "client_streaming"
      ? (
          requests: AsyncIterable<MessageInitShape<M["input"]>>,
          options?: CallOptions,
        ) => Promise<MessageShape<M["output"]>>
      : (
          requests: AsyncIterable<MessageInitShape<M["input"]>>,
          options?: CallOptions,
        ) => AsyncIterable<MessageShape<M["output"]>>;

/** A client of a service: a function a method. Failures reject with a WeftError. */
export type Client<S extends DescService> = { readonly [K in keyof S["method"]]: Caller<S["method"][K]> };
