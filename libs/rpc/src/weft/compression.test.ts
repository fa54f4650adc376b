import { gunzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterEach, describe, expect, test } from "@jest/globals";
import { gateway } from "@weft/contracts";
import {
  type Connection,
  connectHttp2,
  type Field,
  type HeaderBlock,
  HeaderTemplate,
  type Http2Server,
  listenHttp2,
} from "@weft/http2";
import type { CallScope } from "../context.ts";
import { createClient, type Handlers, type Listener, ServiceRouter, type Transport } from "../index.ts";
import type { ListenOptions } from "../transport.ts";
import { type ClientOptions, connect } from "./client.ts";
import { listen } from "./server.ts";

const messageBytesMax = 1_000_000;
const noBytes = new Uint8Array(0);
const path = "/weft.gateway.v1.GatewayService/";
const large = "text that repeats itself, ".repeat(200);

interface Part {
  readonly isCompressed: boolean;
  readonly bytes: Buffer;
}

/** Messages with what stands before them. */
function partsOf(content: Buffer): readonly Part[] {
  const parts: Part[] = [];
  for (let at = 0; at < content.length; ) {
    const length = content.readUInt32BE(at + 1);
    const isCompressed = content[at] === 1;
    const bytes = content.subarray(at + 5, at + 5 + length);
    parts.push({ isCompressed, bytes: isCompressed ? gunzipSync(bytes) : bytes });
    at += 5 + length;
  }
  return parts;
}

describe("a server's answers", () => {
  let listener: Listener;
  let connection: Connection;
  afterEach(async () => {
    connection.destroy();
    await listener.drain(0);
  });

  /** What is answered to a request: the encoding that the headers name, and the messages. */
  async function ask(
    options: Partial<ListenOptions>,
    method: string,
    decision: string,
    accepts?: string,
    own?: boolean,
  ) {
    const router = new ServiceRouter([]);
    const unused = gateway.GatewayService.methods.map(({ localName }) => [localName, () => ({})]);
    const answer = (context: unknown) => {
      if (own !== undefined) (context as CallScope).compresses = own;
      return { decision };
    };
    router.serve(gateway.GatewayService, {
      ...Object.fromEntries(unused),
      score: (_request: unknown, context: unknown) => answer(context),
      async *scoreStream(_requests: unknown, context: unknown) {
        answer(context);
        yield { id: decision };
        yield { id: "" };
        yield { id: decision };
      },
    } as unknown as Handlers<typeof gateway.GatewayService>);
    listener = await listen(router, {
      host: "127.0.0.1",
      port: 0,
      messageBytesMax,
      concurrentStreamsMax: 10,
      ...options,
    });
    connection = await connectHttp2({ host: "127.0.0.1", port: listener.port });
    return new Promise<{ encoding: string | undefined; status: string | undefined; parts: readonly Part[] }>(
      (resolve, reject) => {
        let encoding: string | undefined;
        const content: Buffer[] = [];
        const stream = connection.open({
          headers(block, end) {
            encoding ??= block.get("grpc-encoding");
            if (end) resolve({ encoding, status: block.get("grpc-status"), parts: partsOf(Buffer.concat(content)) });
          },
          data: (chunk, start, end) => void content.push(Buffer.from(chunk.subarray(start, end))),
          reset: (code) => reject(new Error(`reset with ${code}`)),
          writable() {},
        });
        const fields: Field[] = [
          [":method", "POST"],
          [":scheme", "http"],
          [":path", path + method],
          [":authority", "x"],
          ["te", "trailers"],
          ["content-type", "application/grpc"],
        ];
        if (accepts !== undefined) fields.push(["grpc-accept-encoding", accepts]);
        stream.sendHeaders(new HeaderTemplate(fields), undefined, false);
        stream.write(noBytes, Buffer.alloc(5), true);
      },
    );
  }

  const on = { compression: { bytesMin: 100 } };
  const read = (answer: Awaited<ReturnType<typeof ask>>) =>
    answer.parts.map(({ isCompressed, bytes }) => [isCompressed, bytes.length]);
  const size = (text: string) =>
    toBinary(gateway.ScoreResponseSchema, create(gateway.ScoreResponseSchema, { decision: text })).length;

  test("go compressed where that is set and the client takes them so", async () => {
    const answer = await ask(on, "Score", large, "identity, deflate, gzip");
    expect([answer.encoding, answer.status, read(answer)]).toEqual(["gzip", "0", [[true, size(large)]]]);
  });

  test("go as they are to a client that does not say so, where it is not set, and where a handler says so", async () => {
    for (const [options, accepts, own] of [
      [on, undefined, undefined],
      [on, "identity", true],
      [on, "identity,deflate", undefined],
      [{}, "gzip", undefined],
      [on, "gzip", false],
    ] as const) {
      const answer = await ask(options, "Score", large, accepts, own);
      expect([answer.encoding, read(answer)]).toEqual([undefined, [[false, size(large)]]]);
      connection.destroy();
      await listener.drain(0);
    }
    const answer = await ask({}, "Score", large, "gzip", true);
    expect([answer.encoding, read(answer)]).toEqual(["gzip", [[true, size(large)]]]);
  });

  test("go as they are where they are small, or would not be smaller", async () => {
    const small = await ask(on, "Score", "small", "gzip");
    expect([small.encoding, read(small)]).toEqual(["gzip", [[false, size("small")]]]);
    connection.destroy();
    await listener.drain(0);
    let random = "";
    for (let index = 0; random.length < 110; index++) random += String.fromCharCode(33 + ((index * 7_919) % 90));
    const dense = await ask(on, "Score", random, "gzip");
    expect(dense.parts.length).toBe(1);
    expect(dense.status).toBe("0");
  });

  test("of a stream go compressed one by one, in order", async () => {
    const answer = await ask(on, "ScoreStream", large, "gzip");
    expect(answer.parts.map(({ isCompressed, bytes }) => [isCompressed, bytes.length > 100])).toEqual([
      [true, true],
      [false, false],
      [true, true],
    ]);
    expect(answer.status).toBe("0");
  });
});

describe("a client's requests", () => {
  let server: Http2Server;
  let transport: Transport;
  afterEach(async () => {
    await transport.close();
    await server.drain(0);
  });

  /** A server that keeps what it was sent. */
  async function open(options: Partial<ClientOptions>) {
    const seen: { block: HeaderBlock; parts: readonly Part[] }[] = [];
    const head = new HeaderTemplate([
      [":status", "200"],
      ["content-type", "application/grpc"],
    ]);
    const ok = new HeaderTemplate([["grpc-status", "0"]]);
    server = await listenHttp2({
      host: "127.0.0.1",
      port: 0,
      request(stream, block) {
        const content: Buffer[] = [];
        return {
          headers() {},
          data(chunk, start, end, last) {
            content.push(Buffer.from(chunk.subarray(start, end)));
            stream.consume(end - start);
            if (!last) return;
            seen.push({ block, parts: partsOf(Buffer.concat(content)) });
            stream.sendHeaders(head, undefined, false);
            if (block.path === `${path}Score`) stream.write(noBytes, Buffer.alloc(5), false);
            stream.endWith(ok, undefined);
          },
          reset() {},
          writable() {},
        };
      },
    });
    transport = connect(`127.0.0.1:${server.port}`, { messageBytesMax, ...options });
    return { client: createClient(gateway.GatewayService, transport, []), seen };
  }

  test("go compressed where that is set, or where a call says so", async () => {
    const { client, seen } = await open({ compression: { bytesMin: 100 } });
    await client.score({ scenario: large }, { timeoutMs: 5_000 });
    await client.score({ scenario: "small" });
    await client.score({ scenario: large }, { compress: false });
    expect(
      seen.map(({ block, parts }) => [block.get("grpc-encoding"), parts.map((part) => part.isCompressed)]),
    ).toEqual([
      ["gzip", [true]],
      ["gzip", [false]],
      [undefined, [false]],
    ]);
    for (const { block } of seen) expect(block.get("grpc-accept-encoding")).toBe("identity,gzip");
    await transport.close();
    await server.drain(0);
    const other = await open({});
    await other.client.score({ scenario: large });
    await other.client.score({ scenario: large }, { compress: true });
    expect(other.seen.map(({ parts }) => parts[0]?.isCompressed)).toEqual([false, true]);
  });

  test("of a stream go compressed one by one, in order", async () => {
    const { client, seen } = await open({ compression: { bytesMin: 100 } });
    const requests = async function* () {
      for (const id of [large, "a", "b", large]) yield { id };
    };
    for await (const _answer of client.scoreStream(requests()));
    expect(seen[0]?.parts.map((part) => part.isCompressed)).toEqual([true, false, false, true]);
  });

  test("many at once go as they are rather than wait", async () => {
    const { client, seen } = await open({ compression: { bytesMin: 100 } });
    await Promise.all(Array.from({ length: 40 }, () => client.score({ scenario: large })));
    const compressed = seen.filter(({ parts }) => parts[0]?.isCompressed === true).length;
    expect(compressed).toBeGreaterThanOrEqual(4);
    expect(new Set(seen.map(({ parts }) => parts[0]?.bytes.length)).size).toBe(1);
    expect(seen.length).toBe(40);
  });

  test("that are cancelled while they are compressed are not sent", async () => {
    const { client, seen } = await open({ compression: { bytesMin: 100 } });
    await client.score({ scenario: "first" });
    const abort = new AbortController();
    const work = client.score({ scenario: large }, { signal: abort.signal }).catch(({ code }) => code);
    abort.abort();
    expect(await work).toBe(1);
    await client.score({ scenario: "last" });
    expect(seen.length).toBe(2);
  });
});
