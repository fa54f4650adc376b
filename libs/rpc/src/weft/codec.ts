import { type DescField, type DescMessage, fromBinary, type Message, ScalarType } from "@bufbuild/protobuf";
import { copiedBytesMax, type Stream } from "@weft/http2";
import { plainBytes } from "../plain-bytes.ts";
import { copyBytes } from "../pooled-bytes.ts";
import { encoderOf } from "./encoder.ts";
import { prefixBytes } from "./message-reader.ts";
import type { Encoded } from "./wire-writer.ts";

/** Reads and writes messages of one type. */
export interface Codec {
  /** Reads a message. It keeps alive twice what it holds at most, or 8 KiB. Throws on malformed bytes. */
  decode(bytes: Uint8Array): Message;
  encode(message: Message): Encoded;
}

const known = new WeakMap<DescMessage, Codec>();

/** The codec of a message type. */
export function codecOf(descriptor: DescMessage): Codec {
  const found = known.get(descriptor);
  if (found !== undefined) return found;
  // Fields of bytes are views of what they were read from, which may be a whole chunk of the socket.
  const keepsViews = hasBytes(descriptor, new Set());
  const codec: Codec = {
    decode: keepsViews ? (bytes) => fromBinary(descriptor, ownBytes(bytes)) : (bytes) => fromBinary(descriptor, bytes),
    encode: encoderOf(descriptor),
  };
  known.set(descriptor, codec);
  return codec;
}

/** The bytes, copied where they are a small part of what they lie in. */
function ownBytes(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength * 2 < bytes.buffer.byteLength ? copyBytes(bytes) : plainBytes(bytes);
}

function hasBytes(descriptor: DescMessage, seen: Set<DescMessage>): boolean {
  if (seen.has(descriptor)) return false;
  seen.add(descriptor);
  return descriptor.fields.some((field) => fieldHasBytes(field, seen));
}

function fieldHasBytes(field: DescField, seen: Set<DescMessage>): boolean {
  switch (field.fieldKind) {
    case "scalar":
      return field.scalar === ScalarType.BYTES;
    case "message":
      return hasBytes(field.message, seen);
    case "list":
      return field.listKind === "message"
        ? hasBytes(field.message, seen)
        : field.listKind === "scalar" && field.scalar === ScalarType.BYTES;
    case "map":
      return field.mapKind === "message"
        ? hasBytes(field.message, seen)
        : field.mapKind === "scalar" && field.scalar === ScalarType.BYTES;
    default:
      return false;
  }
}

const prefix = new Uint8Array(prefixBytes);
const noBytes = new Uint8Array(0);

/** What goes before a message of that length. Valid until the next call: whoever sends it copies it. */
function prefixOf(length: number, isCompressed: boolean): Uint8Array {
  prefix[0] = isCompressed ? 1 : 0;
  prefix[1] = length >>> 24;
  prefix[2] = length >>> 16;
  prefix[3] = length >>> 8;
  prefix[4] = length;
  return prefix;
}

/** Writes a message on a stream; answers whether the next may follow, or is to wait until the stream takes more. */
export function sendMessage(stream: Stream, encoded: Encoded, end: boolean, isCompressed = false): boolean {
  if (encoded instanceof Uint8Array) return stream.write(prefixOf(encoded.length, isCompressed), encoded, end);
  let length = 0;
  for (const piece of encoded) length += piece.length;
  let head = prefixOf(length, isCompressed);
  let goesOn = true;
  for (const [index, piece] of encoded.entries()) {
    goesOn = stream.write(head, piece, end && index === encoded.length - 1);
    head = noBytes;
  }
  return goesOn;
}

/** The same, to be kept until later. */
export function keptEncoded(encoded: Encoded): Encoded {
  return encoded instanceof Uint8Array
    ? encoded.slice()
    : encoded.map((piece) => (isOwn(piece) ? piece : piece.slice()));
}

function isOwn(piece: Uint8Array): boolean {
  return piece.length > copiedBytesMax;
}
