import { uint32 } from "../frames.ts";
import { BlockWriter, type FieldList } from "./block-writer.ts";

type Random = (below: number) => number;

/** A frame that is sent; `length` where its head does not tell the truth about the payload. */
export interface WireFrame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Buffer;
  readonly length?: number;
}

/** What a side sends when it keeps to the rules, after its preface. */
export type Conversation = readonly WireFrame[];

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
const end = 1;
const whole = 4;
const padded = 8;
const priority = 32;
const none: Buffer = Buffer.alloc(0);

/** Streams that the client of a fuzzed server's answers opens before anything comes. */
export const requestIds = [1, 3, 5, 7] as const;

/** The bytes of frames; a client's begin with the preface. */
export function bytesOf(frames: readonly WireFrame[], isClient: boolean): Buffer {
  const parts: Buffer[] = isClient ? [preface] : [];
  for (const { type, flags, id, payload, length } of frames) {
    const head = Buffer.alloc(9);
    head.writeUIntBE(length ?? payload.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(id >>> 0, 5);
    parts.push(head, payload);
  }
  return Buffer.concat(parts);
}

/** A client's requests, whole and in order, on streams that overlap. */
export function requests(random: Random): Conversation {
  const writer = new BlockWriter(random);
  const queues = Array.from({ length: 1 + random(4) }, (_, index) => {
    const id = index * 2 + 1;
    const content = contentOf(random);
    const trailers = content.length > 0 && random(4) === 0;
    const fields: (readonly [string, string])[] = [
      [":method", content.length > 0 ? "POST" : pick(random, ["GET", "GET", "OPTIONS", "DELETE"])],
      [":scheme", pick(random, ["http", "https"])],
      [
        ":path",
        pick(random, ["/", "/index.html", "/weft.feature.v1.FeatureService/Get", `/${"p".repeat(random(90))}?q=1`]),
      ],
      [":authority", pick(random, ["localhost", "feature:7000"])],
      ...regularFields(random),
    ];
    if (random(3) === 0) fields.push(["te", "trailers"]);
    return messageOf(random, id, fields, content, trailers ? [["x-trailer", "t"]] : undefined);
  });
  return [...opening(random), ...interleaved(random, writer, queues)];
}

/** A server's answers to the requests on `requestIds`. */
export function answers(random: Random): Conversation {
  const writer = new BlockWriter(random);
  const queues = requestIds.slice(0, 1 + random(requestIds.length)).map((id) => {
    const content = contentOf(random);
    const trailers = random(3) === 0 ? ([["grpc-status", pick(random, ["0", "5"])]] as const) : undefined;
    const fields: FieldList = [[":status", pick(random, ["200", "404", "503"])], ...regularFields(random)];
    const message = messageOf(random, id, fields, content, trailers);
    if (random(6) > 0) return message;
    const early: Piece = { id, flags: whole, fields: [[":status", pick(random, ["100", "103"])]], payload: none };
    return [early, ...message];
  });
  return [...opening(random), ...interleaved(random, writer, queues)];
}

/** A frame whose block is written when its turn comes: the dynamic table goes by the order of sending. */
interface Piece {
  readonly id: number;
  readonly flags: number;
  readonly fields: FieldList | undefined;
  readonly payload: Buffer;
}

function pick<T>(random: Random, values: readonly T[]): T {
  return values[random(values.length)] as T;
}

function contentOf(random: Random): Buffer {
  return random(2) === 0 ? none : Buffer.alloc(1 + random(random(8) === 0 ? 900 : 60), 97 + random(26));
}

function regularFields(random: Random): (readonly [string, string])[] {
  return Array.from({ length: random(4) }, () =>
    pick(random, [
      ["user-agent", "fuzz/1"],
      ["x-empty", ""],
      ["x-long", "v".repeat(random(200))],
      ["cookie", "a=b"],
      ["cookie", "c=d"],
      ["accept-encoding", "gzip, deflate"],
      ["x-octets", "\u00e9\u00ff"],
      ["content-type", "application/grpc"],
    ] as const),
  );
}

function messageOf(
  random: Random,
  id: number,
  fields: FieldList,
  content: Buffer,
  trailers: FieldList | undefined,
): Piece[] {
  const sized: FieldList =
    content.length > 0 && random(3) === 0 ? [...fields, ["content-length", String(content.length)]] : fields;
  const ends = content.length === 0 && trailers === undefined;
  const pieces: Piece[] = [{ id, flags: whole | (ends ? end : 0), fields: sized, payload: none }];
  for (let at = 0; at < content.length; ) {
    const part = content.subarray(at, at + 1 + random(content.length));
    at += part.length;
    const last = at === content.length && trailers === undefined;
    pieces.push({ id, flags: last ? end : 0, fields: undefined, payload: part });
  }
  if (trailers !== undefined) pieces.push({ id, flags: whole | end, fields: trailers, payload: none });
  return pieces;
}

function opening(random: Random): WireFrame[] {
  const settings = [
    none,
    "000300000064",
    "000400000020",
    "0004000fffff000500004000",
    "000100000000",
    "00010000100000060000ffff",
  ];
  const chosen = pick(random, settings);
  const payload = typeof chosen === "string" ? Buffer.from(chosen, "hex") : chosen;
  const frames: WireFrame[] = [{ type: 4, flags: 0, id: 0, payload }];
  if (random(8) > 0) frames.push({ type: 4, flags: 1, id: 0, payload: none });
  return frames;
}

/** The pieces of many messages, each message in order, with frames between them that change nothing. */
function interleaved(random: Random, writer: BlockWriter, queues: readonly (readonly Piece[])[]): WireFrame[] {
  const frames: WireFrame[] = [];
  const left = queues.map((pieces) => [...pieces]);
  // Streams are opened in the order of their numbers.
  let opened = 0;
  const next = (): Piece | undefined => {
    const among = left.slice(0, opened).filter((pieces) => pieces.length > 0);
    if (opened < left.length && (among.length === 0 || random(3) === 0)) return left[opened++]?.shift();
    return among.length === 0 ? undefined : pick(random, among).shift();
  };
  for (let piece = next(); piece !== undefined; piece = next()) {
    if (random(5) === 0) frames.push(between(random, piece.id));
    frames.push(...framesOf(random, writer, piece));
  }
  return frames;
}

function framesOf(random: Random, writer: BlockWriter, piece: Piece): WireFrame[] {
  const { id, fields } = piece;
  let { flags } = piece;
  const type = fields === undefined ? 0 : 1;
  let payload = fields === undefined ? piece.payload : writer.write(fields);
  const rest: WireFrame[] = [];
  if (type === 1 && payload.length > 2 && random(6) === 0) {
    const cut = 1 + random(payload.length - 1);
    rest.push({ type: 9, flags: whole, id, payload: payload.subarray(cut) });
    payload = payload.subarray(0, cut);
    flags &= ~whole;
  }
  if (type === 1 && random(8) === 0) {
    flags |= priority;
    payload = Buffer.concat([uint32(id === 1 ? 0 : 1), Buffer.from([15]), payload]);
  }
  if (random(8) === 0) {
    const padding = random(20);
    flags |= padded;
    payload = Buffer.concat([Buffer.from([padding]), payload, Buffer.alloc(padding)]);
  }
  return [{ type, flags, id, payload }, ...rest];
}

function between(random: Random, id: number): WireFrame {
  return pick<WireFrame>(random, [
    { type: 6, flags: 0, id: 0, payload: Buffer.from("0102030405060708", "hex") },
    { type: 8, flags: 0, id: 0, payload: uint32(1 + random(1_000)) },
    { type: 4, flags: 0, id: 0, payload: Buffer.from("000400000400", "hex") },
    { type: 2, flags: 0, id: id + 100, payload: Buffer.from("0000000010", "hex") },
    { type: 0xfa, flags: random(256), id: 0, payload: Buffer.alloc(random(20)) },
  ]);
}
