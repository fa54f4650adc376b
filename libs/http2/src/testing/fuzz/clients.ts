import { connect } from "node:http2";
import { Connection } from "../../connection.ts";
import { HeaderTemplate } from "../../hpack-encoder.ts";
import { defaultHttp2Options } from "../../options.ts";
import type { Stream } from "../../stream.ts";
import { FakeSocket } from "../fake-socket.ts";
import { requestIds } from "./conversation.ts";
import { limits } from "./servers.ts";
import type { Side } from "./side.ts";
import { fieldsText, type Told, verdictOf } from "./verdict.ts";

/** The request that stays open, as of a call that streams; the others are whole at once. */
const openId = 5;
const get = new HeaderTemplate([
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/"],
  [":authority", "localhost"],
]);
const post = new HeaderTemplate([[":method", "POST"], ...get.fields.slice(1)]);

/** Our client, with its requests sent. */
export function openOurClient(): Side {
  const socket = new FakeSocket();
  const told = new Map<number, Told>();
  let work: (() => void)[] = [];
  let closed = false;
  const connection = new Connection(
    socket.asSocket(),
    false,
    { ...defaultHttp2Options, ...limits },
    {
      request() {
        throw new TypeError("a client is asked nothing");
      },
      ready() {},
      capacity() {},
      draining() {},
      closed() {
        closed = true;
      },
    },
  );
  for (const id of requestIds) {
    const one: Told = { head: "", content: "", trailers: undefined, whole: false, broken: false };
    told.set(id, one);
    const stream: Stream = connection.open({
      headers(block, end) {
        if (block.status !== "") one.head = fieldsText([block.status, ...block.fields]);
        else one.trailers = fieldsText(block.fields);
        if (end) one.whole = true;
      },
      data(chunk, start, stop, last) {
        one.content += chunk.toString("latin1", start, stop);
        if (stop > start) work.push(() => stream.consume(stop - start));
        if (last) one.whole = true;
      },
      reset() {
        one.broken = true;
      },
      writable() {},
    });
    stream.sendHeaders(id === openId ? post : get, undefined, id !== openId);
  }
  return {
    feed(chunks) {
      for (const chunk of chunks) socket.feed(chunk);
    },
    act() {
      const doing = work;
      work = [];
      for (const one of doing) one();
    },
    verdict: () => verdictOf(socket.written, true, told, closed || socket.writableEnded),
    close() {
      connection.destroy();
      socket.destroy();
      return connection.streams.size > 0 ? "streams are left" : undefined;
    },
  };
}

/** The client of node:http2, with the same requests sent. */
export function openNodeClient(): Side {
  const socket = new FakeSocket();
  const told = new Map<number, Told>();
  const session = connect("http://localhost", {
    createConnection: () => socket,
    settings: { initialWindowSize: limits.streamWindowBytes, enablePush: false },
  });
  session.on("error", () => {});
  for (const id of requestIds) {
    const one: Told = { head: "", content: "", trailers: undefined, whole: false, broken: false };
    told.set(id, one);
    const stream = session.request(
      { ":method": id === openId ? "POST" : "GET", ":path": "/" },
      { endStream: id !== openId },
    );
    stream.on("error", () => {});
    stream.on("response", (_headers, _flags, raw) => {
      one.head = fieldsText(raw.slice(1));
    });
    stream.on("trailers", (_trailers, _flags, raw) => {
      one.trailers = fieldsText(raw);
    });
    stream.on("data", (chunk: Buffer) => {
      one.content += chunk.toString("latin1");
    });
    stream.on("end", () => {
      one.whole = !stream.aborted;
    });
    stream.on("close", () => {
      if (stream.rstCode !== 0) one.broken = true;
    });
  }
  return {
    feed(chunks) {
      for (const chunk of chunks) socket.push(chunk);
    },
    act() {},
    verdict: () => verdictOf(socket.written, true, told, session.destroyed),
    close() {
      session.destroy();
      socket.destroy();
      return undefined;
    },
  };
}
