import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { gateway, health } from "@weft/contracts";
import { Code, type WeftError } from "@weft/errors";
import {
  type Connection,
  connectHttp2,
  ErrorCode,
  type Field,
  HeaderTemplate,
  type Http2Server,
  listenHttp2,
  type Stream,
} from "@weft/http2";
import { createClient, type Handlers, type Listener, ServiceRouter, type Transport } from "../index.ts";
import { type ClientOptions, connect } from "./client.ts";
import { listen } from "./server.ts";

const messageBytesMax = 10_000;
const path = "/grpc.health.v1.Health/Check";
const noBytes = new Uint8Array(0);

/** A message as it travels. */
function framed(content: Uint8Array, flag = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(content.length, 1);
  return Buffer.concat([prefix, content]);
}

function request(service: string): Uint8Array {
  return toBinary(health.HealthCheckRequestSchema, create(health.HealthCheckRequestSchema, { service }));
}

function createRouter(check: (service: string) => object | Promise<object> = () => ({ status: 1 })): ServiceRouter {
  const router = new ServiceRouter([]);
  router.serve(health.Health, {
    check: ({ service }) => check(service),
    list: () => ({}),
    async *watch({ service }) {
      yield { status: 1 };
      if (service === "forever") await new Promise(() => {});
    },
  });
  return router;
}

const listening = (router: ServiceRouter, port = 0) =>
  listen(router, { host: "127.0.0.1", port, messageBytesMax, concurrentStreamsMax: 100 });

async function failure(work: Promise<unknown>): Promise<WeftError> {
  try {
    await work;
  } catch (error) {
    return error as WeftError;
  }
  throw new Error("the call did not fail");
}

describe("a server given bad input answers what gRPC says, and its connection lives", () => {
  let listener: Listener;
  let connection: Connection;
  beforeEach(async () => {
    listener = await listening(createRouter((service) => ({ status: service.length })));
    connection = await connectHttp2({ host: "127.0.0.1", port: listener.port });
  });
  afterEach(async () => {
    connection.destroy();
    await listener.drain(0);
  });

  /** Sends one request; answers its HTTP status, its grpc-status and its content. */
  const ask = (fields: Partial<Record<string, string>>, content: Uint8Array | undefined) =>
    new Promise<{ http: string; grpc: string | undefined; content: Buffer }>((resolve, reject) => {
      const all: Record<string, string | undefined> = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        te: "trailers",
        "content-type": "application/grpc",
        ...fields,
      };
      let http = "";
      let grpc: string | undefined;
      const parts: Buffer[] = [];
      const stream = connection.open({
        headers(block, end) {
          if (block.status !== "") http = block.status;
          grpc = block.get("grpc-status") ?? grpc;
          if (end) resolve({ http, grpc, content: Buffer.concat(parts) });
        },
        data(chunk, start, end) {
          parts.push(Buffer.from(chunk.subarray(start, end)));
        },
        reset: (code) => reject(new Error(`reset with ${code}`)),
        writable() {},
      });
      const list = Object.entries(all).flatMap(([name, value]): Field[] =>
        value === undefined ? [] : [[name, value]],
      );
      stream.sendHeaders(new HeaderTemplate(list), undefined, content === undefined);
      if (content !== undefined) stream.write(noBytes, content, true);
    });

  const good = framed(request("abcd"));
  const gzip = { "grpc-encoding": "gzip" };
  test.each<[string, Partial<Record<string, string>>, Uint8Array | undefined, string, number | undefined]>([
    ["another content-type", { "content-type": "text/html" }, good, "415", undefined],
    ["no content-type", { "content-type": undefined }, good, "415", undefined],
    ["gRPC of another message format", { "content-type": "application/grpc+json" }, good, "415", undefined],
    ["another method", { ":method": "GET" }, undefined, "405", undefined],
    ["an unknown path", { ":path": "/a.B/C" }, good, "200", Code.Unimplemented],
    ["a path that names nothing", { ":path": "/" }, good, "200", Code.Unimplemented],
    ["a malformed timeout", { "grpc-timeout": "10x" }, good, "200", Code.Internal],
    ["a timeout too long", { "grpc-timeout": "123456789S" }, good, "200", Code.Internal],
    ["a timeout that has passed", { "grpc-timeout": "0n" }, good, "200", Code.DeadlineExceeded],
    ["an unknown compression", { "grpc-encoding": "br" }, good, "200", Code.Unimplemented],
    ["a flag that is none", {}, framed(request("a"), 2), "200", Code.Internal],
    ["compressed without grpc-encoding", {}, framed(gzipSync(request("a")), 1), "200", Code.Internal],
    ["compressed, and not", gzip, framed(Buffer.from("no gzip"), 1), "200", Code.Internal],
    ["a compressed bomb", gzip, framed(gzipSync(Buffer.alloc(50_000_000)), 1), "200", Code.ResourceExhausted],
    ["a message too large", {}, framed(Buffer.alloc(messageBytesMax + 1)), "200", Code.ResourceExhausted],
    ["only the promise of one", {}, Buffer.from("00ffffffff", "hex"), "200", Code.ResourceExhausted],
    ["a message that breaks off", {}, good.subarray(0, good.length - 1), "200", Code.Internal],
    ["a prefix that breaks off", {}, good.subarray(0, 3), "200", Code.Internal],
    ["two messages", {}, Buffer.concat([good, good]), "200", Code.Unimplemented],
    ["no message", {}, noBytes, "200", Code.Unimplemented],
    ["no content", {}, undefined, "200", Code.Unimplemented],
    ["what is no protobuf", {}, framed(Buffer.from("ffffffff", "hex")), "200", Code.InvalidArgument],
  ])("%s", async (_name, fields, content, http, grpc) => {
    const answer = await ask(fields, content);
    expect([answer.http, answer.grpc]).toEqual([http, grpc === undefined ? undefined : String(grpc)]);
    const next = await ask({}, good);
    expect([next.http, next.grpc, next.content.toString("hex")]).toEqual(["200", "0", "00000000020804"]);
    expect(connection.isDraining).toBe(false);
  });

  test.each<[string, Partial<Record<string, string>>, Uint8Array]>([
    ["a gzip-compressed message", gzip, framed(gzipSync(request("abcd")), 1)],
    ["an uncompressed message where compression is allowed", gzip, good],
    ["a content-type with its format", { "content-type": "application/grpc+proto" }, good],
  ])("%s is taken", async (_name, fields, content) => {
    const answer = await ask(fields, content);
    expect([answer.http, answer.grpc, answer.content.toString("hex")]).toEqual(["200", "0", "00000000020804"]);
  });
});

describe("a client given a bad answer fails with what gRPC says", () => {
  let server: Http2Server | undefined;
  let transport: Transport | undefined;
  afterEach(async () => {
    await transport?.close();
    await server?.drain(0);
  });

  const head: readonly Field[] = [
    [":status", "200"],
    ["content-type", "application/grpc"],
  ];
  const content = framed(Buffer.from("0801", "hex"));
  const ok = new HeaderTemplate([["grpc-status", "0"]]);
  const only =
    (...fields: Field[]) =>
    (stream: Stream) =>
      stream.sendHeaders(new HeaderTemplate(fields), undefined, true);
  const whole =
    (bytes: Uint8Array, trailers = ok, fields = head) =>
    (stream: Stream) => {
      stream.sendHeaders(new HeaderTemplate(fields), undefined, false);
      stream.write(noBytes, bytes, false);
      stream.endWith(trailers, undefined);
    };

  test.each<[string, (stream: Stream) => void, object]>([
    ["503", only([":status", "503"]), { code: Code.Unavailable }],
    ["404", only([":status", "404"]), { code: Code.Unimplemented }],
    ["401", only([":status", "401"]), { code: Code.Unauthenticated }],
    ["a web page", only([":status", "200"], ["content-type", "text/html"]), { code: Code.Unknown }],
    ["no status", whole(content, new HeaderTemplate([["x", "y"]])), { code: Code.Unknown }],
    ["a status that is none", whole(content, new HeaderTemplate([["grpc-status", "x"]])), { code: Code.Unknown }],
    ["no message", whole(noBytes), { code: Code.Unimplemented }],
    ["two messages", whole(Buffer.concat([content, content])), { code: Code.Unimplemented }],
    ["half a message", whole(content.subarray(0, 6)), { code: Code.Internal }],
    ["a message too large", whole(framed(Buffer.alloc(messageBytesMax + 1))), { code: Code.ResourceExhausted }],
    ["no protobuf", whole(framed(Buffer.from("ffff", "hex"))), { code: Code.InvalidArgument }],
    [
      "an encoded message",
      only(...head, ["grpc-status", "5"], ["grpc-message", "50%25 %E2%98%BA"]),
      { code: Code.NotFound, message: "50% ☺" },
    ],
    ["REFUSED_STREAM", (stream) => stream.reset(ErrorCode.RefusedStream), { code: Code.Unavailable }],
    ["CANCEL", (stream) => stream.reset(ErrorCode.Cancel), { code: Code.Cancelled }],
    ["ENHANCE_YOUR_CALM", (stream) => stream.reset(ErrorCode.EnhanceYourCalm), { code: Code.ResourceExhausted }],
    ["INTERNAL_ERROR", (stream) => stream.reset(ErrorCode.InternalError), { code: Code.Internal }],
    ["a lost connection", (stream) => stream.connection.destroy(), { code: Code.Unavailable }],
  ])("%s", async (_name, answer, expected) => {
    server = await listenHttp2({
      host: "127.0.0.1",
      port: 0,
      request: (stream) => ({
        headers() {},
        data: (_chunk, _start, _end, last) => {
          if (last) answer(stream);
        },
        reset() {},
        writable() {},
      }),
    });
    transport = connect(`127.0.0.1:${server.port}`, { messageBytesMax });
    const client = createClient(health.Health, transport, []);
    expect(await failure(client.check({}, { timeoutMs: 5_000 }))).toMatchObject(expected);
  });

  test("metadata that HTTP/2 cannot carry is refused before it is sent", async () => {
    transport = connect("127.0.0.1:1", { messageBytesMax });
    const client = createClient(health.Health, transport, []);
    for (const metadata of [{ "bad key": "x" }, { key: "line\nbreak" }, { "grpc-timeout": "1S" }, { ":path": "/" }])
      expect((await failure(client.check({}, { metadata }))).reason).toBe("METADATA_INVALID");
  });
});

test("calls that are cancelled and work on are bounded: opening and resetting is no way around the limit", async () => {
  let started = 0;
  const router = createRouter(() => {
    started++;
    return new Promise<object>(() => {});
  });
  const listener = await listen(router, { host: "127.0.0.1", port: 0, messageBytesMax, concurrentStreamsMax: 10 });
  const transport = connect(`127.0.0.1:${listener.port}`, { messageBytesMax });
  const client = createClient(health.Health, transport, []);
  const codes = new Set<number>();
  for (let call = 0; call < 60; call++) codes.add((await failure(client.check({}, { timeoutMs: 5 }))).code);
  expect(started).toBe(20);
  expect(codes).toEqual(new Set([Code.DeadlineExceeded, Code.Unavailable]));
  await transport.close();
  await listener.drain(0);
});

test("both sides send more than any buffer holds, at once, and neither waits for ever", async () => {
  const router = new ServiceRouter([]);
  const unused = () => ({});
  router.serve(gateway.GatewayService, {
    recommend: unused,
    score: unused,
    async *scoreStream(requests) {
      for await (const { id } of requests) yield { id };
    },
  } as Handlers<typeof gateway.GatewayService>);
  const sizes = { messageBytesMax: 1_000_000, concurrentStreamsMax: 100 };
  const listener = await listen(router, { host: "127.0.0.1", port: 0, ...sizes });
  const transport = connect(`127.0.0.1:${listener.port}`, sizes);
  const client = createClient(gateway.GatewayService, transport, []);
  const id = "x".repeat(200_000);
  const requests = async function* () {
    for (let part = 0; part < 40; part++) yield { id };
  };
  const echoed = async () => {
    let characters = 0;
    for await (const answer of client.scoreStream(requests(), { timeoutMs: 30_000 })) characters += answer.id.length;
    return characters;
  };
  expect(await Promise.all(Array.from({ length: 8 }, echoed))).toEqual(new Array(8).fill(40 * id.length));
  await transport.close();
  await listener.drain(0);
});

describe("connections", () => {
  let listener: Listener | undefined;
  let transport: Transport | undefined;
  const open = (port: number, options: Partial<ClientOptions> = {}) => {
    transport = connect(`127.0.0.1:${port}`, { messageBytesMax, backoff: { firstMs: 20, maxMs: 2_000 }, ...options });
    return createClient(health.Health, transport, []);
  };
  afterEach(async () => {
    await transport?.close();
    await listener?.drain(0);
  });

  test("a peer that is not there is UNAVAILABLE at once, and is found when it comes", async () => {
    listener = await listening(createRouter());
    const { port } = listener;
    await listener.drain(0);
    const client = open(port);
    const start = performance.now();
    for (let call = 0; call < 3; call++)
      expect(await failure(client.check({}, { timeoutMs: 10_000 }))).toMatchObject({ code: Code.Unavailable });
    expect(performance.now() - start).toBeLessThan(1_000);
    listener = await listening(createRouter(), port);
    const waiting = open(port, { waitForReady: true });
    expect((await waiting.check({})).status).toBe(1);
    for (let tries = 0; ; tries++) {
      const answer = await client.check({}).catch((error: WeftError) => error);
      if (!(answer instanceof Error)) break;
      expect(tries).toBeLessThan(100);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  test("a call that waits for a peer ends at its deadline", async () => {
    const client = open(1, { waitForReady: true });
    expect((await failure(client.check({}, { timeoutMs: 60 }))).code).toBe(Code.DeadlineExceeded);
  });

  test("a peer that restarts is called again; calls in flight fail as UNAVAILABLE", async () => {
    listener = await listening(createRouter((service) => (service === "hangs" ? new Promise<object>(() => {}) : {})));
    const { port } = listener;
    const client = open(port, { waitForReady: true });
    await client.check({});
    const hanging = failure(client.check({ service: "hangs" }));
    await client.check({});
    await listener.drain(0);
    expect((await hanging).code).toBe(Code.Unavailable);
    listener = await listening(createRouter(), port);
    expect((await client.check({}, { timeoutMs: 5_000 })).status).toBe(1);
  });

  test("a drain lets calls in flight end, and takes no new ones", async () => {
    const gate = Promise.withResolvers<object>();
    const entered = Promise.withResolvers<void>();
    listener = await listening(
      createRouter(() => {
        entered.resolve();
        return gate.promise;
      }),
    );
    const client = open(listener.port);
    const work = client.check({});
    await entered.promise;
    const drained = listener.drain(5_000);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect((await failure(client.check({}, { timeoutMs: 2_000 }))).code).toBe(Code.Unavailable);
    gate.resolve({ status: 1 });
    expect((await work).status).toBe(1);
    await drained;
  });

  test("calls beyond the peer's streams wait for their turn", async () => {
    let running = 0;
    let most = 0;
    const router = createRouter(async () => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 2));
      running--;
      return { status: 1 };
    });
    listener = await listen(router, { host: "127.0.0.1", port: 0, messageBytesMax, concurrentStreamsMax: 5 });
    const client = open(listener.port);
    const answers = await Promise.all(Array.from({ length: 100 }, () => client.check({})));
    expect(answers.every(({ status }) => status === 1)).toBe(true);
    expect(most).toBe(5);
  });

  test("calls go round the connections", async () => {
    const streams = new Map<Connection, number>();
    const server = await listenHttp2({
      host: "127.0.0.1",
      port: 0,
      request(stream) {
        streams.set(stream.connection, (streams.get(stream.connection) ?? 0) + 1);
        stream.sendHeaders(
          new HeaderTemplate([
            [":status", "200"],
            ["content-type", "application/grpc"],
            ["grpc-status", "3"],
          ]),
          undefined,
          true,
        );
        return { headers() {}, data() {}, reset() {}, writable() {} };
      },
    });
    const client = open(server.port, { connections: 3 });
    for (let call = 0; streams.size < 3 && call < 200; call++) await failure(client.check({}));
    streams.clear();
    for (let call = 0; call < 30; call++) await failure(client.check({}));
    expect([...streams.values()]).toEqual([10, 10, 10]);
    await transport?.close();
    await server.drain(0);
  });

  test("a closed client refuses calls and leaves no connection", async () => {
    listener = await listening(createRouter());
    const client = open(listener.port);
    await client.check({});
    await transport?.close();
    expect((await failure(client.check({}))).code).toBe(Code.Unavailable);
    const start = performance.now();
    await listener.drain(10_000);
    expect(performance.now() - start).toBeLessThan(3_000);
  });
});
