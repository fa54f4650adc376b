import type { TlsOptions } from "node:tls";
import type { Message } from "@bufbuild/protobuf";
import { Code, type WeftError } from "@weft/errors";
import {
  ErrorCode,
  type Field,
  type HeaderBlock,
  HeaderTemplate,
  listenHttp2,
  type ResetCause,
  type Stream,
  type StreamReceiver,
} from "@weft/http2";
import { parseTraceparent, type TraceContext } from "@weft/telemetry";
import { CallScope, type Metadata, type RequestIdentity } from "../context.ts";
import { deadlines, type Timed } from "../deadline-wheel.ts";
import { cancelError, errors, toWeftError } from "../errors.ts";
import { identityKeys, readIdentity } from "../identity.ts";
import { isStream, type Payload } from "../interceptor.ts";
import type { MethodInfo } from "../method.ts";
import { Pipe } from "../pipe.ts";
import { detailsKey, encodeStatus, pushbackKey } from "../status.ts";
import { explainHandshake } from "../tls/handshake-failure.ts";
import { isTlsSource, type TlsSource, tlsOptions } from "../tls/tls-source.ts";
import { type Invoke, type Listener, type ListenOptions, type Router, singleMessage } from "../transport.ts";
import { type Codec, codecOf, sendMessage } from "./codec.ts";
import { CompressedMessage } from "./compressed-message.ts";
import { type CompressionOptions, compress } from "./compression.ts";
import type { MessageMeter } from "./connection-meter.ts";
import { MessageQueue } from "./message-queue.ts";
import { MessageReader, type MessageSink, type RawMessage } from "./message-reader.ts";
import { fieldsOf, malformedBinaryKey, metadataOf } from "./metadata.ts";
import { encodePercent } from "./percent.ts";
import { MessageSender, type SenderOwner } from "./sender.ts";
import { parseTimeout } from "./timeout.ts";
import type { Encoded } from "./wire-writer.ts";

const answerFields: readonly Field[] = [
  [":status", "200"],
  ["content-type", "application/grpc"],
  ["grpc-accept-encoding", "identity,gzip"],
];
const answerHead = new HeaderTemplate(answerFields);
const answerHeadGzip = new HeaderTemplate([...answerFields, ["grpc-encoding", "gzip"]]);
const answerOk = new HeaderTemplate([["grpc-status", "0"]]);
const answerFailed = new HeaderTemplate([]);
const notGrpc = new HeaderTemplate([[":status", "415"]]);
const notPost = new HeaderTemplate([
  [":status", "405"],
  ["allow", "POST"],
]);
/** Larger details would not pass the header limits of common peers: the code and the message go without them. */
const detailsBytesMax = 4_096;
const messageCharactersMax = 2_048;
/**
 * Handlers at work for one connection, over its streams at once. A stream that is reset is gone at once, its handler only
 * when it notices: without this limit, opening and resetting would be work without end.
 */
const workingFactor = 2;
const noMetadata: Metadata = Object.freeze({});
const ignored: StreamReceiver = {
  headers() {},
  data() {},
  reset() {},
  writable() {},
};

/** What the headers of a request ask for. Kept with a header block that comes again. */
interface Plan {
  readonly method: MethodInfo;
  readonly invoke: Invoke;
  readonly input: Codec;
  readonly output: Codec;
  readonly takesStream: boolean;
  readonly answersStream: boolean;
  readonly timeoutMs: number;
  readonly encoding: string | undefined;
  readonly acceptsGzip: boolean;
  readonly identity: RequestIdentity;
  readonly trace: TraceContext;
  readonly metadata: () => Metadata;
}

/** Settings of a server; what listeners of every transport have not has defaults. */
export interface ServerOptions extends Omit<ListenOptions, "tls"> {
  /** Certificates where it speaks TLS. */
  readonly tls?: TlsOptions | TlsSource;
}

/** Serves a router over HTTP/2 with the transport of our own. */
export async function listen(router: Router, options: ServerOptions): Promise<Listener> {
  const { host, port, concurrentStreamsMax, tls, clientCertificates, http2, meter } = options;
  const [source, fixed] = tls === undefined ? [] : isTlsSource(tls) ? [tls] : [undefined, tls];
  const certificates = source === undefined ? fixed : tlsOptions(source.current());
  const mutual = clientCertificates === true ? { requestCert: true, rejectUnauthorized: true } : {};
  const server = await listenHttp2({
    host,
    port,
    ...(certificates === undefined ? {} : { tls: { ...certificates, ...mutual } }),
    http2: { concurrentStreamsMax, ...http2 },
    ...(meter === undefined ? {} : { meter }),
    handshakeFailed: (error) => options.handshakeFailed?.(explainHandshake(error)),
    request: (stream, block, end) => accept(router, options, stream, block, end),
  });
  const unwatch = source?.watch(() => server.setCertificates(tlsOptions(source.current())));
  return {
    port: server.port,
    drain(graceMs) {
      unwatch?.();
      return server.drain(graceMs);
    },
  };
}

function accept(
  router: Router,
  options: ServerOptions,
  stream: Stream,
  block: HeaderBlock,
  end: boolean,
): StreamReceiver {
  let plan = block.derived as Plan | undefined;
  if (plan === undefined) {
    if (block.method !== "POST") {
      stream.sendHeaders(notPost, undefined, true);
      return ignored;
    }
    if (!isGrpc(block.get("content-type"))) {
      stream.sendHeaders(notGrpc, undefined, true);
      return ignored;
    }
    const made = planOf(router, block);
    if ("reason" in made) {
      stream.sendHeaders(answerHead, statusFields(made), true);
      return ignored;
    }
    plan = made;
    block.derived = plan;
  }
  const { connection } = stream;
  if (connection.working >= workingFactor * connection.options.concurrentStreamsMax) {
    stream.reset(ErrorCode.RefusedStream);
    return ignored;
  }
  const call = new ServerCall(stream, plan, options);
  call.begin(end);
  return call;
}

/** Whether a content-type is one of gRPC with protobuf. */
export function isGrpc(contentType: string | undefined): boolean {
  if (contentType === "application/grpc") return true;
  return contentType !== undefined && /^application\/grpc(\+proto)?(;.*)?$/i.test(contentType);
}

function planOf(router: Router, block: HeaderBlock): Plan | WeftError {
  const bound = router.find(block.path);
  if (bound === undefined) return errors.METHOD_UNIMPLEMENTED({ method: block.path.slice(1) });
  const get = (key: string) => block.get(key);
  const timeout = get("grpc-timeout");
  const timeoutMs = timeout === undefined ? Number.POSITIVE_INFINITY : parseTimeout(timeout);
  if (timeoutMs === undefined) return errors.TIMEOUT_MALFORMED({ timeout: String(timeout) });
  const encoding = get("grpc-encoding");
  if (encoding !== undefined && encoding !== "identity" && encoding !== "gzip")
    return errors.ENCODING_UNKNOWN({ encoding });
  const malformedKey = malformedBinaryKey(block);
  if (malformedKey !== undefined) return errors.METADATA_MALFORMED({ key: malformedKey });
  const { method, invoke } = bound;
  let metadata: Metadata | undefined;
  return {
    method,
    invoke,
    input: codecOf(method.input),
    output: codecOf(method.output),
    takesStream: method.kind === "client_streaming" || method.kind === "bidi_streaming",
    answersStream: method.kind === "server_streaming" || method.kind === "bidi_streaming",
    timeoutMs,
    encoding,
    acceptsGzip:
      get("grpc-accept-encoding")
        ?.split(",")
        .some((one) => one.trim() === "gzip") === true,
    identity: readIdentity(get),
    trace: parseTraceparent(get(identityKeys.trace)),
    metadata() {
      metadata ??= metadataOf(block) ?? noMetadata;
      return metadata;
    },
  };
}

/** The fields of a failure. */
function statusFields(error: WeftError): string[] {
  const fields = [
    "grpc-status",
    String(error.code),
    "grpc-message",
    encodePercent(error.message.slice(0, messageCharactersMax)),
  ];
  const details = encodeStatus(error);
  if (details.length <= detailsBytesMax) fields.push(detailsKey, Buffer.from(details).toString("base64"));
  if (error.code === Code.ResourceExhausted) fields.push(pushbackKey, String(error.retryAfterMs ?? -1));
  return fields;
}

/** One call that is being answered. */
class ServerCall implements StreamReceiver, MessageSink, SenderOwner, Timed {
  readonly deadlineMs: number;
  wheelSlot = -1;
  wheelPlace = 0;
  readonly #stream: Stream;
  readonly #plan: Plan;
  readonly #context: CallScope;
  readonly #reader: MessageReader;
  readonly messages: MessageMeter | undefined;
  readonly #compressionDefault: CompressionOptions | undefined;
  /** The request of a method that takes one. */
  #request: RawMessage | undefined = undefined;
  #requests: MessageQueue | undefined = undefined;
  #headSent = false;
  #over = false;
  #unsubscribe: (() => void) | undefined = undefined;
  #sender: MessageSender | undefined = undefined;

  constructor(stream: Stream, plan: Plan, { messageBytesMax, compression, messages }: ServerOptions) {
    this.messages = messages;
    this.#stream = stream;
    this.#plan = plan;
    this.#compressionDefault = compression;
    this.deadlineMs = plan.timeoutMs === Number.POSITIVE_INFINITY ? plan.timeoutMs : Date.now() + plan.timeoutMs;
    const { requestId, tenant, priority, release, arm } = plan.identity;
    this.#context = new CallScope(
      { requestId, tenant, priority, release, arm, deadlineMs: this.deadlineMs, trace: plan.trace },
      plan.metadata,
    );
    this.#reader = new MessageReader(messageBytesMax, plan.encoding);
  }

  begin(end: boolean): void {
    if (this.#plan.timeoutMs <= 0) {
      this.expired();
      return;
    }
    deadlines.add(this);
    if (this.#plan.takesStream) {
      const requests = new MessageQueue(
        (bytes) => this.#decode(bytes),
        (bytes) => this.#stream.consume(bytes),
        () => {},
      );
      this.#requests = requests;
      if (end) requests.end();
      this.#invoke(requests);
    } else if (end) this.#fail(errors.CARDINALITY({ method: this.#plan.method.name, messages: 0 }));
  }

  headers(): void {
    this.#endOfRequest();
  }

  data(chunk: Buffer, start: number, end: number, last: boolean): void {
    if (this.#over) {
      this.#stream.consume(end - start);
      return;
    }
    const fault = this.#reader.read(chunk, start, end, this);
    if (fault !== undefined) {
      this.#requests?.fail(fault);
      this.#context.cancel("cancelled");
      this.#fail(fault);
      return;
    }
    this.#stream.retain(this.#reader.bufferedBytes);
    if (this.#requests === undefined) this.#stream.consume(end - start);
    else this.#requests.received(end - start);
    if (last) this.#endOfRequest();
  }

  get keepsChunk(): boolean {
    return this.#reader.keepsChunk;
  }

  message(raw: RawMessage, sizeBytes: number): void {
    this.messages?.received.add(1);
    if (this.#requests !== undefined) this.#requests.push(raw, sizeBytes);
    else if (this.#request === undefined) this.#request = raw;
    else this.#fail(errors.CARDINALITY({ method: this.#plan.method.name, messages: 2 }));
  }

  reset(_code: number, _cause: ResetCause): void {
    this.#end();
    this.#context.cancel(this.#context.deadlineMs <= Date.now() ? "deadline" : "cancelled");
    this.#requests?.fail(cancelError(this.#context.cancelled ?? "cancelled", this.#plan.method.name));
    this.#sender?.wake();
  }

  writable(): void {
    this.#sender?.wake();
  }

  expired(): void {
    const error = cancelError("deadline", this.#plan.method.name);
    this.#context.cancel("deadline");
    this.#requests?.fail(error);
    this.#fail(error);
    this.#sender?.wake();
  }

  #endOfRequest(): void {
    if (this.#over) return;
    const { method } = this.#plan;
    if (this.#reader.isPartial) {
      const fault = errors.FRAMING_MALFORMED({ why: "the stream ended within a message" });
      this.#requests?.fail(fault);
      this.#fail(fault);
    } else if (this.#requests !== undefined) this.#requests.end();
    else if (this.#request === undefined) this.#fail(errors.CARDINALITY({ method: method.name, messages: 0 }));
    else if (this.#request instanceof CompressedMessage)
      this.#request
        .read(() => !this.#over)
        .then(
          (bytes) => this.#invokeWith(bytes),
          (error) => this.#fail(toWeftError(error, method.name)),
        );
    else this.#invokeWith(this.#request);
  }

  #decode(bytes: Uint8Array): Message {
    try {
      return this.#plan.input.decode(bytes);
    } catch (cause) {
      throw errors.MALFORMED_MESSAGE({ type: this.#plan.method.input.typeName }, { cause });
    }
  }

  #invokeWith(bytes: Uint8Array): void {
    if (this.#over) return;
    let request: Message;
    try {
      request = this.#decode(bytes);
    } catch (error) {
      this.#fail(toWeftError(error, this.#plan.method.name));
      return;
    }
    this.#invoke(request);
  }

  #invoke(request: Payload): void {
    const { method, invoke, answersStream } = this.#plan;
    const { connection } = this.#stream;
    connection.working++;
    invoke({ method, context: this.#context, request }).then(
      (payload) => {
        connection.working--;
        if (answersStream) this.#sendAll(payload);
        else this.#sendOne(payload);
      },
      (error) => {
        connection.working--;
        this.#fail(toWeftError(error, method.name));
      },
    );
  }

  #sendOne(payload: Payload): void {
    if (this.#over) return;
    try {
      const encoded = this.#plan.output.encode(singleMessage(payload));
      const compression = this.#compression;
      const compressing = compression === undefined ? undefined : compress(encoded, compression);
      if (compressing === undefined) this.#sendLast(encoded, false);
      else
        compressing
          .then(({ bytes, isCompressed }) => {
            if (!this.#over) this.#sendLast(bytes, isCompressed);
          })
          .catch((error) => this.sourceFailed(error));
    } catch (error) {
      this.sourceFailed(error);
    }
  }

  #sendLast(encoded: Encoded, isCompressed: boolean): void {
    this.beforeMessage();
    this.messages?.sent.add(1);
    sendMessage(this.#stream, encoded, false, isCompressed);
    this.#succeed();
  }

  /** How answers are compressed; undefined where they are not. */
  get #compression(): CompressionOptions | undefined {
    if (!this.#plan.acceptsGzip) return undefined;
    const { compresses } = this.#context;
    if (compresses === undefined) return this.#compressionDefault;
    return compresses ? (this.#compressionDefault ?? { bytesMin: 0 }) : undefined;
  }

  /** Sends a stream of answers, no faster than the peer takes them. */
  #sendAll(payload: Payload): void {
    if (!isStream(payload)) {
      this.sourceFailed(new TypeError(`${this.#plan.method.name} answered a single message`));
      return;
    }
    const answers = payload instanceof Pipe ? payload : new Pipe(payload, []);
    const sender = new MessageSender(this.#stream, answers, this.#plan.output, this, {
      compression: this.#compression,
    });
    this.#sender = sender;
    this.#unsubscribe = this.#context.onCancel(() => sender.leave());
    sender.run();
  }

  get isOver(): boolean {
    return this.#over;
  }

  get method(): string {
    return this.#plan.method.name;
  }

  beforeMessage(): void {
    if (this.#headSent) return;
    const fields = fieldsOf(this.#context.initialMetadata);
    this.#headSent = true;
    this.#stream.sendHeaders(this.#compression === undefined ? answerHead : answerHeadGzip, fields, false);
  }

  sourceEnded(): void {
    try {
      this.beforeMessage();
      this.#succeed();
    } catch (error) {
      this.sourceFailed(error);
    }
  }

  sourceFailed(error: unknown): void {
    this.#fail(toWeftError(error, this.#plan.method.name));
  }

  #succeed(): void {
    this.#end();
    let fields: string[] | undefined;
    try {
      fields = fieldsOf(this.#context.trailingMetadata);
    } catch {
      // The answer has gone: trailers that cannot be sent do not change it.
    }
    this.#stream.endWith(answerOk, fields);
    this.#requests?.discard();
  }

  #fail(error: WeftError): void {
    if (this.#over) return;
    this.#end();
    let fields = statusFields(error);
    try {
      fields = fields.concat(fieldsOf(this.#context.trailingMetadata) ?? []);
      if (!this.#headSent && this.#context.initialMetadata !== undefined) this.beforeMessage();
    } catch {
      // The failure is what counts.
    }
    if (this.#headSent) this.#stream.endWith(answerFailed, fields);
    else this.#stream.sendHeaders(answerHead, fields, true);
    this.#requests?.discard();
  }

  #end(): void {
    this.#over = true;
    deadlines.remove(this);
    this.#unsubscribe?.();
  }
}
