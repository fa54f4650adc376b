import { afterEach, describe, expect, test } from "@jest/globals";
import type { LimitName } from "./meter.ts";
import type { Http2Options } from "./options.ts";
import { received } from "./received-bytes.ts";
import { type Http2Server, listenHttp2 } from "./server.ts";
import type { Stream } from "./stream.ts";
import { frame, getBlock, postBlock } from "./testing/frames.ts";
import { RawPeer } from "./testing/raw-peer.ts";

const enhanceYourCalm = 11;
const whole = 4;

let server: Http2Server;
const peers: RawPeer[] = [];

/** A server whose streams keep what they get until they are told to read. */
async function open(options: Partial<Http2Options>) {
  const limits: LimitName[] = [];
  const streams: { readonly stream: Stream; unread: number; code: number | undefined }[] = [];
  server = await listenHttp2({
    host: "127.0.0.1",
    port: 0,
    http2: { ...options, processReceivedBytesMax: 300_000 },
    meter: { connections() {}, streams() {}, bytes() {}, reset() {}, limit: (name) => limits.push(name) },
    request(stream) {
      const kept = { stream, unread: 0, code: undefined as number | undefined };
      streams.push(kept);
      return {
        headers() {},
        data(_chunk, start, end) {
          kept.unread += end - start;
        },
        reset(code) {
          kept.code = code;
        },
        writable() {},
      };
    },
  });
  const connect = () => {
    const peer = new RawPeer(server.port);
    peer.send(frame(4, 1, 0));
    peers.push(peer);
    return peer;
  };
  return { limits, streams, connect };
}

const frames = (id: number, bytes: number) =>
  Buffer.concat(Array.from({ length: Math.ceil(bytes / 10_000) }, () => frame(0, 0, id, Buffer.alloc(10_000))));
const codeOf = (peer: RawPeer, stream: number) =>
  peer.frames.find(({ type, id }) => type === 3 && id === stream)?.payload.readUInt32BE();

afterEach(async () => {
  for (const peer of peers.splice(0)) peer.destroy();
  await server.drain(0);
});

describe("a bound over what all connections have received", () => {
  test("counts what is received and not read, and gives it back when it is read or its stream ends", async () => {
    const { streams, connect } = await open({});
    const [one, two] = [connect(), connect()];
    one.send(frame(1, whole, 1, postBlock), frames(1, 100_000));
    two.send(frame(1, whole, 1, postBlock), frames(1, 50_000));
    while (streams.reduce((sum, { unread }) => sum + unread, 0) < 150_000)
      await new Promise((resolve) => setTimeout(resolve, 5));
    expect(received.bytes).toBe(150_000);
    for (const { stream, unread } of streams) if (unread === 50_000) stream.consume(50_000);
    expect(received.bytes).toBe(100_000);
    one.destroy();
    while (server.connections.size > 1) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(received.bytes).toBe(0);
  });

  test("while it is full, new streams are refused and no window is granted; then both are again", async () => {
    const { limits, streams, connect } = await open({ streamWindowBytes: 400_000, streamWindowBytesMax: 400_000 });
    const [one, two] = [connect(), connect()];
    one.send(frame(1, whole, 1, postBlock), frames(1, 400_000));
    while ((streams[0]?.unread ?? 0) < 400_000) await new Promise((resolve) => setTimeout(resolve, 5));
    two.send(frame(1, 5, 1, getBlock));
    await two.until((peer) => codeOf(peer, 1) !== undefined);
    expect(codeOf(two, 1)).toBe(enhanceYourCalm);
    expect(limits).toEqual(["received_bytes"]);
    const granted = () => one.frames.filter(({ type, id }) => type === 8 && id === 1).length;
    streams[0]?.stream.consume(90_000);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(granted()).toBe(0);
    streams[0]?.stream.consume(210_000);
    await one.until(() => granted() > 0);
    two.send(frame(1, 5, 3, getBlock));
    while (streams.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  });

  test("what stays full gives up its largest stream, and the others live", async () => {
    const { streams, connect } = await open({ streamWindowBytes: 400_000 });
    const [one, two] = [connect(), connect()];
    one.send(frame(1, whole, 1, postBlock), frames(1, 250_000));
    two.send(frame(1, whole, 1, postBlock), frames(1, 20_000));
    two.send(frame(1, whole, 3, postBlock), frames(3, 60_000));
    await one.until((peer) => codeOf(peer, 1) !== undefined);
    expect(codeOf(one, 1)).toBe(enhanceYourCalm);
    expect(streams.map(({ unread, code }) => [unread, code]).sort(([a = 0], [b = 0]) => a - b)).toEqual([
      [20_000, undefined],
      [60_000, undefined],
      [250_000, enhanceYourCalm],
    ]);
    expect(received.bytes).toBe(80_000);
  });
});
