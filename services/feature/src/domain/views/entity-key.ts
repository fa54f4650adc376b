/** Key of a row of a view: the entity's own key, or one text for several entities, or "" for a view without entities. */
export type EntityKey = string | bigint;

/** Greatest size of one text key, in UTF-8 bytes. */
export const keyBytesMax = 512;

/** One key out of the keys of a view's entities, in the view's order. */
export function joinKeys(parts: readonly EntityKey[]): EntityKey {
  const only = parts[0];
  if (only === undefined) return "";
  if (parts.length === 1) return only;
  let text = "";
  for (const part of parts) text += typeof part === "bigint" ? `i${part};` : `${part.length}:${part}`;
  return text;
}

const textTag = 1;
const integerTag = 2;
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const integerBytes = new Uint8Array(8);
const integer = new DataView(integerBytes.buffer);

/** Encodes a key so that bytewise order is key order: integers by value, texts by UTF-8 bytes. */
export function encodeKey(key: EntityKey): Uint8Array {
  if (typeof key === "bigint") {
    const bytes = new Uint8Array(9);
    bytes[0] = integerTag;
    integer.setBigInt64(0, key);
    for (let i = 0; i < 8; i++) bytes[1 + i] = integerBytes[i] ?? 0;
    // Flipping the sign bit makes negative numbers sort first.
    bytes[1] = (integerBytes[0] ?? 0) ^ 0x80;
    return bytes;
  }
  const bytes = new Uint8Array(1 + key.length * 3);
  bytes[0] = textTag;
  return bytes.subarray(0, 1 + encoder.encodeInto(key, bytes.subarray(1)).written);
}

/** The inverse of `encodeKey`. */
export function decodeKey(bytes: Uint8Array): EntityKey {
  if (bytes[0] === integerTag) {
    const bits = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(1);
    return BigInt.asIntN(64, bits ^ 0x8000_0000_0000_0000n);
  }
  return decoder.decode(bytes.subarray(1));
}
