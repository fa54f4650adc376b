import { uint32 } from "../frames.ts";
import { bytesOf, type Conversation, type WireFrame } from "./conversation.ts";

type Random = (below: number) => number;

const prefaceBytes = 24;
const headBytes = 9;
const frameBytesMax = 16_384;
const wholeBlock = 4;

/** What is sent: bytes in steps. Between steps both sides come to rest; within a step the cuts are where sockets may cut. */
export interface Sequence {
  readonly steps: readonly (readonly Buffer[])[];
  /** Whether it is a conversation as it was made, which must be served. */
  readonly isSound: boolean;
  /** Whether it is what a client sends. */
  readonly isClient: boolean;
  /** Names of the changes that were made. */
  readonly changes: readonly string[];
}

/** Frames that break a rule, or come close. */
const dictionary: readonly WireFrame[] = [
  wire(4, 0, 0, "000200000002"),
  wire(4, 0, 0, "000200000001"),
  wire(4, 0, 0, "000480000000"),
  wire(4, 0, 0, "00047fffffff"),
  wire(4, 0, 0, "000400000000"),
  wire(4, 0, 0, "000500003fff"),
  wire(4, 0, 0, "000501000000"),
  wire(4, 0, 0, "00030000000000"),
  wire(4, 0, 0, "00ff00000001"),
  wire(4, 0, 1, ""),
  wire(4, 1, 0, ""),
  wire(4, 1, 0, "000300000001"),
  wire(6, 0, 0, "00"),
  wire(6, 0, 1, "0000000000000000"),
  wire(6, 1, 0, "0000000000000000"),
  wire(7, 0, 0, "0000000000000000"),
  wire(7, 0, 0, "0000000100000002"),
  wire(7, 0, 1, "0000000000000000"),
  wire(7, 0, 0, "00000000"),
  wire(8, 0, 0, "00000000"),
  wire(8, 0, 0, "7fffffff"),
  wire(8, 0, 1, "00000000"),
  wire(8, 0, 1, "7fffffff"),
  wire(8, 0, 3, "00000100"),
  wire(8, 0, 101, "00000001"),
  wire(8, 0, 2, "00000001"),
  wire(8, 0, 0, "000001"),
  wire(3, 0, 1, "00000008"),
  wire(3, 0, 3, "00000000"),
  wire(3, 0, 0, "00000008"),
  wire(3, 0, 101, "00000008"),
  wire(3, 0, 1, "000008"),
  wire(2, 0, 0, "0000000010"),
  wire(2, 0, 3, "0000000310"),
  wire(2, 0, 3, "00000003"),
  wire(5, 4, 1, "00000002828684010178"),
  wire(9, 4, 1, "82"),
  wire(9, 0, 3, ""),
  wire(0, 0, 0, "00"),
  wire(0, 0, 1, ""),
  wire(0, 1, 1, ""),
  wire(0, 1, 1, "616263"),
  wire(0, 8, 1, "05000000"),
  wire(0, 8, 1, ""),
  wire(0, 0, 101, "61"),
  wire(0, 0, 2, "61"),
  wire(1, 5, 2, "828684010178"),
  wire(1, 5, 0, "828684010178"),
  wire(1, 5, 1, "828684010178"),
  wire(1, 5, 1, "828684"),
  wire(1, 5, 9, "82868481"),
  wire(1, 0x25, 9, "0000000910828684010178"),
  wire(1, 5, 9, "82868401016100"),
  wire(1, 5, 11, "8286840101610001410162"),
  wire(1, 5, 1, "400161"),
  wire(1, 5, 1, "be"),
  wire(1, 5, 1, "88"),
];

/** Header fields as literals that are put into a block: wrong names, wrong places, wrong values. */
const fields: readonly Buffer[] = [
  literal("X-Upper", "a"),
  literal("connection", "close"),
  literal("keep-alive", "1"),
  literal("proxy-connection", "a"),
  literal("transfer-encoding", "chunked"),
  literal("upgrade", "h2c"),
  literal("te", "gzip"),
  literal("te", "trailers"),
  literal("content-length", "7"),
  literal("content-length", "-1"),
  literal("content-length", "x"),
  literal(":method", "GET"),
  literal(":path", ""),
  literal(":path", "/again"),
  literal(":path", "relative"),
  literal(":path", "/with space"),
  literal(":path", "*"),
  literal(":scheme", "ht tp"),
  literal(":status", "200"),
  literal(":status", "99"),
  literal(":status", "101"),
  literal(":status", "20x"),
  literal(":authority", ""),
  literal(":authority", "user@host"),
  literal(":authority", "ho st"),
  literal(":method", "G T"),
  literal(":protocol", "websocket"),
  literal(":unknown", "a"),
  literal("host", "a"),
  literal("host", "a b"),
  literal("", "a"),
  literal("a b", "c"),
  literal("x-space", " a"),
  literal("x-space", "a\t"),
  literal("x-line", "a\nb"),
  literal("x-zero", "a\0b"),
  literal("x-control", "a\u0001b"),
  literal("x-delete", "a\u007fb"),
  literal("x-octets", "\u0080\u00ff"),
];

/** Pieces of HPACK that are wrong, or nearly. */
const pieces: readonly Buffer[] = [
  "80",
  "be",
  "c0",
  "ff80808080",
  "ffffffffff0f",
  "20",
  "3fe11f",
  "3fe21f",
  "3fffff03",
  "0f",
  "7f",
  "8f",
].map((hex) => Buffer.from(hex, "hex"));

function wire(type: number, flags: number, id: number, payload: string): WireFrame {
  return { type, flags, id, payload: Buffer.from(payload, "hex") };
}

function literal(name: string, value: string): Buffer {
  return Buffer.concat([
    Buffer.from([0, name.length]),
    Buffer.from(name, "latin1"),
    Buffer.from([value.length]),
    Buffer.from(value, "latin1"),
  ]);
}

/** Changes to a list of frames; each answers the changed list. */
const changes: Readonly<Record<string, (random: Random, frames: readonly WireFrame[], at: number) => WireFrame[]>> = {
  insert: (random, frames, at) => spliced(frames, at, 0, dictionary[random(dictionary.length)]),
  duplicate: (_random, frames, at) => spliced(frames, at, 0, frames[at]),
  drop: (_random, frames, at) => spliced(frames, at, 1),
  swap(random, frames, at) {
    const other = random(frames.length);
    const swapped = [...frames];
    [swapped[at], swapped[other]] = [frames[other] as WireFrame, frames[at] as WireFrame];
    return swapped;
  },
  type: (random, frames, at) => changed(frames, at, () => ({ type: random(10) })),
  flags: (random, frames, at) => changed(frames, at, ({ flags }) => ({ flags: flags ^ (1 << random(8)) })),
  id: (random, frames, at) =>
    changed(frames, at, ({ id }) => ({
      id: [0, id + 1, id + 2, id - 2, 2 ** 31 - 1, id + 2 ** 31, random(12)][random(7)] ?? 0,
    })),
  length: (random, frames, at) =>
    changed(frames, at, ({ payload }) => ({
      length: [payload.length + 1, Math.max(0, payload.length - 1), 0, 16_385, random(40)][random(5)] ?? 0,
    })),
  shorten: (random, frames, at) =>
    changed(frames, at, ({ payload }) => ({ payload: payload.subarray(0, random(payload.length + 1)) })),
  lengthen: (random, frames, at) =>
    changed(frames, at, ({ payload }) => ({ payload: Buffer.concat([payload, octets(random, 1 + random(8))]) })),
  flip: (random, frames, at) => changed(frames, at, ({ payload }) => ({ payload: flipped(random, payload) })),
  overwrite: (random, frames, at) =>
    changed(frames, at, ({ payload }) => {
      const bytes = Buffer.from(payload);
      if (bytes.length > 0) bytes[random(bytes.length)] = random(256);
      return { payload: bytes };
    }),
  field: (random, frames, at) => intoBlock(random, frames, at, fields),
  hpack: (random, frames, at) => intoBlock(random, frames, at, pieces),
  window: (random, frames, at) =>
    spliced(frames, at, 0, {
      type: 8,
      flags: 0,
      id: random(3) === 0 ? 0 : 1 + 2 * random(4),
      payload: uint32([0, 1, 70_000, 2 ** 31 - 1, 2 ** 31 + 5][random(5)] ?? 0),
    }),
};
const changeNames = Object.keys(changes);

function spliced(frames: readonly WireFrame[], at: number, removed: number, added?: WireFrame): WireFrame[] {
  return [...frames.slice(0, at), ...(added === undefined ? [] : [added]), ...frames.slice(at + removed)];
}

function changed(
  frames: readonly WireFrame[],
  at: number,
  change: (frame: WireFrame) => Partial<WireFrame>,
): WireFrame[] {
  return frames.map((frame, index) => (index === at ? { ...frame, ...change(frame) } : frame));
}

/** Puts a piece before or after the block of the nearest HEADERS that has neither padding nor priority. */
function intoBlock(random: Random, frames: readonly WireFrame[], at: number, among: readonly Buffer[]): WireFrame[] {
  const isPlain = ({ type, flags }: WireFrame) => type === 1 && (flags & 0x28) === 0;
  const index = [...frames.keys()].slice(at).find((each) => isPlain(frames[each] as WireFrame));
  const piece = among[random(among.length)] ?? Buffer.alloc(0);
  if (index === undefined) return [...frames];
  const before = random(3) === 0;
  return changed(frames, index, ({ payload }) => ({
    payload: before ? Buffer.concat([piece, payload]) : Buffer.concat([payload, piece]),
  }));
}

function flipped(random: Random, payload: Buffer): Buffer {
  const bytes = Buffer.from(payload);
  if (bytes.length > 0) {
    const at = random(bytes.length);
    bytes[at] = (bytes[at] as number) ^ (1 << random(8));
  }
  return bytes;
}

function octets(random: Random, count: number): Buffer {
  return Buffer.from(Array.from({ length: count }, () => random(256)));
}

/** Makes a sequence of a conversation: one of ten as it is, the others with one to four changes. */
export function mutate(random: Random, conversation: Conversation, isClient: boolean): Sequence {
  let frames: readonly WireFrame[] = conversation;
  const made: string[] = [];
  if (random(10) > 0)
    for (let left = 1 + random(random(3) === 0 ? 4 : 2); left > 0; left--) {
      // The first frame is SETTINGS: without it nothing else is looked at, so that it is seldom changed.
      const at = frames.length < 2 || random(40) === 0 ? 0 : 1 + random(frames.length - 1);
      const name = changeNames[random(changeNames.length)] ?? "";
      if (frames.length === 0) break;
      frames = changes[name]?.(random, frames, at) ?? frames;
      made.push(name);
    }
  let bytes = bytesOf(frames, isClient);
  if (made.length > 0 && random(25) === 0) {
    made.push("bit");
    bytes = flipped(random, bytes);
  }
  return { steps: cutUp(random, wholeFrames(bytes, isClient)), isSound: made.length === 0, isClient, changes: made };
}

/** The bytes without the frame or the header block that breaks off at their end: nothing has to be said of it before it is whole. */
function wholeFrames(bytes: Buffer, isClient: boolean): Buffer {
  let at = isClient ? prefaceBytes : 0;
  let blockAt = -1;
  while (bytes.length - at >= headBytes) {
    const length = bytes.readUIntBE(at, 3);
    if (length > frameBytesMax) return bytes;
    if (bytes.length - at < headBytes + length) break;
    const type = bytes[at + 3];
    const isWhole = ((bytes[at + 4] ?? 0) & wholeBlock) !== 0;
    if (type === 1 && !isWhole && blockAt < 0) blockAt = at;
    else if (type !== 9 || isWhole) blockAt = -1;
    at += headBytes + length;
  }
  return bytes.subarray(0, blockAt < 0 ? at : blockAt);
}

/** One to four steps of one to four chunks. */
function cutUp(random: Random, bytes: Buffer): Buffer[][] {
  return cut(random, bytes, 1 + random(random(3) === 0 ? 4 : 2)).map((step) => cut(random, step, 1 + random(4)));
}

function cut(random: Random, bytes: Buffer, parts: number): Buffer[] {
  const places = Array.from({ length: parts - 1 }, () => random(bytes.length + 1)).sort((a, b) => a - b);
  return [0, ...places]
    .map((place, index) => bytes.subarray(place, places[index] ?? bytes.length))
    .filter((part) => part.length > 0);
}
