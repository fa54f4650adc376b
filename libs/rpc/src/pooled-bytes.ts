const slabBytes = 8_192;
/** A quarter of a slab, so that little of it is lost at its end. */
const pooledMax = slabBytes / 4;

let slab = new ArrayBuffer(slabBytes);
let used = 0;

/**
 * A copy as a plain Uint8Array. Small copies share buffers of 8 KiB, as Node's own small Buffers do: a buffer for each costs
 * several times the copy. What is kept of one keeps at most its 8 KiB alive. Starts are multiples of 8, so that numbers
 * can be viewed in place.
 */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  const length = bytes.byteLength;
  if (length > pooledMax || length === 0) return new Uint8Array(bytes);
  if (used + length > slabBytes) {
    slab = new ArrayBuffer(slabBytes);
    used = 0;
  }
  const copy = new Uint8Array(slab, used, length);
  used = (used + length + 7) & ~7;
  copy.set(bytes);
  return copy;
}
