import type { EventEmitter } from "node:events";
import { fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import {
  Metadata as GrpcMetadata,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Server,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  type status,
} from "@grpc/grpc-js";
import { Code, type WeftError } from "@weft/errors";
import { parseTraceparent } from "@weft/telemetry";
import { CallScope, type Metadata } from "../context.ts";
import { cancelError, errors, toWeftError } from "../errors.ts";
import { identityKeys, readIdentity } from "../identity.ts";
import { isStream, type Payload } from "../interceptor.ts";
import type { MethodInfo } from "../method.ts";
import { plainBytes } from "../plain-bytes.ts";
import { detailsKey, encodeStatus, pushbackKey } from "../status.ts";
import { type Invoke, type Listener, type ListenOptions, type Router, singleMessage } from "../transport.ts";
import { serverCredentials } from "./credentials.ts";
import { keepaliveOptions } from "./keepalive.ts";

type AnyCall =
  | ServerUnaryCall<Buffer, Buffer>
  | ServerReadableStream<Buffer, Buffer>
  | ServerWritableStream<Buffer, Buffer>
  | ServerDuplexStream<Buffer, Buffer>;

const pass = (bytes: Buffer) => bytes;

/** Serves a router over HTTP/2 with grpc-js. */
export async function listen(router: Router, options: ListenOptions): Promise<Listener> {
  const server = new Server({
    "grpc.max_receive_message_length": options.messageBytesMax,
    "grpc.max_send_message_length": -1,
    "grpc.max_concurrent_streams": options.concurrentStreamsMax,
    // Its bookkeeping grows with every call and nothing here reads it.
    "grpc.enable_channelz": 0,
    ...keepaliveOptions(options.http2),
    ...(options.http2?.idleTimeoutMs ? { "grpc.max_connection_idle_ms": options.http2.idleTimeoutMs } : {}),
  });
  for (const method of router.methods()) {
    const bound = router.find(method.path);
    if (bound !== undefined) register(server, method, bound.invoke);
  }
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${options.host}:${options.port}`, serverCredentials(options), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return {
    port,
    drain: (graceMs) =>
      new Promise((resolve) => {
        const timer = setTimeout(() => {
          server.forceShutdown();
          resolve();
        }, graceMs);
        server.tryShutdown(() => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
}

function register(server: Server, method: MethodInfo, invoke: Invoke): void {
  const path = method.path;
  switch (method.kind) {
    case "unary":
      server.register(path, unary(method, invoke), pass, pass, "unary");
      return;
    case "client_streaming":
      server.register(path, clientStreaming(method, invoke), pass, pass, "clientStream");
      return;
    case "server_streaming":
      server.register(path, serverStreaming(method, invoke), pass, pass, "serverStream");
      return;
    case "bidi_streaming":
      server.register(path, bidiStreaming(method, invoke), pass, pass, "bidi");
      return;
  }
}

function openContext(call: AnyCall): CallScope {
  const metadata = call.metadata;
  const get = (key: string) => {
    const value = metadata.get(key)[0];
    return typeof value === "string" ? value : undefined;
  };
  const deadline = call.getDeadline();
  const context = new CallScope(
    {
      ...readIdentity(get),
      deadlineMs: typeof deadline === "number" ? deadline : deadline.getTime(),
      trace: parseTraceparent(get(identityKeys.trace)),
    },
    () => readMetadata(metadata),
  );
  (call as EventEmitter).on("cancelled", () => context.cancel(context.remainingMs() <= 0 ? "deadline" : "cancelled"));
  return context;
}

function readMetadata(metadata: GrpcMetadata): Metadata {
  return Object.fromEntries(
    Object.entries(metadata.getMap()).map(([key, value]) => [
      key,
      typeof value === "string" ? value : value.toString("base64"),
    ]),
  );
}

function decode(method: MethodInfo, bytes: Uint8Array): Message {
  try {
    return fromBinary(method.input, plainBytes(bytes));
  } catch (cause) {
    throw errors.MALFORMED_MESSAGE({ type: method.input.typeName }, { cause });
  }
}

function encode(method: MethodInfo, message: Message): Buffer {
  const bytes = toBinary(method.output, message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** What grpc-js sends for an error. No initial metadata goes before it, so that it travels as trailers only. */
function toStatus(error: WeftError) {
  const metadata = new GrpcMetadata();
  metadata.set(detailsKey, Buffer.from(encodeStatus(error)));
  if (error.code === Code.ResourceExhausted) metadata.set(pushbackKey, String(error.retryAfterMs ?? -1));
  return { code: error.code as number as status, details: error.message, metadata };
}

function unary(method: MethodInfo, invoke: Invoke): handleUnaryCall<Buffer, Buffer> {
  return (call, callback) => {
    const context = openContext(call);
    answer(method, context, callback, async () => invoke({ method, context, request: decode(method, call.request) }));
  };
}

function clientStreaming(method: MethodInfo, invoke: Invoke): handleClientStreamingCall<Buffer, Buffer> {
  return (call, callback) => {
    const context = openContext(call);
    answer(method, context, callback, () => invoke({ method, context, request: requestsOf(method, call, context) }));
  };
}

function answer(
  method: MethodInfo,
  context: CallScope,
  callback: sendUnaryData<Buffer>,
  work: () => Promise<Payload>,
): void {
  work().then(
    (payload) => {
      if (context.cancelled === undefined) callback(null, encode(method, singleMessage(payload)));
    },
    (error) => callback(toStatus(toWeftError(error, method.name))),
  );
}

function serverStreaming(method: MethodInfo, invoke: Invoke): handleServerStreamingCall<Buffer, Buffer> {
  return (call) => {
    const context = openContext(call);
    void sendAll(method, call, context, async () => invoke({ method, context, request: decode(method, call.request) }));
  };
}

function bidiStreaming(method: MethodInfo, invoke: Invoke): handleBidiStreamingCall<Buffer, Buffer> {
  return (call) => {
    const context = openContext(call);
    void sendAll(method, call, context, () => invoke({ method, context, request: requestsOf(method, call, context) }));
  };
}

async function* requestsOf(
  method: MethodInfo,
  call: ServerReadableStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>,
  context: CallScope,
): AsyncIterable<Message> {
  try {
    for await (const bytes of call as AsyncIterable<Buffer>) yield decode(method, bytes);
  } catch (error) {
    throw context.cancelled === undefined ? error : cancelError(context.cancelled, method.name);
  }
  if (context.cancelled !== undefined) throw cancelError(context.cancelled, method.name);
}

async function sendAll(
  method: MethodInfo,
  call: ServerWritableStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>,
  context: CallScope,
  work: () => Promise<Payload>,
): Promise<void> {
  let iterator: AsyncIterator<Message> | undefined;
  context.onCancel(() => void iterator?.return?.().catch(() => {}));
  try {
    const payload = await work();
    if (!isStream(payload)) throw new TypeError(`${method.name} answered a single message`);
    iterator = payload[Symbol.asyncIterator]();
    while (context.cancelled === undefined) {
      const step = await iterator.next();
      if (step.done === true) break;
      if (!call.write(encode(method, step.value))) await drained(call, context);
    }
    if (context.cancelled === undefined) call.end();
    else await iterator.return?.();
  } catch (error) {
    if (context.cancelled === undefined) call.emit("error", toStatus(toWeftError(error, method.name)));
  }
}

/** Waits until the peer has taken what was written, or has gone. */
function drained(
  call: ServerWritableStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>,
  context: CallScope,
): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      unsubscribe();
      call.off("drain", done);
      resolve();
    };
    const unsubscribe = context.onCancel(done);
    if (context.cancelled === undefined) call.once("drain", done);
  });
}
