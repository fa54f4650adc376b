import { afterEach, describe, expect, test } from "@jest/globals";
import { connectHttp2 } from "./client.ts";
import { ErrorCode } from "./fault.ts";
import { HeaderTemplate } from "./hpack-encoder.ts";
import type { Http2Meter, LimitName } from "./meter.ts";
import type { Http2Options } from "./options.ts";
import type { Http2Server } from "./server.ts";
import { listenEcho } from "./testing/echo-server.ts";
import { clientHello, frame, getBlock, uint32 } from "./testing/frames.ts";
import { RawPeer } from "./testing/raw-peer.ts";

/** Keeps what it is told. */
class Tally implements Http2Meter {
  open = 0;
  opened = 0;
  openStreams = 0;
  streamsOpened = 0;
  receivedBytes = 0;
  sentBytes = 0;
  readonly resets: string[] = [];
  readonly limits: LimitName[] = [];

  connections(change: number): void {
    this.open += change;
    if (change > 0) this.opened++;
  }
  streams(change: number): void {
    this.openStreams += change;
    if (change > 0) this.streamsOpened++;
  }
  bytes(received: number, sent: number): void {
    this.receivedBytes += received;
    this.sentBytes += sent;
  }
  reset(direction: string, code: number): void {
    this.resets.push(`${direction} ${code}`);
  }
  limit(name: LimitName): void {
    this.limits.push(name);
  }
}

const get = new HeaderTemplate([
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/"],
  [":authority", "x"],
]);
const end = 1;
const whole = 4;

let server: Http2Server | undefined;
let peer: RawPeer | undefined;
afterEach(async () => {
  peer?.destroy();
  await server?.drain(0);
});

test("connections, streams, bytes and resets are the same on both sides, and none is left open", async () => {
  const [here, there] = [new Tally(), new Tally()];
  server = await listenEcho({}, undefined, there);
  const connection = await connectHttp2({ host: "127.0.0.1", port: server.port, meter: here });
  const ask = (reset: boolean) =>
    new Promise<void>((resolve) => {
      const stream = connection.open({
        headers() {},
        data: (_chunk, _start, _end, last) => {
          if (last) resolve();
        },
        reset() {},
        writable() {},
      });
      stream.sendHeaders(get, undefined, !reset);
      if (!reset) return;
      setTimeout(() => {
        stream.reset(ErrorCode.Cancel);
        resolve();
      }, 5);
    });
  for (let request = 0; request < 20; request++) await ask(request % 4 === 0);
  expect([here.open, there.open]).toEqual([1, 1]);
  connection.drain();
  for (let tries = 0; (here.open > 0 || there.open > 0) && tries < 500; tries++)
    await new Promise((resolve) => setTimeout(resolve, 10));
  for (const tally of [here, there]) {
    expect([tally.open, tally.opened, tally.openStreams, tally.streamsOpened]).toEqual([0, 1, 0, 20]);
    expect(tally.limits).toEqual([]);
  }
  expect(here.resets).toEqual(new Array(5).fill(`sent ${ErrorCode.Cancel}`));
  expect(there.resets).toEqual(new Array(5).fill(`received ${ErrorCode.Cancel}`));
  expect(here.sentBytes).toBeGreaterThan(200);
  expect([here.sentBytes, here.receivedBytes]).toEqual([there.receivedBytes, there.sentBytes]);
});

describe("a peer that runs into a limit is counted by its name", () => {
  const repeat = (count: number, make: (index: number) => Buffer) =>
    Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));
  const open = (id: number) => frame(1, whole | end, id, getBlock);
  test.each<[LimitName, Partial<Http2Options>, () => Buffer]>([
    ["pings", { pingsPerSecondMax: 5 }, () => repeat(6, () => frame(6, 0, 0, Buffer.alloc(8)))],
    ["settings", { settingsPerSecondMax: 5 }, () => repeat(6, () => frame(4, 0, 0))],
    ["empty_frames", { emptyFramesPerSecondMax: 5 }, () => repeat(6, () => frame(0xaa, 0, 0))],
    [
      "resets",
      { resetsPerSecondMax: 5 },
      () =>
        repeat(6, (index) =>
          Buffer.concat([frame(1, whole, 2 * index + 1, getBlock), frame(3, 0, 2 * index + 1, uint32(8))]),
        ),
    ],
    [
      "concurrent_streams",
      { concurrentStreamsMax: 2 },
      () => repeat(3, (index) => frame(1, whole, 2 * index + 1, getBlock)),
    ],
    [
      "header_block",
      { continuationsMax: 2 },
      () => Buffer.concat([frame(1, 0, 1, getBlock), repeat(3, () => frame(9, 0, 1, "00"))]),
    ],
    [
      "header_list",
      { headerListBytesMax: 200 },
      () =>
        frame(1, whole | end, 1, Buffer.concat([getBlock, Buffer.from("0001617f8101", "hex"), Buffer.alloc(256, 120)])),
    ],
    ["handshake_timeout", { handshakeTimeoutMs: 50 }, () => Buffer.alloc(0)],
    ["settings_timeout", { settingsTimeoutMs: 50 }, () => open(1)],
    ["idle_timeout", { idleTimeoutMs: 50 }, () => Buffer.concat([frame(4, 1, 0), open(1)])],
    ["keepalive_timeout", { keepaliveMs: 50, keepaliveTimeoutMs: 50 }, () => frame(4, 1, 0)],
  ])("%s", async (limit, options, bytes) => {
    const tally = new Tally();
    server = await listenEcho(options, undefined, tally);
    peer = new RawPeer(server.port, limit === "handshake_timeout" ? Buffer.from("PRI") : clientHello);
    peer.send(bytes());
    for (let tries = 0; tally.limits.length === 0 && tries < 300; tries++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    expect(tally.limits).toContain(limit);
    expect(new Set(tally.limits).size).toBe(1);
  });
});
