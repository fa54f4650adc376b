import { describe, expect, test } from "@jest/globals";
import { seededBelow } from "@weft/repeatable";
import { Connection } from "./connection.ts";
import { HeaderTemplate } from "./hpack-encoder.ts";
import { defaultHttp2Options, type Http2Options } from "./options.ts";
import type { Stream, StreamReceiver } from "./stream.ts";
import { FakeSocket } from "./testing/fake-socket.ts";
import { clientHello, frame, getBlock, postBlock, readFrames, uint32 } from "./testing/frames.ts";

const answer = new HeaderTemplate([[":status", "200"]]);

/** A server's connection that notes what its streams are told. */
function openServer(options: Partial<Http2Options> = {}, consume = true) {
  const socket = new FakeSocket();
  const log: string[] = [];
  const streams: Stream[] = [];
  const receiverOf = (stream: Stream): StreamReceiver => {
    let content = "";
    return {
      headers: (block) => log.push(`${stream.id} trailers ${block.fields.join("=")}`),
      data(chunk, start, end, last) {
        content += chunk.toString("latin1", start, end);
        if (consume) stream.consume(end - start);
        if (last) log.push(`${stream.id} content ${content}`);
      },
      reset: (code, cause) => log.push(`${stream.id} reset ${code} ${cause} after "${content}"`),
      writable: () => log.push(`${stream.id} writable`),
    };
  };
  const connection = new Connection(
    socket.asSocket(),
    true,
    { ...defaultHttp2Options, ...options },
    {
      request(stream, block, end) {
        log.push(`${stream.id} ${block.method} ${block.path} ${block.fields.join("=")} ${end}`);
        streams.push(stream);
        return receiverOf(stream);
      },
      ready: () => log.push("ready"),
      capacity() {},
      draining: () => log.push("draining"),
      closed() {},
    },
  );
  /** Frames sent since the last call. */
  const sent = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    return readFrames(Buffer.concat(socket.written.splice(0))).frames;
  };
  return { socket, connection, log, streams, sent };
}

const headersOf = (id: number, block: Buffer, flags: number) => frame(1, flags, id, block);
const end = 1;
const whole = 4;

describe("frames", () => {
  /** One of everything, with padding, priority and continuations. */
  const everything = Buffer.concat([
    clientHello,
    headersOf(1, getBlock, end | whole),
    frame(1, 8 | 32, 3, Buffer.concat([Buffer.from("02000000000f", "hex"), postBlock, Buffer.alloc(2)])),
    frame(9, 0, 3, "400161"),
    frame(9, whole, 3, "0162"),
    frame(0, 0, 3, Buffer.from("hello ")),
    frame(0, 8, 3, Buffer.concat([Buffer.from([3]), Buffer.from("padded "), Buffer.alloc(3)])),
    frame(6, 0, 0, "0102030405060708"),
    frame(2, 0, 3, "0000000010"),
    frame(8, 0, 0, uint32(1_000)),
    frame(8, 0, 3, uint32(1_000)),
    frame(200, 7, 3, Buffer.from("unknown")),
    frame(4, 0, 0, "000400010000"),
    frame(4, 1, 0),
    frame(0, 0, 3, Buffer.from("world")),
    frame(1, end | whole, 3, "be"),
    headersOf(5, postBlock, whole),
    frame(0, 0, 5, Buffer.from("to be reset")),
    frame(3, 0, 5, uint32(8)),
    headersOf(7, postBlock, whole),
    frame(0, end, 7, Buffer.from("the last")),
  ]);
  const run = (chunks: readonly Buffer[]) => {
    const { socket, connection, log } = openServer();
    for (const chunk of chunks) socket.feed(chunk);
    connection.destroy();
    return log;
  };
  const expected = run([everything]);

  test("are read as they are meant", () => {
    expect(expected.slice(0, 8)).toEqual([
      "ready",
      "1 GET /  true",
      "3 POST / a=b false",
      "3 trailers a=b",
      "5 POST /  false",
      '5 reset 8 peer after "to be reset"',
      "7 POST /  false",
      "7 content the last",
    ]);
  });

  /** Streams are told of their connection's end so many a turn. */
  const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

  test("are read the same wherever the socket cuts them", async () => {
    for (let cut = 1; cut < everything.length; cut++) {
      expect([cut, run([everything.subarray(0, cut), everything.subarray(cut)])]).toEqual([cut, expected]);
      await nextTurn();
    }
    expect(run(Array.from(everything, (octet) => Buffer.from([octet])))).toEqual(expected);
  });

  test("are read the same in chunks of any sizes", async () => {
    const seed = Date.now();
    const random = seededBelow(seed);
    for (let round = 0; round < 200; round++) {
      const chunks: Buffer[] = [];
      for (let at = 0; at < everything.length; ) {
        const size = 1 + random(40);
        chunks.push(everything.subarray(at, at + size));
        at += size;
      }
      expect([seed, run(chunks)]).toEqual([seed, expected]);
      await nextTurn();
    }
  });
});

test("thousands of streams are told of their connection's end over several turns", async () => {
  const count = 3_000;
  const opened = Array.from({ length: 2 }, () => openServer({ concurrentStreamsMax: count }));
  for (const { socket } of opened) {
    const requests = Array.from({ length: count }, (_, index) => headersOf(index * 2 + 1, postBlock, whole));
    socket.feed(Buffer.concat([clientHello, ...requests]));
  }
  const nextTurn = () => new Promise((resolve) => setImmediate(resolve));
  for (let turns = 0; turns < 1_000 && opened.some(({ log }) => log.length < count + 1); turns++) await nextTurn();
  const resets = () => opened.map(({ log }) => log.filter((line) => line.includes(" reset ")).length);
  for (const { connection } of opened) connection.destroy();
  const [atOnce = 0, later] = resets();
  expect(atOnce).toBeLessThan(count / 4);
  expect(later).toBe(0);
  for (let turns = 0; turns < 1_000 && resets()[1] !== count; turns++) await nextTurn();
  expect(resets()).toEqual([count, count]);
});

test("thousands of requests of one read are taken over several turns, all of them and in order", async () => {
  const { socket, log } = openServer({ concurrentStreamsMax: 10_000 });
  const count = 3_000;
  const requests = Array.from({ length: count }, (_, index) => headersOf(index * 2 + 1, getBlock, end | whole));
  socket.feed(Buffer.concat([clientHello, ...requests]));
  const atOnce = log.length;
  expect(atOnce).toBeLessThan(count / 4);
  // What comes later waits behind what was not taken yet.
  requests.push(headersOf(count * 2 + 1, getBlock, end | whole));
  socket.push(requests.at(-1));
  for (let turns = 0; turns < 1_000 && log.length < requests.length + 1; turns++)
    await new Promise((resolve) => setImmediate(resolve));
  expect(log).toEqual(["ready", ...requests.map((_, index) => `${index * 2 + 1} GET /  true`)]);
});

test("no bytes make a connection throw, hang or forget what is open", () => {
  const seed = Date.now();
  const random = seededBelow(seed);
  const sound = [
    headersOf(1, getBlock, end | whole),
    headersOf(3, postBlock, whole),
    frame(0, 0, 3, Buffer.from("content")),
    frame(0, end | 8, 3, "0100"),
    frame(1, 8 | 32 | whole, 5, Buffer.concat([Buffer.from("010000000010", "hex"), postBlock, Buffer.alloc(1)])),
    frame(9, whole, 5, "400161016240026363026464"),
    frame(1, 0, 7, getBlock),
    frame(9, whole, 7, "be"),
    frame(3, 0, 5, uint32(8)),
    frame(4, 0, 0, "000100000000000400000005"),
    frame(4, 1, 0),
    frame(6, 0, 0, "0102030405060708"),
    frame(7, 0, 0, "0000000000000000"),
    frame(8, 0, 3, uint32(70_000)),
    frame(8, 0, 0, uint32(2 ** 31 - 1)),
    frame(2, 0, 9, "0000000110"),
  ];
  for (let round = 0; round < 3_000; round++) {
    const { socket, connection, streams } = openServer();
    socket.feed(clientHello);
    const frames = Array.from({ length: 1 + random(12) }, () =>
      Buffer.from(sound[random(sound.length)] ?? clientHello),
    );
    for (const one of frames) {
      for (let times = random(3); times > 0; times--) one[random(one.length)] = random(256);
      if (random(4) === 0) one[8] = random(12);
    }
    const bytes = Buffer.concat(frames);
    try {
      for (let at = 0; at < bytes.length; ) {
        const size = 1 + random(60);
        socket.feed(bytes.subarray(at, at + size));
        at += size;
        const stream = streams[random(streams.length + 1)];
        if (random(3) === 0) stream?.sendHeaders(answer, undefined, random(2) === 0);
        if (random(3) === 0) stream?.write(new Uint8Array(2), Buffer.alloc(random(40_000)), random(2) === 0);
        if (random(9) === 0) stream?.reset(8);
      }
      for (const stream of streams)
        if (!stream.gone && !connection.streams.values().includes(stream)) throw new Error("lost");
      connection.destroy();
      if (connection.streams.size > 0 || streams.some(({ gone }) => !gone)) throw new Error("a stream is left");
    } catch (error) {
      throw new Error(`seed ${seed}, round ${round}: ${String(error)}`, { cause: error });
    }
  }
});

describe("flow control", () => {
  test("content waits for the stream's window, then for the connection's, and is sent in order", async () => {
    const { socket, streams, sent, log } = openServer();
    socket.feed(Buffer.concat([clientHello, frame(4, 0, 0, "000400000005"), headersOf(1, getBlock, end | whole)]));
    await sent();
    const [stream] = streams;
    stream?.sendHeaders(answer, undefined, false);
    const content = Buffer.from("0123456789".repeat(10_000));
    expect(stream?.write(new Uint8Array(0), content, true)).toBe(true);
    const dataOf = (frames: Awaited<ReturnType<typeof sent>>) =>
      Buffer.concat(frames.filter(({ type }) => type === 0).map(({ payload }) => payload)).toString();
    let got = dataOf(await sent());
    expect(got).toBe("01234");
    socket.feed(frame(8, 0, 1, uint32(1_000_000)));
    got += dataOf(await sent());
    expect(got.length).toBe(65_535);
    socket.feed(frame(8, 0, 0, uint32(20_000)));
    got += dataOf(await sent());
    expect(got.length).toBe(85_535);
    socket.feed(frame(8, 0, 0, uint32(1_000_000)));
    const last = await sent();
    got += dataOf(last);
    expect(got).toBe(content.toString());
    expect(last.at(-1)?.flags).toBe(1);
    expect(log).toEqual(["ready", "1 GET /  true"]);
  });

  test("a writer far ahead is asked to wait, and told when it may go on", async () => {
    const { socket, streams, sent, log } = openServer({ streamBufferBytes: 1_000 });
    socket.feed(Buffer.concat([clientHello, frame(4, 0, 0, "000400000000"), headersOf(1, getBlock, end | whole)]));
    const [stream] = streams;
    stream?.sendHeaders(answer, undefined, false);
    expect(stream?.write(new Uint8Array(0), Buffer.alloc(1_000), false)).toBe(true);
    expect(stream?.write(new Uint8Array(0), Buffer.alloc(1), false)).toBe(false);
    socket.feed(frame(8, 0, 1, uint32(5_000)));
    expect(log.at(-1)).toBe("1 writable");
    expect((await sent()).filter(({ type }) => type === 0).reduce((sum, { payload }) => sum + payload.length, 0)).toBe(
      1_001,
    );
  });

  test("writers of one connection wait together when they hold too much, and whoever has sent goes on", async () => {
    const limits = { streamBufferBytes: 1_000, connectionBufferBytes: 1_500, connectionBufferBytesMax: 10_000 };
    const { socket, streams, log } = openServer(limits);
    const requests = [1, 3, 5].map((id) => headersOf(id, getBlock, end | whole));
    socket.feed(Buffer.concat([clientHello, frame(4, 0, 0, "000400000000"), ...requests]));
    const [one, two, three] = streams;
    const write = (stream: Stream | undefined, size: number) =>
      stream?.write(new Uint8Array(0), Buffer.alloc(size), false);
    expect(write(one, 1_000)).toBe(true);
    expect(write(two, 1_000)).toBe(false);
    expect(write(three, 1)).toBe(false);
    socket.feed(frame(8, 0, 3, uint32(5_000)));
    expect(log.at(-1)).toBe("3 writable");
    expect(write(two, 1_000)).toBe(true);
    socket.feed(Buffer.concat([frame(3, 0, 1, uint32(8)), frame(8, 0, 5, uint32(1))]));
    expect(log.at(-1)).toBe("5 writable");
  });

  test("what nobody consumes is not given back, and what is consumed is", async () => {
    const { socket, streams, sent } = openServer({ streamWindowBytes: 65_535, connectionWindowBytes: 131_070 }, false);
    socket.feed(Buffer.concat([clientHello, frame(4, 1, 0), headersOf(1, postBlock, whole)]));
    await sent();
    for (let part = 0; part < 3; part++) socket.feed(frame(0, 0, 1, Buffer.alloc(16_384)));
    expect((await sent()).filter(({ type }) => type === 8)).toEqual([]);
    streams[0]?.consume(3 * 16_384);
    const updates = (await sent()).filter(({ type }) => type === 8);
    expect(updates.map(({ id, payload }) => [id, payload.readUInt32BE()])).toEqual([[1, 3 * 16_384]]);
  });

  test("a peer beyond the stream's window loses the stream, beyond the connection's the connection", async () => {
    const one = openServer({ streamWindowBytes: 10 }, false);
    one.socket.feed(Buffer.concat([clientHello, frame(4, 1, 0), headersOf(1, postBlock, whole)]));
    await one.sent();
    one.socket.feed(frame(0, 0, 1, Buffer.alloc(11)));
    expect(one.log.at(-1)).toBe('1 reset 3 fault after ""');
    expect((await one.sent()).map(({ type, payload }) => [type, payload.readUInt32BE()])).toEqual([[3, 3]]);
    const two = openServer({ connectionWindowBytes: 65_535 }, false);
    two.socket.feed(Buffer.concat([clientHello, frame(4, 1, 0), headersOf(1, postBlock, whole)]));
    await two.sent();
    for (let part = 0; part < 4; part++) two.socket.feed(frame(0, 0, 1, Buffer.alloc(16_384)));
    const goAways = (await two.sent()).filter(({ type }) => type === 7);
    expect(goAways.map(({ payload }) => payload.readUInt32BE(4))).toEqual([3]);
  });
});

describe("drain", () => {
  test("says so twice, serves what came before the second time, and closes when it is done", async () => {
    const { socket, connection, streams, sent, log } = openServer();
    socket.feed(Buffer.concat([clientHello, frame(4, 1, 0), headersOf(1, getBlock, end | whole)]));
    await sent();
    connection.drain();
    const [first, ping] = await sent();
    expect([first?.type, first?.payload.readUInt32BE(0)]).toEqual([7, 2 ** 31 - 1]);
    socket.feed(headersOf(3, getBlock, end | whole));
    socket.feed(frame(6, 1, 0, ping?.payload ?? ""));
    const [second] = await sent();
    expect([second?.type, second?.payload.readUInt32BE(0)]).toEqual([7, 3]);
    socket.feed(headersOf(5, getBlock, end | whole));
    for (const stream of streams) stream.sendHeaders(answer, undefined, true);
    await sent();
    expect(log).toEqual(["ready", "1 GET /  true", "draining", "3 GET /  true"]);
    expect(socket.writableEnded).toBe(true);
  });
});

describe("windows that grow to the path", () => {
  const options = { streamWindowBytes: 100_000, streamWindowBytesMax: 400_000, connectionWindowBytes: 100_000 };
  const content = (bytes: number) =>
    Buffer.concat(Array.from({ length: bytes / 10_000 }, () => frame(0, 0, 1, Buffer.alloc(10_000))));
  const grants = (frames: readonly { type: number; id: number; payload: Buffer }[], stream: number) =>
    frames
      .filter(({ type, id }) => type === 8 && id === stream)
      .reduce((sum, { payload }) => sum + payload.readUInt32BE(), 0);

  test("twice what is read within a round trip, and larger frames from then on", async () => {
    const { socket, sent } = openServer({ ...options, connectionWindowBytesMax: 250_000 });
    socket.feed(Buffer.concat([clientHello, frame(4, 1, 0), headersOf(1, postBlock, whole)]));
    await sent();
    socket.feed(content(30_000));
    const first = await sent();
    const ping = first.find(({ type, flags }) => type === 6 && flags === 0);
    expect(ping).toBeDefined();
    socket.feed(content(60_000));
    const second = await sent();
    socket.feed(frame(6, 1, 0, ping?.payload ?? ""));
    const third = await sent();
    expect(third.find(({ type }) => type === 4)?.payload.toString("hex")).toBe("000500020000");
    socket.feed(content(70_000));
    const all = [...first, ...second, ...third, ...(await sent())];
    // Granted beyond what was read: by how much the windows have grown.
    const beyond = (stream: number) => grants(all, stream) - 160_000;
    expect(beyond(1)).toBeGreaterThan(0);
    expect(beyond(1)).toBeLessThanOrEqual(100_000);
    expect(beyond(0)).toBeGreaterThan(0);
    expect(beyond(0)).toBeLessThanOrEqual(150_000);
  });

  test("not for a reader that does not keep up", async () => {
    const { socket, sent } = openServer(options, false);
    socket.feed(Buffer.concat([clientHello, frame(4, 1, 0), headersOf(1, postBlock, whole), content(100_000)]));
    expect((await sent()).filter(({ type, flags }) => (type === 6 && flags === 0) || type === 8)).toEqual([
      expect.objectContaining({ type: 8, id: 0 }),
    ]);
  });
});
