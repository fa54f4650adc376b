import type { Value, ValueType } from "@weft/scenario";

/** A field of a packed row. */
export interface PackedField {
  readonly name: string;
  readonly type: ValueType;
}

/** How a field lies in a packed row. */
export interface PackedPlace {
  readonly type: ValueType;
  readonly kind: "float64" | "float32" | "int64" | "bool" | "tail";
  /** Byte of the value; for the tail: of a u32 with the value's end inside the tail. */
  readonly offset: number;
  /** Byte of the u32 with the value's begin inside the tail; -1 for 0. */
  readonly startOffset: number;
  /** Byte and bit of "is null". */
  readonly nullByte: number;
  readonly nullBit: number;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const headerBytes = 24;

/**
 * Packs the values of one row (little-endian): u32 schema hash, u32 0, float64 event time, float64 created time (both
 * microseconds), a bit a field that is set where it is null, then the fixed-width fields by width (8, 4, 1 bytes; texts,
 * bytes, vectors and keys: a u32 end), then the tail.
 */
export class RowPacking {
  readonly places: readonly PackedPlace[];
  readonly #hash: number;
  readonly #tailStart: number;

  /** `hash`: identifies the schema, 32 bits. */
  constructor(fields: readonly PackedField[], hash: number) {
    this.#hash = hash >>> 0;
    const nullBytes = Math.ceil(fields.length / 64) * 8;
    let offset = headerBytes + nullBytes;
    const places: PackedPlace[] = new Array(fields.length);
    let previousEnd = -1;
    for (const width of [8, 4, 1])
      fields.forEach(({ type }, index) => {
        const kind = kindOf(type);
        if (widthOf(kind) !== width) return;
        places[index] = {
          type,
          kind,
          offset,
          startOffset: kind === "tail" ? previousEnd : -1,
          nullByte: headerBytes + (index >> 3),
          nullBit: 1 << (index & 7),
        };
        if (kind === "tail") previousEnd = offset;
        offset += width;
      });
    this.places = places;
    this.#tailStart = offset;
  }

  /** Packs values, one a field. Non-finite numbers are null. RangeError where a value is not of its field's type. */
  encode(eventTimeUs: number, createdTimeUs: number, values: readonly Value[]): Uint8Array<ArrayBuffer> {
    const tails: Uint8Array[] = [];
    let tailBytes = 0;
    this.places.forEach((place, index) => {
      const value = values[index] ?? null;
      if (place.kind !== "tail" || value === null) return;
      const part = encodeTail(value, place.type);
      tails[index] = part;
      tailBytes += part.length;
    });
    const bytes = new Uint8Array(this.#tailStart + tailBytes);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, this.#hash, true);
    view.setFloat64(8, eventTimeUs, true);
    view.setFloat64(16, createdTimeUs, true);
    let tail = this.#tailStart;
    // Ends are in the order of the places' offsets, which for the tail is the order of the fields.
    this.places.forEach((place, index) => {
      const value = values[index] ?? null;
      if (value === null || (typeof value === "number" && !Number.isFinite(value)))
        bytes[place.nullByte] = (bytes[place.nullByte] ?? 0) | place.nullBit;
      if (place.kind === "tail") {
        const part = tails[index];
        if (part !== undefined) {
          bytes.set(part, tail);
          tail += part.length;
        }
        view.setUint32(place.offset, tail - this.#tailStart, true);
        return;
      }
      if (value === null) return;
      if (place.kind === "int64") {
        if (typeof value !== "bigint") throw new RangeError(`an int64 cannot be ${typeof value}`);
        view.setBigInt64(place.offset, value, true);
      } else if (place.kind === "bool") {
        if (typeof value !== "boolean") throw new RangeError(`a bool cannot be ${typeof value}`);
        view.setUint8(place.offset, value ? 1 : 0);
      } else {
        if (typeof value !== "number") throw new RangeError(`a ${place.kind} cannot be ${typeof value}`);
        if (place.kind === "float32") view.setFloat32(place.offset, value, true);
        else view.setFloat64(place.offset, value, true);
      }
    });
    return bytes;
  }

  /** A view of packed bytes; RangeError where they are of another schema or cut short. */
  open(bytes: Uint8Array): DataView {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.byteLength < this.#tailStart || view.getUint32(0, true) !== this.#hash)
      throw new RangeError("the bytes are not a row of this schema");
    return view;
  }

  /** The value at a place as a number (bool 0 or 1, int64 rounded to a double); NaN for null and for what is in the tail. */
  number(row: DataView, place: PackedPlace): number {
    if ((row.getUint8(place.nullByte) & place.nullBit) !== 0) return Number.NaN;
    switch (place.kind) {
      case "float32":
        return row.getFloat32(place.offset, true);
      case "float64":
        return row.getFloat64(place.offset, true);
      case "bool":
        return row.getUint8(place.offset);
      case "int64":
        // The nearest double, without making a bigint where the number is small.
        return row.getInt32(place.offset + 4, true) * 4_294_967_296 + row.getUint32(place.offset, true);
      default:
        return Number.NaN;
    }
  }

  isNull(row: DataView, place: PackedPlace): boolean {
    return (row.getUint8(place.nullByte) & place.nullBit) !== 0;
  }

  /** The exact value at a place; null where there is none. */
  value(row: DataView, place: PackedPlace): Value {
    if (this.isNull(row, place)) return null;
    switch (place.kind) {
      case "float32":
        return row.getFloat32(place.offset, true);
      case "float64":
        return row.getFloat64(place.offset, true);
      case "bool":
        return row.getUint8(place.offset) !== 0;
      case "int64":
        return row.getBigInt64(place.offset, true);
      default: {
        const start = this.#tailStart + (place.startOffset < 0 ? 0 : row.getUint32(place.startOffset, true));
        const end = this.#tailStart + row.getUint32(place.offset, true);
        if (end > row.byteLength || start > end) throw new RangeError("the row is cut short");
        return decodeTail(new Uint8Array(row.buffer, row.byteOffset + start, end - start), place.type);
      }
    }
  }
}

/** Event time of an opened row, microseconds. */
export function rowEventTimeUs(row: DataView): number {
  return row.getFloat64(8, true);
}

/** Created time of an opened row, microseconds. */
export function rowCreatedTimeUs(row: DataView): number {
  return row.getFloat64(16, true);
}

function kindOf(type: ValueType): PackedPlace["kind"] {
  return type === "float64" || type === "float32" || type === "int64" || type === "bool" ? type : "tail";
}

function widthOf(kind: PackedPlace["kind"]): number {
  return kind === "float64" || kind === "int64" ? 8 : kind === "bool" ? 1 : 4;
}

function encodeTail(value: Value, type: ValueType): Uint8Array {
  if (type === "string" && typeof value === "string") return encoder.encode(value);
  if (type === "bytes" && value instanceof Uint8Array) return value;
  if (typeof type === "object" && "vector" in type && value instanceof Float32Array) {
    if (value.length !== type.vector) throw new RangeError(`a vector of ${value.length} is not one of ${type.vector}`);
    const bytes = new Uint8Array(4 * value.length);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < value.length; i++) view.setFloat32(4 * i, value[i] ?? 0, true);
    return bytes;
  }
  if (typeof type === "object" && "keys" in type && Array.isArray(value)) return encodeKeys(value, type.keys);
  throw new RangeError(`a ${typeof type === "string" ? type : JSON.stringify(type)} cannot be ${typeof value}`);
}

function encodeKeys(keys: readonly (bigint | string)[], type: "int64" | "string"): Uint8Array {
  if (type === "int64") {
    const bytes = new Uint8Array(8 * keys.length);
    const view = new DataView(bytes.buffer);
    keys.forEach((key, index) => {
      if (typeof key !== "bigint") throw new RangeError("an int64 key cannot be a text");
      view.setBigInt64(8 * index, key, true);
    });
    return bytes;
  }
  const texts = keys.map((key) => {
    if (typeof key !== "string") throw new RangeError("a text key cannot be an integer");
    return encoder.encode(key);
  });
  const bytes = new Uint8Array(texts.reduce((sum, text) => sum + 4 + text.length, 0));
  const view = new DataView(bytes.buffer);
  let offset = 0;
  for (const text of texts) {
    view.setUint32(offset, text.length, true);
    bytes.set(text, offset + 4);
    offset += 4 + text.length;
  }
  return bytes;
}

function decodeTail(bytes: Uint8Array, type: ValueType): Value {
  if (type === "string") return decoder.decode(bytes);
  if (typeof type === "string") return bytes.slice();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if ("vector" in type) {
    const vector = new Float32Array(type.vector);
    for (let i = 0; i < vector.length; i++) vector[i] = view.getFloat32(4 * i, true);
    return vector;
  }
  const keys: (bigint | string)[] = [];
  if (type.keys === "int64") {
    for (let offset = 0; offset < bytes.length; offset += 8) keys.push(view.getBigInt64(offset, true));
    return keys;
  }
  for (let offset = 0; offset < bytes.length; ) {
    const length = view.getUint32(offset, true);
    keys.push(decoder.decode(bytes.subarray(offset + 4, offset + 4 + length)));
    offset += 4 + length;
  }
  return keys;
}
