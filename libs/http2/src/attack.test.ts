import { afterEach, describe, expect, test } from "@jest/globals";
import { connectHttp2 } from "./client.ts";
import type { Connection } from "./connection.ts";
import { HeaderTemplate } from "./hpack-encoder.ts";
import type { Http2Options } from "./options.ts";
import type { Http2Server } from "./server.ts";
import { listenEcho } from "./testing/echo-server.ts";
import { clientHello, frame, getBlock, postBlock, uint32 } from "./testing/frames.ts";
import { RawPeer } from "./testing/raw-peer.ts";

const get = new HeaderTemplate([
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/"],
  [":authority", "x"],
]);
const end = 1;
const whole = 4;
const enhanceYourCalm = 11;
/** Longest wait of a bystander: on a free core its answer takes milliseconds; beside other suites the bound tells alive from starved. */
const answerMaxMs = 1_000;

let server: Http2Server;
let bystander: Connection;
let attacker: RawPeer;

/** Starts a server, a connection that wants answers all the while, and a peer that means no good. */
async function open(options: Partial<Http2Options>, hello: Uint8Array = clientHello): Promise<void> {
  server = await listenEcho(options);
  bystander = await connectHttp2({ host: "127.0.0.1", port: server.port });
  attacker = new RawPeer(server.port, hello);
}

/** Time of one request of the bystander's, in milliseconds. */
function ask(): Promise<number> {
  const start = performance.now();
  return new Promise((resolve, reject) => {
    const stream = bystander.open({
      headers() {},
      data(_chunk, _start, _end, last) {
        if (last) resolve(performance.now() - start);
      },
      reset: () => reject(new Error("the bystander's stream was reset")),
      writable() {},
    });
    stream.sendHeaders(get, undefined, true);
  });
}

/** The bystander's slowest answer until the condition holds. */
async function slowestUntil(condition: (peer: RawPeer) => boolean): Promise<number> {
  let over = false;
  const waiting = attacker.until(condition).finally(() => {
    over = true;
  });
  let slowest = 0;
  while (!over) {
    slowest = Math.max(slowest, await ask());
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await waiting;
  return Math.max(slowest, await ask());
}

const repeat = (count: number, make: (index: number) => Buffer) =>
  Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));

afterEach(async () => {
  attacker?.destroy();
  bystander?.destroy();
  await server?.drain(0);
});

/** An index in HPACK beyond the static table: the newest dynamic entry. */
const newest = 0xbe;

describe("a flood ends the connection that sends it, and only that", () => {
  const floods: readonly (readonly [string, Partial<Http2Options>, () => Buffer])[] = [
    [
      "rapid reset",
      { resetsPerSecondMax: 500 },
      () =>
        repeat(2_000, (index) =>
          Buffer.concat([frame(1, whole, index * 2 + 1, postBlock), frame(3, 0, index * 2 + 1, uint32(8))]),
        ),
    ],
    [
      "streams beyond the limit",
      { concurrentStreamsMax: 10, resetsPerSecondMax: 500 },
      () => repeat(2_000, (index) => frame(1, whole, index * 2 + 1, postBlock)),
    ],
    [
      "CONTINUATION without end",
      {},
      () => Buffer.concat([frame(1, 0, 1, getBlock), repeat(100, () => frame(9, 0, 1, "0001610162"))]),
    ],
    [
      "CONTINUATION of a block too large",
      { continuationsMax: 1_000 },
      () => Buffer.concat([frame(1, 0, 1, getBlock), repeat(20, () => frame(9, 0, 1, Buffer.alloc(16_384)))]),
    ],
    ["SETTINGS", {}, () => repeat(5_000, () => frame(4, 0, 0, "000300000064"))],
    ["PING", { pingsPerSecondMax: 1_000 }, () => repeat(10_000, () => frame(6, 0, 0, "0000000000000000"))],
    ["answers to no PING", {}, () => repeat(20_000, () => frame(6, 1, 0, "0000000000000000"))],
    ["empty DATA", {}, () => Buffer.concat([frame(1, whole, 1, postBlock), repeat(20_000, () => frame(0, 0, 1))])],
    ["PRIORITY", {}, () => repeat(20_000, () => frame(2, 0, 1, "0000000310"))],
    ["unknown frames", {}, () => repeat(20_000, () => frame(77, 0, 1, "00"))],
    ["faulty requests", { resetsPerSecondMax: 500 }, () => repeat(3_000, (index) => frame(1, 5, index * 2 + 1, "82"))],
    [
      "WINDOW_UPDATE of nothing",
      { resetsPerSecondMax: 500 },
      () =>
        repeat(3_000, (index) =>
          Buffer.concat([frame(1, whole, index * 2 + 1, postBlock), frame(8, 0, index * 2 + 1, uint32(0))]),
        ),
    ],
  ];

  test.each(floods)("%s", async (_name, options, make) => {
    await open(options);
    const flood = make();
    attacker.send(flood);
    const slowest = await slowestUntil((peer) => peer.closed);
    expect(attacker.goAwayCode).toBe(enhanceYourCalm);
    expect(slowest).toBeLessThan(answerMaxMs);
    expect(server.connections.size).toBe(1);
  });
});

test("an HPACK bomb is not built: the stream is refused, and the connection lives", async () => {
  await open({});
  const value = Buffer.alloc(3_900, 0x61);
  const seed = Buffer.concat([getBlock, Buffer.from("40016b7fbd1d", "hex"), value]);
  attacker.send(frame(1, end | whole, 1, seed));
  // 16,000 times 3,900 bytes, in one frame.
  const bomb = Buffer.concat([getBlock, Buffer.alloc(16_000, newest)]);
  attacker.send(frame(1, end | whole, 3, bomb), frame(1, end | whole, 5, bomb));
  attacker.send(frame(1, end | whole, 7, getBlock));
  const slowest = await slowestUntil((peer) => peer.frames.some(({ type, id }) => type === 0 && id === 7));
  expect(
    attacker.frames.filter(({ type }) => type === 3).map(({ id, payload }) => [id, payload.readUInt32BE()]),
  ).toEqual([
    [3, enhanceYourCalm],
    [5, enhanceYourCalm],
  ]);
  expect(slowest).toBeLessThan(answerMaxMs);
});

test("a window beyond 2^31 - 1 is refused", async () => {
  await open({});
  attacker.send(frame(8, 0, 0, uint32(2 ** 31 - 1)));
  await attacker.until((peer) => peer.goAwayCode === 3);
});

test("a peer whose window stays at zero is answered nothing, and holds nobody up", async () => {
  await open({});
  attacker.send(frame(4, 0, 0, "000400000000"));
  attacker.send(repeat(500, (index) => frame(1, end | whole, index * 2 + 1, getBlock)));
  const slowest = await slowestUntil((peer) => peer.frames.filter(({ type }) => type === 1).length === 500);
  expect(attacker.frames.filter(({ type }) => type === 0).length).toBe(0);
  expect(slowest).toBeLessThan(answerMaxMs);
});

test("a peer that lets answers pile up loses its connection, alone", async () => {
  await open({ connectionBufferBytes: 100_000, connectionBufferBytesMax: 1_000_000 });
  attacker.send(frame(4, 0, 0, "000400000000"));
  attacker.send(
    repeat(200, (index) => {
      const id = index * 2 + 1;
      return Buffer.concat([frame(1, whole, id, postBlock), frame(0, end, id, Buffer.alloc(16_000))]);
    }),
  );
  await slowestUntil((peer) => peer.closed);
  expect(attacker.goAwayCode).toBe(enhanceYourCalm);
  // The server hears of the socket's end a moment later.
  for (let tries = 0; server.connections.size > 1 && tries < 100; tries++) await ask();
  expect(server.connections.size).toBe(1);
});

test("a peer that sends and does not read is read no more, and holds a bounded number of bytes", async () => {
  await open({ socketBufferBytes: 262_144, concurrentStreamsMax: 100_000 });
  attacker.socket.pause();
  attacker.send(frame(4, 0, 0, "00047fffffff"), frame(8, 0, 0, uint32(2 ** 30)));
  let slowest = 0;
  let buffered = 0;
  for (let round = 0; round < 10; round++) {
    attacker.send(
      repeat(500, (index) => {
        const id = (round * 500 + index) * 2 + 1;
        return Buffer.concat([frame(1, whole, id, postBlock), frame(0, end, id, Buffer.alloc(8_000))]);
      }),
    );
    slowest = Math.max(slowest, await ask());
    await new Promise((resolve) => setTimeout(resolve, 5));
    for (const connection of server.connections) buffered = Math.max(buffered, connection.bufferedBytes);
  }
  // All of the answers are 40 MB.
  expect(buffered).toBeGreaterThan(262_144);
  expect(buffered).toBeLessThan(2_000_000);
  expect(slowest).toBeLessThan(answerMaxMs);
});

describe("peers that fall silent", () => {
  test("before the preface", async () => {
    await open({ handshakeTimeoutMs: 200 }, new Uint8Array(0));
    const start = performance.now();
    await attacker.until((peer) => peer.closed);
    expect(performance.now() - start).toBeLessThan(2_000);
    await ask();
  });

  test("without acknowledging SETTINGS", async () => {
    await open({ settingsTimeoutMs: 200 });
    await attacker.until((peer) => peer.goAwayCode === 4 && peer.closed);
    await ask();
  });

  test("half open: no answer to a PING", async () => {
    await open({ keepaliveMs: 100, keepaliveTimeoutMs: 200 });
    attacker.send(frame(4, 1, 0));
    await attacker.until((peer) => peer.frames.some(({ type, flags }) => type === 6 && flags === 0));
    await attacker.until((peer) => peer.closed);
    await ask();
  });

  test("idle for too long: told so, and closed", async () => {
    await open({ idleTimeoutMs: 200 });
    attacker.send(frame(4, 1, 0));
    await attacker.until((peer) => peer.goAwayCode === 0);
    const ping = attacker.frames.find(({ type }) => type === 6);
    attacker.send(frame(6, 1, 0, ping?.payload ?? ""));
    await attacker.until((peer) => peer.closed);
  });
});

test("a connection that is no HTTP/2 is closed", async () => {
  await open({}, Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
  await attacker.until((peer) => peer.closed);
  await ask();
});
