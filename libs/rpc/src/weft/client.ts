import type { ConnectionOptions } from "node:tls";
import type { Message } from "@bufbuild/protobuf";
import { Code, type WeftError } from "@weft/errors";
import {
  connectHttp2,
  ErrorCode,
  type Field,
  type HeaderBlock,
  HeaderTemplate,
  type ResetCause,
  type Stream,
  type StreamReceiver,
} from "@weft/http2";
import type { CallScope, CancelReason, Metadata } from "../context.ts";
import { deadlines, type Timed } from "../deadline-wheel.ts";
import { cancelError, errors } from "../errors.ts";
import { connect as connectGrpcJs } from "../grpc-js/client.ts";
import { metadataValue, writeIdentity } from "../identity.ts";
import { type Call, isStream, type Payload } from "../interceptor.ts";
import type { MethodInfo } from "../method.ts";
import { Pipe } from "../pipe.ts";
import { decodeStatus, detailsKey } from "../status.ts";
import { isTlsSource, type TlsSource, tlsOptions } from "../tls/tls-source.ts";
import { type ConnectOptions, singleMessage, type Transport } from "../transport.ts";
import { type CallPeer, Channel, type ChannelOptions, type Waiter } from "./channel.ts";
import { noChannelMetrics } from "./channel-metrics.ts";
import { type Codec, codecOf, keptEncoded, sendMessage } from "./codec.ts";
import { CompressedMessage } from "./compressed-message.ts";
import { type CompressionOptions, compress, type SentMessage } from "./compression.ts";
import type { MessageMeter } from "./connection-meter.ts";
import type { Link } from "./endpoint.ts";
import { KeptMessages } from "./kept-messages.ts";
import { MessageQueue } from "./message-queue.ts";
import { MessageReader, type MessageSink, type RawMessage } from "./message-reader.ts";
import { addMetadata, metadataOf } from "./metadata.ts";
import { decodePercent } from "./percent.ts";
import { lookUpHost } from "./resolver.ts";
import { MessageSender, type SenderOwner } from "./sender.ts";
import { isGrpc } from "./server.ts";
import { formatTimeout } from "./timeout.ts";
import { systemTimers } from "./timers.ts";
import type { Encoded } from "./wire-writer.ts";

/** Settings of a client; all but the first have defaults. */
export interface ClientOptions extends Omit<ConnectOptions, "tls">, Partial<Omit<ChannelOptions, "tls">> {
  /** Set where the peer speaks TLS: options as node:tls has them, or certificates that may be replaced. */
  readonly tls?: ConnectionOptions | TlsSource;
}

/** The defaults of a client's connections. */
const defaults: Omit<ChannelOptions, "http2" | "tls"> = {
  connections: 1,
  waitingMax: 10_000,
  backoff: { firstMs: 100, maxMs: 2_000 },
  ejection: { failures: 5, baseMs: 5_000, maxMs: 300_000, percentMax: 50 },
  resolveMs: 30_000,
  idleMs: 1_800_000,
  metrics: noChannelMetrics,
  connect: connectHttp2,
  lookUp: lookUpHost,
  timers: systemTimers,
  random: Math.random,
};
/** Headers of an answer may be larger than those of a request: they carry an error's details. */
const headerListBytesMax = 65_536;

/** What a client needs to know of a method. */
interface Route {
  readonly head: HeaderTemplate;
  readonly input: Codec;
  readonly output: Codec;
}

/**
 * Calls a peer with the transport of our own. `target` is as `parseTarget` reads it; `xds:///` names go to grpc-js. Throws
 * TypeError where it is none.
 */
export function connect(target: string, options: ClientOptions): Transport {
  const { tls, http2, serverName } = options;
  const [source, fixed] = tls === undefined ? [] : isTlsSource(tls) ? [tls] : [undefined, tls];
  if (target.startsWith("xds:")) {
    const { tls: _, ...rest } = options;
    return connectGrpcJs(target, { ...rest, ...(source === undefined ? {} : { tls: source }) });
  }
  const servername = serverName === undefined ? {} : { servername: serverName };
  const channel = new Channel(target, {
    ...defaults,
    ...options,
    tls: () => (source === undefined ? fixed : { ...tlsOptions(source.current()), ...servername }),
    http2: { headerListBytesMax, ...http2 },
  });
  const scheme = tls === undefined ? "http" : "https";
  const routes = new Map<MethodInfo, Route>();
  const routeOf = (method: MethodInfo): Route => {
    const fields: Field[] = [
      [":method", "POST"],
      [":scheme", scheme],
      [":path", method.path],
      [":authority", channel.target.authority],
      ["te", "trailers"],
      ["content-type", "application/grpc"],
      ["grpc-accept-encoding", "identity,gzip"],
    ];
    const route = { head: new HeaderTemplate(fields), input: codecOf(method.input), output: codecOf(method.output) };
    routes.set(method, route);
    return route;
  };
  return {
    invoke(call) {
      const route = routes.get(call.method) ?? routeOf(call.method);
      return new Promise((resolve, reject) => {
        const wire = new ClientCall(call, route, options, resolve, reject);
        wire.begin(channel);
      });
    },
    close: () => channel.close(),
  };
}

/** What the trailers of an answer say. Kept with a header block that comes again. */
interface Outcome {
  readonly code: number;
  readonly message: string;
  readonly details: Uint8Array | undefined;
  readonly metadata: Metadata | undefined;
}

/** What the headers of an answer say. */
interface Head {
  readonly fault: string | undefined;
  readonly faultCode: number;
  readonly encoding: string | undefined;
  readonly metadata: Metadata | undefined;
}

/** The status of an HTTP answer that is not gRPC. */
function codeOfHttp(status: string): number {
  switch (status) {
    case "400":
      return Code.Internal;
    case "401":
      return Code.Unauthenticated;
    case "403":
      return Code.PermissionDenied;
    case "404":
      return Code.Unimplemented;
    case "429":
    case "502":
    case "503":
    case "504":
      return Code.Unavailable;
    default:
      return Code.Unknown;
  }
}

/** The status of a stream that the peer reset. */
function codeOfReset(code: number): number {
  switch (code) {
    case ErrorCode.RefusedStream:
      return Code.Unavailable;
    case ErrorCode.Cancel:
      return Code.Cancelled;
    case ErrorCode.EnhanceYourCalm:
      return Code.ResourceExhausted;
    case ErrorCode.InadequateSecurity:
      return Code.PermissionDenied;
    default:
      return Code.Internal;
  }
}

function headOf(block: HeaderBlock): Head {
  const known = block.derived as Head | undefined;
  if (known !== undefined) return known;
  const encoding = block.get("grpc-encoding");
  let fault: string | undefined;
  let faultCode: number = Code.Unknown;
  if (block.status !== "200") {
    fault = `HTTP status ${block.status}`;
    faultCode = codeOfHttp(block.status);
  } else if (!isGrpc(block.get("content-type"))) fault = `content-type "${block.get("content-type") ?? ""}"`;
  else if (encoding !== undefined && encoding !== "identity" && encoding !== "gzip") {
    fault = `messages compressed with "${encoding}"`;
    faultCode = Code.Internal;
  }
  const head: Head = { fault, faultCode, encoding, metadata: metadataOf(block) };
  block.derived = head;
  return head;
}

function outcomeOf(block: HeaderBlock): Outcome {
  const status = block.get("grpc-status");
  const details = block.get(detailsKey);
  return {
    code: status !== undefined && /^\d{1,3}$/.test(status) ? Number(status) : Code.Unknown,
    message: status === undefined ? "the answer has no grpc-status" : decodePercent(block.get("grpc-message") ?? ""),
    details: details === undefined ? undefined : Buffer.from(details, "base64"),
    metadata: metadataOf(block),
  };
}

/** One call that this process makes. */
class ClientCall implements StreamReceiver, MessageSink, SenderOwner, Timed, Waiter {
  readonly deadlineMs: number;
  wheelSlot = -1;
  wheelPlace = 0;
  readonly waitsForReady: boolean;
  readonly #call: Call;
  readonly #route: Route;
  readonly #bytesMax: number;
  readonly #resolve: (payload: Payload) => void;
  readonly #reject: (error: unknown) => void;
  #unsubscribe: (() => void) | undefined = undefined;
  #channel: Channel | undefined = undefined;
  #link: Link | undefined = undefined;
  /** The address that the call was sent to, to be told how it ended. */
  #peer: CallPeer | undefined = undefined;
  #wasResent = false;
  #requestsEnded = false;
  #stream: Stream | undefined = undefined;
  /** The request of a method that takes one, encoded before the call waits for a connection, until the peer answers. */
  #request: Encoded | undefined = undefined;
  #isCompressed = false;
  readonly messages: MessageMeter | undefined;
  /** How requests are compressed; undefined where they are not. */
  readonly #compression: CompressionOptions | undefined;
  #fields: string[] | undefined = undefined;
  #reader: MessageReader | undefined = undefined;
  #answer: RawMessage | undefined = undefined;
  #answerCount = 0;
  #answers: MessageQueue | undefined = undefined;
  #over = false;
  #sender: MessageSender | undefined = undefined;

  constructor(
    call: Call,
    route: Route,
    options: ClientOptions,
    resolve: (payload: Payload) => void,
    reject: (error: unknown) => void,
  ) {
    this.#call = call;
    this.#route = route;
    this.#bytesMax = options.messageBytesMax;
    this.messages = options.metrics?.messages;
    const { compresses } = call.context;
    this.#compression =
      compresses === undefined
        ? options.compression
        : compresses
          ? (options.compression ?? { bytesMin: 0 })
          : undefined;
    this.waitsForReady = options.waitForReady ?? false;
    this.deadlineMs = call.context.deadlineMs;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  get isWaiting(): boolean {
    return !this.#over;
  }

  begin(channel: Channel): void {
    const { context, method, request } = this.#call;
    if (context.cancelled !== undefined) {
      this.#reject(cancelError(context.cancelled, method.name));
      return;
    }
    let compressing: Promise<SentMessage> | undefined;
    if (method.kind === "unary" || method.kind === "server_streaming") {
      const encoded = this.#route.input.encode(singleMessage(request));
      compressing = this.#compression === undefined ? undefined : compress(encoded, this.#compression);
      if (compressing === undefined) this.#request = keptEncoded(encoded);
    }
    this.#fields = fieldsOfCall(context);
    if (this.#compression !== undefined) {
      this.#fields ??= [];
      this.#fields.push("grpc-encoding", "gzip");
    }
    deadlines.add(this);
    this.#unsubscribe = context.onCancel((reason) => this.#cancelled(reason));
    if (method.kind === "server_streaming" || method.kind === "bidi_streaming") {
      this.#answers = new MessageQueue(
        (bytes) => this.#decode(bytes),
        (bytes) => this.#stream?.consume(bytes),
        () => this.#leave(),
      );
      this.#resolve(this.#answers);
    }
    this.#channel = channel;
    if (compressing === undefined) channel.submit(this);
    else
      compressing
        .then(({ bytes, isCompressed }) => {
          if (this.#over) return;
          this.#request = bytes;
          this.#isCompressed = isCompressed;
          channel.submit(this);
        })
        .catch((error) => this.sourceFailed(error));
  }

  metadataValue(key: string): string | undefined {
    const { context } = this.#call;
    return metadataValue(context, context.metadata, key);
  }

  start(link: Link, peer: CallPeer): void {
    const stream = link.open(this);
    this.#stream = stream;
    this.#link = link;
    this.#peer = peer;
    let fields = this.#fields;
    if (this.deadlineMs !== Number.POSITIVE_INFINITY) {
      fields ??= [];
      fields.push("grpc-timeout", formatTimeout(this.deadlineMs - Date.now()));
    }
    stream.sendHeaders(this.#route.head, fields, false);
    const request = this.#request;
    if (this.#sender !== undefined) {
      this.#sender.attach(stream);
      if (this.#requestsEnded) stream.end();
    } else if (request === undefined) this.#sendAll(stream);
    else {
      this.messages?.sent.add(1);
      sendMessage(stream, request, true, this.#isCompressed);
    }
  }

  refuse(error: WeftError): void {
    this.#fail(error);
  }

  headers(block: HeaderBlock, end: boolean): void {
    if (this.#over) return;
    if (this.#reader === undefined) {
      this.#request = undefined;
      this.#sender?.accepted();
      const head = headOf(block);
      if (head.fault !== undefined) {
        // A status of gRPC says more than what HTTP says of it.
        if (end && block.get("grpc-status") !== undefined) this.#finish(block);
        else this.#fault(decodeStatus(head.faultCode, `the answer is not gRPC: ${head.fault}`, undefined));
        return;
      }
      this.#reader = new MessageReader(this.#bytesMax, head.encoding);
      if (!end) {
        if (head.metadata !== undefined) this.#call.context.initialMetadata = head.metadata;
        return;
      }
    }
    this.#finish(block);
  }

  data(chunk: Buffer, start: number, end: number, last: boolean): void {
    const stream = this.#stream;
    if (this.#over || stream === undefined) {
      stream?.consume(end - start);
      return;
    }
    const fault = this.#reader?.read(chunk, start, end, this);
    if (fault !== undefined) {
      this.#fault(fault);
      return;
    }
    stream.retain(this.#reader?.bufferedBytes ?? 0);
    if (this.#answers === undefined) stream.consume(end - start);
    else this.#answers.received(end - start);
    if (last) this.#fault(decodeStatus(Code.Internal, "the answer ended without trailers", undefined));
  }

  get keepsChunk(): boolean {
    return this.#reader?.keepsChunk !== false;
  }

  message(raw: RawMessage, sizeBytes: number): void {
    this.messages?.received.add(1);
    if (this.#answers !== undefined) this.#answers.push(raw, sizeBytes);
    else {
      this.#answer = raw;
      this.#answerCount++;
    }
  }

  reset(code: number, cause: ResetCause): void {
    const name = this.#call.method.name;
    // The peer ended the call at a deadline that this side has not noticed yet.
    if (code === ErrorCode.Cancel && cause === "peer" && this.deadlineMs <= Date.now()) this.expired();
    else if (cause === "connection" || cause === "refused") {
      if (cause === "refused" && this.#resend()) return;
      // Its endpoint knows of the connection; a peer that refuses a stream is no peer that fails.
      this.#peer = undefined;
      this.#fail(errors.CONNECTION_LOST({ method: name }));
    } else this.#fail(decodeStatus(codeOfReset(code), `${name}: the stream was reset with code ${code}`, undefined));
  }

  writable(): void {
    this.#sender?.wake();
  }

  expired(): void {
    this.#call.context.cancel("deadline");
  }

  /**
   * Sends a call once more that the peer has not begun, as gRPC's transparent retries do: once, and elsewhere where that is
   * possible. Of a stream of requests only so much is kept; a longer one is not sent again.
   */
  #resend(): boolean {
    if (this.#over || this.#wasResent || this.#reader !== undefined || this.#channel === undefined) return false;
    if (this.#request === undefined && this.#sender?.detach() !== true) return false;
    this.#wasResent = true;
    this.#peer = undefined;
    this.#stream = undefined;
    // The timeout was the last field.
    if (this.#fields !== undefined && this.deadlineMs !== Number.POSITIVE_INFINITY) this.#fields.length -= 2;
    this.#channel.submit(this, this.#link);
    return true;
  }

  #cancelled(reason: CancelReason): void {
    this.#fault(cancelError(reason, this.#call.method.name));
  }

  #leave(): void {
    if (this.#over) return;
    this.#end();
    this.#stream?.reset(ErrorCode.Cancel);
  }

  #decode(bytes: Uint8Array): Message {
    try {
      return this.#route.output.decode(bytes);
    } catch (cause) {
      throw errors.MALFORMED_MESSAGE({ type: this.#call.method.output.typeName }, { cause });
    }
  }

  /** Takes the trailers. */
  #finish(block: HeaderBlock): void {
    const { context, method } = this.#call;
    // Of a block that comes again only success is worth keeping; of trailers alone the head is kept already.
    const isOk = block.derived === okTrailers;
    const outcome = isOk ? okTrailers : outcomeOf(block);
    if (!isOk && outcome.code === Code.Ok && outcome.metadata === undefined && block.pseudo === 0)
      block.derived = okTrailers;
    if (outcome.metadata !== undefined) context.trailingMetadata = outcome.metadata;
    if (outcome.code !== Code.Ok) {
      // The peer keeps the deadline too: what it says of it is what this side would have said.
      const { details } = outcome;
      if (details === undefined && outcome.code === Code.DeadlineExceeded)
        this.#fail(errors.DEADLINE_EXCEEDED({ method: method.name }));
      else if (details === undefined && outcome.code === Code.Cancelled)
        this.#fail(errors.CANCELLED({ method: method.name }));
      else this.#fail(decodeStatus(outcome.code, outcome.message, details));
      return;
    }
    if (this.#reader?.isPartial === true) {
      this.#fail(errors.FRAMING_MALFORMED({ why: "the stream ended within a message" }));
      return;
    }
    if (this.#answers !== undefined) {
      this.#end();
      this.#peer?.report(Code.Ok);
      this.#answers.end();
      return;
    }
    const answer = this.#answer;
    if (answer === undefined || this.#answerCount !== 1) {
      this.#fail(errors.CARDINALITY({ method: method.name, messages: this.#answerCount }));
      return;
    }
    this.#end();
    this.#peer?.report(Code.Ok);
    if (answer instanceof CompressedMessage)
      answer
        .read(() => true)
        .then((bytes) => this.#settle(bytes))
        .catch(this.#reject);
    else this.#settle(answer);
  }

  #settle(bytes: Uint8Array): void {
    let message: Message;
    try {
      message = this.#decode(bytes);
    } catch (error) {
      this.#reject(error);
      return;
    }
    this.#resolve(message);
  }

  /** Ends the call for a reason of this side's: the peer is told. */
  #fault(error: WeftError): void {
    if (this.#over) return;
    this.#fail(error);
    this.#stream?.reset(ErrorCode.Cancel);
  }

  #fail(error: WeftError): void {
    if (this.#over) return;
    this.#end();
    this.#peer?.report(error.code);
    if (this.#answers === undefined) this.#reject(error);
    else this.#answers.fail(error);
  }

  #end(): void {
    this.#over = true;
    deadlines.remove(this);
    this.#unsubscribe?.();
    this.#sender?.wake();
  }

  get isOver(): boolean {
    return this.#over || this.#stream?.gone === true;
  }

  beforeMessage(): void {}

  get method(): string {
    return this.#call.method.name;
  }

  sourceEnded(): void {
    this.#requestsEnded = true;
    this.#stream?.end();
  }

  sourceFailed(error: unknown): void {
    if (this.#over) return;
    this.#end();
    if (this.#answers === undefined) this.#reject(error);
    else this.#answers.fail(error);
    this.#stream?.reset(ErrorCode.Cancel);
  }

  /** Sends a stream of requests, no faster than the peer takes them. A source that fails ends the call. */
  #sendAll(stream: Stream): void {
    const { request, method } = this.#call;
    if (!isStream(request)) {
      this.sourceFailed(new TypeError(`${method.name} takes a stream`));
      return;
    }
    const requests = request instanceof Pipe ? request : new Pipe(request, []);
    this.#sender = new MessageSender(stream, requests, this.#route.input, this, {
      compression: this.#compression,
      ...(this.#wasResent ? {} : { kept: new KeptMessages() }),
    });
    this.#sender.run();
  }
}

const okTrailers: Outcome = { code: Code.Ok, message: "", details: undefined, metadata: undefined };

/** Metadata and identity of a call as fields; undefined where there are none. */
function fieldsOfCall(context: CallScope): string[] | undefined {
  let fields: string[] | undefined;
  writeIdentity(context, context.trace, context.metadata, (key, value) => {
    fields ??= [];
    addMetadata(fields, key.toLowerCase(), value);
  });
  return fields;
}
