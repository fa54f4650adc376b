import { fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import {
  type CallOptions,
  Client,
  type ClientReadableStream,
  type ClientWritableStream,
  compressionAlgorithms,
  credentials,
  Metadata as GrpcMetadata,
  type ServiceError,
} from "@grpc/grpc-js";
import type { CallScope } from "../context.ts";
import { cancelError, errors } from "../errors.ts";
import { writeIdentity } from "../identity.ts";
import { type Call, isStream, type Payload } from "../interceptor.ts";
import type { MethodInfo } from "../method.ts";
import { plainBytes } from "../plain-bytes.ts";
import { decodeStatus, detailsKey } from "../status.ts";
import { type ConnectOptions, singleMessage, type Transport } from "../transport.ts";
import { channelCredentials } from "./credentials.ts";
import { keepaliveOptions } from "./keepalive.ts";
import { grpcJsTarget } from "./target.ts";

const pass = (bytes: Buffer) => bytes;

/**
 * Calls a peer over HTTP/2 with grpc-js. `target` is an address, several, a DNS name or an `xds:///` name. Throws TypeError
 * where it is none, or asks for what grpc-js cannot do.
 */
export function connect(target: string, options: ConnectOptions): Transport {
  const { tls, serverName, http2, backoff } = options;
  const secure = tls === undefined ? credentials.createInsecure() : channelCredentials(tls);
  const client = new Client(grpcJsTarget(target), secure, {
    ...(serverName === undefined ? {} : { "grpc.ssl_target_name_override": serverName }),
    "grpc.max_receive_message_length": options.messageBytesMax,
    "grpc.enable_channelz": 0,
    // A connection of its own: otherwise every transport to one target in the process shares one.
    "grpc.use_local_subchannel_pool": 1,
    // One layer retries, and it is not this one.
    "grpc.enable_retries": 0,
    "grpc.initial_reconnect_backoff_ms": backoff?.firstMs ?? 100,
    "grpc.max_reconnect_backoff_ms": backoff?.maxMs ?? 2_000,
    ...keepaliveOptions(http2),
    // It knows no least size, and no choice a call.
    ...(options.compression === undefined ? {} : { "grpc.default_compression_algorithm": compressionAlgorithms.gzip }),
    ...(options.idleMs === undefined || options.idleMs === 0 ? {} : { "grpc.client_idle_timeout_ms": options.idleMs }),
    "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  });
  return {
    async invoke(call) {
      switch (call.method.kind) {
        case "unary":
          return unary(client, call);
        case "client_streaming":
          return clientStreaming(client, call);
        case "server_streaming":
          return readAll(call, (metadata, callOptions) =>
            client.makeServerStreamRequest(
              call.method.path,
              pass,
              pass,
              encode(call.method, singleMessage(call.request)),
              metadata,
              callOptions,
            ),
          );
        case "bidi_streaming":
          return readAll(call, (metadata, callOptions) => {
            const stream = client.makeBidiStreamRequest(call.method.path, pass, pass, metadata, callOptions);
            void writeAll(call, stream);
            return stream;
          });
      }
    },
    close: () => client.close(),
  };
}

function encode(method: MethodInfo, message: Message): Buffer {
  const bytes = toBinary(method.input, message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function decode(method: MethodInfo, bytes: Uint8Array): Message {
  return fromBinary(method.output, plainBytes(bytes));
}

function metadataOf(context: CallScope): GrpcMetadata {
  const metadata = new GrpcMetadata();
  writeIdentity(context, context.trace, context.metadata, (key, value) => metadata.set(key, value));
  return metadata;
}

function optionsOf(context: CallScope): CallOptions {
  return context.deadlineMs === Number.POSITIVE_INFINITY ? {} : { deadline: context.deadlineMs };
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "metadata" in error;
}

function toError(error: unknown, call: Call): unknown {
  if (!isServiceError(error)) return error;
  if (call.context.cancelled !== undefined) return cancelError(call.context.cancelled, call.method.name);
  const details = error.metadata?.get(detailsKey)[0];
  // grpc-js itself raises these two on the caller's side; give them the reasons that every transport gives.
  if (details === undefined && error.code === 4)
    return errors.DEADLINE_EXCEEDED({ method: call.method.name }, { cause: error });
  if (details === undefined && error.code === 1)
    return errors.CANCELLED({ method: call.method.name }, { cause: error });
  return decodeStatus(error.code, error.details, typeof details === "string" ? undefined : details, error);
}

function unary(client: Client, call: Call): Promise<Payload> {
  const { context, method } = call;
  return new Promise((resolve, reject) => {
    const wire = client.makeUnaryRequest(
      method.path,
      pass,
      pass,
      encode(method, singleMessage(call.request)),
      metadataOf(context),
      optionsOf(context),
      (error, bytes) => settle(call, error, bytes, resolve, reject, unsubscribe),
    );
    const unsubscribe = context.onCancel(() => wire.cancel());
  });
}

function clientStreaming(client: Client, call: Call): Promise<Payload> {
  const { context, method } = call;
  return new Promise((resolve, reject) => {
    const wire = client.makeClientStreamRequest(
      method.path,
      pass,
      pass,
      metadataOf(context),
      optionsOf(context),
      (error, bytes) => settle(call, error, bytes, resolve, reject, unsubscribe),
    );
    const unsubscribe = context.onCancel(() => wire.cancel());
    void writeAll(call, wire, reject);
  });
}

function settle(
  call: Call,
  error: ServiceError | null,
  bytes: Buffer | undefined,
  resolve: (payload: Payload) => void,
  reject: (error: unknown) => void,
  unsubscribe: () => void,
): void {
  unsubscribe();
  if (error !== null || bytes === undefined) {
    reject(toError(error, call));
    return;
  }
  try {
    resolve(decode(call.method, bytes));
  } catch (cause) {
    reject(errors.MALFORMED_MESSAGE({ type: call.method.output.typeName }, { cause }));
  }
}

/** Sends a stream of requests, no faster than the peer takes them. A source that fails ends the call. */
async function writeAll(
  call: Call,
  wire: ClientWritableStream<Buffer> & { cancel(): void },
  failed: (error: unknown) => void = () => {},
): Promise<void> {
  try {
    if (!isStream(call.request)) throw new TypeError(`${call.method.name} takes a stream`);
    for await (const message of call.request) {
      if (call.context.cancelled !== undefined || wire.destroyed) return;
      if (!wire.write(encode(call.method, message)))
        await new Promise<void>((resolve) => {
          const done = () => {
            wire.off("drain", done);
            wire.off("close", done);
            wire.off("error", done);
            unsubscribe();
            resolve();
          };
          wire.once("drain", done);
          wire.once("close", done);
          wire.once("error", done);
          const unsubscribe = call.context.onCancel(done);
        });
    }
    wire.end();
  } catch (error) {
    failed(error);
    wire.cancel();
  }
}

async function readAll(
  call: Call,
  open: (metadata: GrpcMetadata, options: CallOptions) => ClientReadableStream<Buffer>,
): Promise<AsyncIterable<Message>> {
  const stream = open(metadataOf(call.context), optionsOf(call.context));
  // The iterable below reports the failure; without a listener an early one would be uncaught.
  stream.on("error", () => {});
  const unsubscribe = call.context.onCancel(() => stream.cancel());
  return answersOf(call, stream, unsubscribe);
}

async function* answersOf(
  call: Call,
  stream: ClientReadableStream<Buffer>,
  unsubscribe: () => void,
): AsyncIterable<Message> {
  let finished = false;
  try {
    for await (const bytes of stream as AsyncIterable<Buffer>) yield decode(call.method, bytes);
    finished = true;
  } catch (error) {
    finished = true;
    throw toError(error, call);
  } finally {
    unsubscribe();
    if (!finished) stream.cancel();
  }
}
