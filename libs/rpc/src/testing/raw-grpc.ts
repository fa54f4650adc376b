import { createServer, type Server, type Socket } from "node:net";
import { HpackDecoder } from "@weft/http2";
import { frame, RawPeer, readFrames } from "@weft/http2/testing";

/** Names and values; the same name may come twice. */
export type RawFields = readonly (readonly [name: string, value: string])[];

const data = 0;
const headers = 1;
const rstStream = 3;
const settings = 4;
const end = 1;
const whole = 4;
const prefaceBytes = 24;
const hpack = { tableBytesMax: 4_096, listBytesMax: 65_536, cachedBlocksMax: 0 };

/** A header block of literals alone. */
export function rawBlock(fields: RawFields): Buffer {
  return Buffer.concat(fields.map(([name, value]) => Buffer.concat([Buffer.from([0]), text(name), text(value)])));
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  const { length } = bytes;
  const head = length < 127 ? [length] : [127, ((length - 127) & 127) | 128, (length - 127) >> 7];
  return Buffer.concat([Buffer.from(head), bytes]);
}

/** A message as it travels. */
export function rawMessage(content: Uint8Array, flag = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(content.length, 1);
  return Buffer.concat([prefix, content]);
}

/** What a server made of a request. */
export interface RawAnswer {
  readonly fields: Readonly<Record<string, string>>;
  readonly content: Buffer;
  /** The code that the stream was reset with, where it was. */
  readonly reset: number | undefined;
}

/** A client that sends what it is told to, rules or no rules, and reads the answers. */
export class RawCaller {
  readonly peer: RawPeer;
  readonly #decoder = new HpackDecoder(hpack);
  readonly #fields = new Map<number, Record<string, string>>();
  #decoded = 0;
  #nextId = 1;

  constructor(port: number) {
    this.peer = new RawPeer(port);
    this.peer.send(frame(settings, end, 0));
  }

  /** Sends a request; without content its headers end it. Resolves when the answer has ended, or the stream was reset. */
  async ask(fields: RawFields, content: Uint8Array | undefined, trailers?: RawFields): Promise<RawAnswer> {
    const id = this.#nextId;
    this.#nextId += 2;
    this.peer.send(frame(headers, whole | (content === undefined ? end : 0), id, rawBlock(fields)));
    if (content !== undefined) this.peer.send(frame(data, trailers === undefined ? end : 0, id, content));
    if (trailers !== undefined) this.peer.send(frame(headers, whole | end, id, rawBlock(trailers)));
    const isOver = ({ type, flags, id: of }: { type: number; flags: number; id: number }) =>
      of === id && (type === rstStream || (type <= headers && (flags & end) !== 0));
    await this.peer.until(({ frames }) => frames.some(isOver));
    for (; this.#decoded < this.peer.frames.length; this.#decoded++) {
      const one = this.peer.frames[this.#decoded];
      if (one?.type !== headers) continue;
      const block = this.#decoder.decode(one.payload, 0, one.payload.length);
      const known = this.#fields.get(one.id) ?? {};
      this.#fields.set(one.id, known);
      if (block.status !== "") known[":status"] = block.status;
      for (let index = 0; index < block.fields.length; index += 2)
        known[block.fields[index] ?? ""] = block.fields[index + 1] ?? "";
    }
    const own = this.peer.frames.filter((one) => one.id === id);
    // What follows a whole answer only says that nothing more is read.
    const first = own.find(isOver);
    return {
      fields: this.#fields.get(id) ?? {},
      content: Buffer.concat(own.filter(({ type }) => type === data).map(({ payload }) => payload)),
      reset: first?.type === rstStream ? first.payload.readUInt32BE() : undefined,
    };
  }

  /** Ends it. */
  close(): void {
    this.peer.destroy();
  }
}

/** A server that answers every request that has ended with frames that it is given. */
export class RawResponder {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Connections that it has taken. */
  connections = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listens on a free port. `answer` gives the bytes for a stream; `hello` goes before all else. */
  static start(answer: (id: number, socket: Socket) => Uint8Array | undefined): Promise<RawResponder> {
    const server = createServer();
    const responder = new RawResponder(server);
    server.on("connection", (socket) => {
      responder.connections++;
      responder.#sockets.add(socket);
      socket.on("error", () => {});
      socket.write(frame(settings, 0, 0));
      let rest = Buffer.alloc(0);
      let begun = false;
      socket.on("data", (chunk) => {
        rest = Buffer.concat([rest, chunk]);
        if (!begun) {
          if (rest.length < prefaceBytes) return;
          rest = rest.subarray(prefaceBytes);
          begun = true;
        }
        const read = readFrames(rest);
        rest = Buffer.from(read.rest);
        for (const { type, flags, id } of read.frames) {
          if (type === settings && (flags & end) === 0) socket.write(frame(settings, end, 0));
          if (type > headers || (flags & end) === 0) continue;
          const bytes = answer(id, socket);
          if (bytes !== undefined) socket.write(bytes);
        }
      });
    });
    return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(responder)));
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  /** Ends it and its connections. */
  close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }
}
