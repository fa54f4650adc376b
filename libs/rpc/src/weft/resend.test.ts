import { connect as connectSocket, createServer } from "node:net";
import { afterEach, describe, expect, test } from "@jest/globals";
import { gateway, health } from "@weft/contracts";
import { Code, type WeftError } from "@weft/errors";
import {
  ErrorCode,
  type HeaderBlock,
  HeaderTemplate,
  type Http2Server,
  listenHttp2,
  type Stream,
  type StreamReceiver,
} from "@weft/http2";
import { createClient, type Listener, ServiceRouter, type Transport } from "../index.ts";
import { connect } from "./client.ts";
import { listen } from "./server.ts";

const messageBytesMax = 100_000;
const noBytes = new Uint8Array(0);
const head = new HeaderTemplate([
  [":status", "200"],
  ["content-type", "application/grpc"],
]);
const ok = new HeaderTemplate([["grpc-status", "0"]]);

let servers: Http2Server[] = [];
let transport: Transport | undefined;
afterEach(async () => {
  await transport?.close();
  for (const server of servers) await server.drain(0);
  servers = [];
});

interface Request {
  readonly stream: Stream;
  readonly block: HeaderBlock;
  readonly content: Buffer;
}

/** A server that does with each whole request what it is told to. */
async function serve(
  answer: (request: Request, index: number) => void,
): Promise<{ port: number; requests: Request[] }> {
  const requests: Request[] = [];
  const server = await listenHttp2({
    host: "127.0.0.1",
    port: 0,
    request: (stream, block): StreamReceiver => {
      const parts: Buffer[] = [];
      return {
        headers() {},
        data(chunk, start, end, last) {
          parts.push(Buffer.from(chunk.subarray(start, end)));
          stream.consume(end - start);
          if (!last) return;
          const request = { stream, block, content: Buffer.concat(parts) };
          requests.push(request);
          answer(request, requests.length - 1);
        },
        reset() {},
        writable() {},
      };
    },
  });
  servers.push(server);
  return { port: server.port, requests };
}

function succeed({ stream }: Request): void {
  stream.sendHeaders(head, undefined, false);
  stream.write(noBytes, Buffer.from("00000000020801", "hex"), false);
  stream.endWith(ok, undefined);
}
const refuse = ({ stream }: Request) => stream.reset(ErrorCode.RefusedStream);

function client(target: string) {
  transport = connect(target, { messageBytesMax });
  return createClient(health.Health, transport, []);
}

async function failure(work: Promise<unknown>): Promise<WeftError> {
  try {
    await work;
  } catch (error) {
    return error as WeftError;
  }
  throw new Error("the call did not fail");
}

describe("a call that the peer has not begun", () => {
  test("is sent once more as it was when its stream is refused", async () => {
    const { port, requests } = await serve((request, index) => (index === 0 ? refuse : succeed)(request));
    const options = { timeoutMs: 5_000, tenant: "t", metadata: { "x-custom": "value" } };
    expect((await client(`127.0.0.1:${port}`).check({ service: "abc" }, options)).status).toBe(1);
    expect(requests.length).toBe(2);
    const [first, second] = requests;
    expect(second?.content).toEqual(first?.content);
    const fieldsOf = (request: Request | undefined) => {
      const { fields } = request?.block ?? { fields: [] };
      return fields.filter((_, index) => fields[index % 2 === 0 ? index : index - 1] !== "grpc-timeout");
    };
    expect(fieldsOf(second)).toEqual(fieldsOf(first));
    for (const { block } of requests) expect(block.fields.filter((name) => name === "grpc-timeout").length).toBe(1);
  });

  test("is sent elsewhere", async () => {
    const first = await serve(refuse);
    const second = await serve(succeed);
    const health = client(`ipv4:127.0.0.1:${first.port},127.0.0.1:${second.port}`);
    await failure(health.check({}, { timeoutMs: 5_000 })).catch(() => {});
    // Both are connected soon; from then on no call fails.
    for (let tries = 0; second.requests.length === 0 && tries < 1_000; tries++) await health.check({}).catch(() => {});
    const before = first.requests.length;
    for (let call = 0; call < 20; call++) expect((await health.check({}, { timeoutMs: 5_000 })).status).toBe(1);
    expect(first.requests.length - before).toBeGreaterThan(5);
  });

  test("is sent once more, and then no more", async () => {
    const { port, requests } = await serve(refuse);
    const error = await failure(client(`127.0.0.1:${port}`).check({}, { timeoutMs: 5_000 }));
    expect(error).toMatchObject({ code: Code.Unavailable, reason: "CONNECTION_LOST" });
    expect(requests.length).toBe(2);
  });

  test("is sent on another connection when its own goes away before it", async () => {
    const { port, requests } = await serve(succeed);
    const settings = Buffer.from("000000040000000000", "hex");
    // It names no stream: nothing of this connection was begun.
    const goAway = Buffer.from("0000080700000000000000000000000000", "hex");
    let connections = 0;
    const front = createServer((socket) => {
      socket.on("error", () => {});
      if (++connections > 1) {
        const back = connectSocket({ host: "127.0.0.1", port });
        back.on("error", () => {});
        socket.pipe(back).pipe(socket);
        return;
      }
      socket.write(settings);
      // The preface, SETTINGS and a window update come to less.
      let bytes = 0;
      socket.on("data", (chunk) => {
        bytes += chunk.length;
        if (bytes > 120) socket.write(goAway);
      });
    });
    await new Promise<void>((resolve) => front.listen(0, "127.0.0.1", resolve));
    const address = front.address();
    const frontPort = typeof address === "object" && address !== null ? address.port : 0;
    expect((await client(`127.0.0.1:${frontPort}`).check({}, { timeoutMs: 5_000 })).status).toBe(1);
    expect([connections, requests.length]).toEqual([2, 1]);
    await transport?.close();
    await new Promise<void>((resolve) => front.close(() => resolve()));
  });

  test("ends at its deadline all the same", async () => {
    const { port } = await serve((request, index) => {
      if (index === 0) refuse(request);
    });
    const start = Date.now();
    expect((await failure(client(`127.0.0.1:${port}`).check({}, { timeoutMs: 150 }))).code).toBe(Code.DeadlineExceeded);
    expect(Date.now() - start).toBeLessThan(2_000);
  });
});

describe("a call that the peer may have begun is never sent again", () => {
  test.each<[string, (request: Request) => void, number]>([
    ["a lost connection", ({ stream }) => stream.connection.destroy(), Code.Unavailable],
    ["another reset", ({ stream }) => stream.reset(ErrorCode.InternalError), Code.Internal],
    ["UNAVAILABLE", ({ stream }) => stream.sendHeaders(unavailable, undefined, true), Code.Unavailable],
    [
      "a stream refused after its headers",
      ({ stream }) => {
        stream.sendHeaders(head, undefined, false);
        setImmediate(() => stream.reset(ErrorCode.RefusedStream));
      },
      Code.Unavailable,
    ],
  ])("%s", async (_name, answer, code) => {
    const { port, requests } = await serve(answer);
    expect((await failure(client(`127.0.0.1:${port}`).check({}, { timeoutMs: 5_000 }))).code).toBe(code);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(requests.length).toBe(1);
  });

  const unavailable = new HeaderTemplate([
    [":status", "200"],
    ["content-type", "application/grpc"],
    ["grpc-status", String(Code.Unavailable)],
  ]);

  test("a stream of requests that the peer has answered", async () => {
    const streams = await scoring((stream, _index, bytes) => {
      if (bytes > 0) return;
      stream.sendHeaders(head, undefined, false);
      setImmediate(() => stream.reset(ErrorCode.RefusedStream));
    });
    expect((await failure(readAll(streams.port, numbered(3, 5)))).code).toBe(Code.Unavailable);
    expect(streams.contents.length).toBe(1);
  });

  test("a stream of requests longer than what is kept", async () => {
    const streams = await scoring((stream, _index, bytes) => {
      if (bytes > 70_000) stream.reset(ErrorCode.RefusedStream);
    });
    const many = async function* () {
      for (let part = 0; part < 100; part++) yield { id: "x".repeat(1_000) };
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    };
    expect((await failure(readAll(streams.port, many()))).code).toBe(Code.Unavailable);
    expect(streams.contents.length).toBe(1);
  });
});

describe("a stream of requests that is refused", () => {
  test.each<[string, number]>([
    ["before anything of it has come", 0],
    ["after some of it", 30],
  ])("%s is sent again from its beginning, each message once and in order", async (_name, atBytes) => {
    const streams = await scoring((stream, index, bytes) => {
      if (index === 0 && bytes >= atBytes) stream.reset(ErrorCode.RefusedStream);
    });
    const answers = await readAll(streams.port, numbered(20, 2));
    expect(streams.contents.length).toBe(2);
    const ids = (content: Buffer) => content.toString("latin1").match(/n\d+/g) ?? [];
    expect(ids(streams.contents[1] ?? Buffer.alloc(0))).toEqual(Array.from({ length: 20 }, (_, index) => `n${index}`));
    expect(answers).toBe(0);
  });

  test("as a whole, its end included", async () => {
    const streams = await scoring((stream, index, _bytes, last) => {
      if (index === 0 && last) stream.reset(ErrorCode.RefusedStream);
    });
    await readAll(streams.port, numbered(5, 0));
    expect(streams.contents.length).toBe(2);
    expect(streams.contents[1]).toEqual(streams.contents[0]);
  });
});

/** Requests that name their places, some milliseconds apart. */
async function* numbered(count: number, gapMs: number) {
  for (let index = 0; index < count; index++) {
    yield { id: `n${index}` };
    if (gapMs > 0) await new Promise((resolve) => setTimeout(resolve, gapMs));
  }
}

/** A server of streams that answers success to a whole one, unless it is told otherwise; keeps what came on each. */
async function scoring(act: (stream: Stream, index: number, bytes: number, last: boolean) => void) {
  const contents: Buffer[] = [];
  const server = await listenHttp2({
    host: "127.0.0.1",
    port: 0,
    request(stream) {
      const index = contents.push(Buffer.alloc(0)) - 1;
      setImmediate(() => act(stream, index, 0, false));
      return {
        headers() {},
        data(chunk, start, end, last) {
          stream.consume(end - start);
          contents[index] = Buffer.concat([contents[index] ?? Buffer.alloc(0), chunk.subarray(start, end)]);
          act(stream, index, contents[index]?.length ?? 0, last);
          if (!last || stream.gone) return;
          stream.sendHeaders(head, undefined, false);
          stream.endWith(ok, undefined);
        },
        reset() {},
        writable() {},
      };
    },
  });
  servers.push(server);
  return { port: server.port, contents };
}

/** Sends requests; answers how many answers came. */
async function readAll(port: number, requests: AsyncIterable<{ readonly id: string }>): Promise<number> {
  transport = connect(`127.0.0.1:${port}`, { messageBytesMax });
  let answers = 0;
  const scores = createClient(gateway.GatewayService, transport, []);
  for await (const _answer of scores.scoreStream(requests, { timeoutMs: 5_000 })) answers++;
  return answers;
}

test("a server that drains under load fails no call of a client that has another", async () => {
  const router = () => {
    const made = new ServiceRouter([]);
    made.serve(health.Health, {
      check: async () => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        return { status: 1 };
      },
      list: () => ({}),
      async *watch() {},
    });
    return made;
  };
  const start = (port = 0) => listen(router(), { host: "127.0.0.1", port, messageBytesMax, concurrentStreamsMax: 100 });
  const listeners: Listener[] = [await start(), await start()];
  const [one, other] = listeners.map(({ port }) => port) as [number, number];
  const target = client(`ipv4:127.0.0.1:${one},127.0.0.1:${other}`);
  let running = true;
  let answered = 0;
  const failures: unknown[] = [];
  const lane = async () => {
    while (running)
      await target.check({}, { timeoutMs: 5_000 }).then(
        () => answered++,
        (error) => failures.push(error),
      );
  };
  const lanes = Array.from({ length: 20 }, lane);
  for (let round = 0; round < 4; round++) {
    const index = round % 2;
    const port = listeners[index]?.port ?? 0;
    await new Promise((resolve) => setTimeout(resolve, 100));
    await listeners[index]?.drain(5_000);
    listeners[index] = await start(port);
    // Until the client is back on both.
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
  running = false;
  await Promise.all(lanes);
  expect(failures).toEqual([]);
  expect(answered).toBeGreaterThan(200);
  await transport?.close();
  for (const listener of listeners) await listener.drain(1_000);
});
