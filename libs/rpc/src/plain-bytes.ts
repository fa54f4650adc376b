/**
 * The same bytes as a plain Uint8Array. Messages are decoded from these: a field of bytes is a view of its message's
 * bytes, and of a Node Buffer it would be a Buffer, whose `slice` shares memory where a Uint8Array's copies.
 */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
