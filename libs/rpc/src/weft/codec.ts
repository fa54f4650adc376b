import { type DescField, type DescMessage, fromBinary, type Message, ScalarType } from "@bufbuild/protobuf";
import { plainBytes } from "../plain-bytes.ts";
import { encoderOf } from "./encoder.ts";
import { prefixBytes } from "./message-reader.ts";

/** Reads and writes messages of one type. */
export interface Codec {
  /** Reads a message. It never keeps alive more than twice what it holds. Throws on malformed bytes. */
  decode(bytes: Uint8Array): Message;
  encode(message: Message): Uint8Array;
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
  return bytes.byteLength * 2 < bytes.buffer.byteLength ? new Uint8Array(bytes) : plainBytes(bytes);
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

/** What goes before a message of that length. Valid until the next call: whoever sends it copies it. */
export function prefixOf(length: number): Uint8Array {
  prefix[0] = 0;
  prefix[1] = length >>> 24;
  prefix[2] = length >>> 16;
  prefix[3] = length >>> 8;
  prefix[4] = length;
  return prefix;
}
