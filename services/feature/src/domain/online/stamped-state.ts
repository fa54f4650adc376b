import { createHash } from "node:crypto";

/** How far a partition of a log is in a state: rows up to this offset, inclusive. */
export interface Stamp {
  /** `partitionId` of the partition's name. */
  readonly partition: bigint;
  readonly offset: number;
}

const headBytes = 16;
const stampBytes = 16;

/** Names a partition in a stamp: the first 64 bits of its name's sha256. */
export function partitionId(name: string): bigint {
  return createHash("sha256").update(name).digest().readBigUInt64LE(0);
}

/**
 * A packed state as shared stores hold it (little-endian): u64 version, u32 number of stamps, u32 0, then each stamp (u64
 * partition, float64 offset), then the state. The version is random, so that whoever changes a state can tell whether it
 * is still the one that it read. The stamps say which rows are in it already: where a write reached some keys and not
 * others, doing it again counts nothing twice.
 */
export function encodeStamped(version: bigint, stamps: readonly Stamp[], state: Uint8Array): Buffer {
  const start = headBytes + stampBytes * stamps.length;
  const bytes = Buffer.allocUnsafe(start + state.length);
  bytes.writeBigUInt64LE(version, 0);
  bytes.writeUInt32LE(stamps.length, 8);
  bytes.writeUInt32LE(0, 12);
  stamps.forEach(({ partition, offset }, index) => {
    bytes.writeBigUInt64LE(partition, headBytes + stampBytes * index);
    bytes.writeDoubleLE(offset, headBytes + stampBytes * index + 8);
  });
  bytes.set(state, start);
  return bytes;
}

/** Version of a stamped state, 8 bytes. */
export function versionOf(stamped: Uint8Array): Uint8Array {
  return stamped.subarray(0, 8);
}

/** Stamps of a stamped state. */
export function stampsOf(stamped: Uint8Array): Stamp[] {
  const view = new DataView(stamped.buffer, stamped.byteOffset, stamped.byteLength);
  return Array.from({ length: view.getUint32(8, true) }, (_, index) => ({
    partition: view.getBigUint64(headBytes + stampBytes * index, true),
    offset: view.getFloat64(headBytes + stampBytes * index + 8, true),
  }));
}

/**
 * The packed state inside a stamped one, on the same bytes: a plain Uint8Array, as the `slice` of a Buffer would share
 * memory where it should copy. RangeError where it is cut short.
 */
export function stateOf(stamped: Uint8Array): Uint8Array {
  if (stamped.length < headBytes) throw new RangeError("a stored state is cut short");
  const count = (stamped[8] ?? 0) | ((stamped[9] ?? 0) << 8) | ((stamped[10] ?? 0) << 16) | ((stamped[11] ?? 0) << 24);
  const start = headBytes + stampBytes * count;
  if (count < 0 || start > stamped.length) throw new RangeError("a stored state is cut short");
  return new Uint8Array(stamped.buffer, stamped.byteOffset + start, stamped.length - start);
}
