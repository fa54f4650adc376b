import { performServerHandshake } from "node:http2";
import { Connection } from "../../connection.ts";
import { HeaderTemplate } from "../../hpack-encoder.ts";
import { defaultHttp2Options } from "../../options.ts";
import { FakeSocket } from "../fake-socket.ts";
import type { Side } from "./side.ts";
import { fieldsText, type Told, verdictOf } from "./verdict.ts";

/** What both servers allow. */
export const limits = {
  streamWindowBytes: 1_000,
  streamWindowBytesMax: 1_000,
  connectionWindowBytes: 65_535,
  connectionWindowBytesMax: 65_535,
  frameBytesMax: 16_384,
  concurrentStreamsMax: 8,
} as const;
const contentBytes = 100;
const content = Buffer.alloc(contentBytes, 46);
const noBytes = new Uint8Array(0);
const ok = new HeaderTemplate([[":status", "200"]]);

/** Every second stream is answered with content, the others with a header block alone. */
const hasContent = (id: number) => (id & 2) === 0;

/** Our server. */
export function openOurServer(): Side {
  const socket = new FakeSocket();
  const told = new Map<number, Told>();
  let work: (() => void)[] = [];
  let closed = false;
  const connection = new Connection(
    socket.asSocket(),
    true,
    { ...defaultHttp2Options, ...limits },
    {
      request(stream, block, end) {
        const { method, scheme, path, authority } = block;
        const one: Told = {
          head: fieldsText([method, scheme, path, authority, ...block.fields]),
          content: "",
          trailers: undefined,
          whole: false,
          broken: false,
        };
        told.set(stream.id, one);
        const finish = () => {
          one.whole = true;
          work.push(() => {
            stream.sendHeaders(ok, undefined, !hasContent(stream.id));
            if (hasContent(stream.id)) stream.write(noBytes, content, true);
          });
        };
        if (end) finish();
        return {
          headers(trailers) {
            one.trailers = fieldsText(trailers.fields);
            finish();
          },
          data(chunk, start, stop, last) {
            one.content += chunk.toString("latin1", start, stop);
            if (stop > start) work.push(() => stream.consume(stop - start));
            if (last) finish();
          },
          reset() {
            one.broken = true;
          },
          writable() {},
        };
      },
      ready() {},
      capacity() {},
      draining() {},
      closed() {
        closed = true;
      },
    },
  );
  return {
    feed(chunks) {
      for (const chunk of chunks) socket.feed(chunk);
    },
    act() {
      const doing = work;
      work = [];
      for (const one of doing) one();
    },
    verdict: () => verdictOf(socket.written, false, told, closed || socket.writableEnded),
    close() {
      connection.destroy();
      socket.destroy();
      return connection.streams.size > 0 ? "streams are left" : undefined;
    },
  };
}

/** The server of node:http2. */
export function openNodeServer(): Side {
  const socket = new FakeSocket();
  const told = new Map<number, Told>();
  let work: (() => void)[] = [];
  const session = performServerHandshake(socket, {
    settings: { initialWindowSize: limits.streamWindowBytes, maxConcurrentStreams: limits.concurrentStreamsMax },
  });
  session.on("error", () => {});
  session.on("stream", (stream, _headers, _flags, raw) => {
    const id = stream.id ?? 0;
    const one: Told = { head: "", content: "", trailers: undefined, whole: false, broken: false };
    one.head = headText(raw);
    told.set(id, one);
    stream.on("error", () => {});
    stream.on("data", (chunk: Buffer) => {
      one.content += chunk.toString("latin1");
    });
    stream.on("trailers", (_trailers, _flags, trailers) => {
      one.trailers = fieldsText(trailers);
    });
    stream.on("end", () => {
      one.whole = !stream.aborted;
      work.push(() => {
        if (stream.destroyed || stream.headersSent) return;
        stream.respond({ ":status": 200 }, { endStream: !hasContent(id) });
        if (hasContent(id)) stream.end(content);
      });
    });
    stream.on("close", () => {
      if (stream.rstCode !== 0) one.broken = true;
    });
  });
  return {
    feed(chunks) {
      for (const chunk of chunks) socket.push(chunk);
    },
    act() {
      const doing = work;
      work = [];
      for (const one of doing) one();
    },
    verdict: () => verdictOf(socket.written, false, told, session.destroyed),
    close() {
      session.destroy();
      socket.destroy();
      return undefined;
    },
  };
}

/** A header list as our block has it: the pseudo-header fields by name, then the others in their order. */
function headText(raw: readonly string[]): string {
  const pseudo = new Map<string, string>();
  const rest: string[] = [];
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? "";
    const value = raw[index + 1] ?? "";
    if (name.startsWith(":")) pseudo.set(name, value);
    else rest.push(name, value);
  }
  const named = [":method", ":scheme", ":path", ":authority"].map((name) => pseudo.get(name) ?? "");
  return fieldsText([...named, ...rest]);
}
