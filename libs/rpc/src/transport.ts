import type { Message } from "@bufbuild/protobuf";
import type { Http2Meter, Http2Options } from "@weft/http2";
import type { Call, Payload } from "./interceptor.ts";
import type { MethodInfo } from "./method.ts";
import type { TlsSource } from "./tls/tls-source.ts";
import type { ChannelSettings } from "./weft/channel.ts";
import type { CompressionOptions } from "./weft/compression.ts";
import type { MessageMeter } from "./weft/connection-meter.ts";

/**
 * Carries calls to one peer. `call.context` is the caller's side of the call: its identity, deadline and metadata go to
 * the peer; cancelling it ends the call there. A transport enforces the deadline: it never answers later.
 */
export interface Transport {
  invoke(call: Call): Promise<Payload>;
  close(): void | Promise<void>;
}

/** A handler as transports see it: interceptors included, messages whole. */
export type Invoke = (call: Call) => Promise<Payload>;

/** What a server can be asked to answer. */
export interface Router {
  /** The handler of a path, or undefined where it is not served. */
  find(path: string): { readonly method: MethodInfo; readonly invoke: Invoke } | undefined;
  /** Every served method. */
  methods(): readonly MethodInfo[];
}

/** Settings of a listener. */
export interface ListenOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** Greatest size of a request message. */
  readonly messageBytesMax: number;
  /** Greatest number of calls at once on one connection. */
  readonly concurrentStreamsMax: number;
  /** Certificates where it speaks TLS. */
  readonly tls?: TlsSource;
  /** Whether clients must show a certificate of an authority of `tls`; default false. */
  readonly clientCertificates?: boolean;
  /** A client's TLS handshake failed, and why. */
  readonly handshakeFailed?: (error: Error) => void;
  /** Limits and times of connections. A transport goes by those that it has. */
  readonly http2?: Partial<Http2Options>;
  /** What its connections count with. */
  readonly meter?: Http2Meter;
  /** What its calls count messages with. */
  readonly messages?: MessageMeter;
  /** Set where answers go compressed with gzip to clients that take them so, unless a handler says otherwise. */
  readonly compression?: CompressionOptions;
}

/** A listener that takes calls. */
export interface Listener {
  readonly port: number;
  /** Takes no new calls, waits for those in flight up to `graceMs`, then ends them. */
  drain(graceMs: number): Promise<void>;
}

/** Settings of a client; all but the first have defaults. A transport goes by those that it has. */
export interface ConnectOptions extends Partial<ChannelSettings> {
  /** Greatest size of an answer's message. */
  readonly messageBytesMax: number;
  /** Set where the peer speaks TLS: whom to trust, and the certificate to show where it wants one. */
  readonly tls?: TlsSource;
  /** Name that the peer's certificate must have; default the host of the target. */
  readonly serverName?: string;
  /** Calls wait while the peer cannot be reached, until their deadline, rather than fail with UNAVAILABLE. */
  readonly waitForReady?: boolean;
  /** Set where requests go compressed with gzip, unless a call says otherwise. */
  readonly compression?: CompressionOptions;
}

/** One way onto the wire: its server and its clients. */
export interface WireTransport {
  listen(router: Router, options: ListenOptions): Promise<Listener>;
  /** Throws TypeError where the target is none, or asks for what this transport cannot do. */
  connect(target: string, options: ConnectOptions): Transport;
}

/** Narrows a payload to a single message; streams are a programming error of the transport. */
export function singleMessage(payload: Payload): Message {
  if (Symbol.asyncIterator in payload) throw new TypeError("a single message was expected, not a stream");
  return payload;
}
