import { protoInt64 } from "@bufbuild/protobuf";
import type { WireType } from "@bufbuild/protobuf/wire";
import { copiedBytesMax } from "@weft/http2";

/**
 * An encoded message: one piece, or several in order. Pieces of up to `copiedBytesMax` are valid until the next message is
 * encoded: whoever sends them copies them. Larger ones stay as they are; those of bytes fields are the message's own.
 */
export type Encoded = Uint8Array | readonly Uint8Array[];

const firstBytes = 65_536;
const int32Min = -(2 ** 31);
const int32Max = 2 ** 31 - 1;
const uint32Max = 2 ** 32 - 1;
const float32Max = 3.4028234663852886e38;
/** Longest string that is written character by character: beyond it the encoder's call costs less. */
const asciiMax = 48;
const encoder = new TextEncoder();

/** Bytes of a field, which go after what was written before them. */
interface Reference {
  at: number;
  readonly bytes: Uint8Array;
}

/**
 * Writes messages in protobuf's format into one buffer, which serves one message after another. Bytes that are large are
 * not copied: they go to the socket from where they lie.
 */
export class WireWriter {
  #buffer = new Uint8Array(firstBytes);
  #view = new DataView(this.#buffer.buffer);
  #at = 0;
  /** Where the lengths belong that are not known yet, and the referenced bytes before each. */
  readonly #forks: number[] = [];
  #references: Reference[] = [];
  #referencedBytes = 0;

  /** What was written; the writer begins anew. */
  finish(): Encoded {
    const length = this.#at;
    const buffer = this.#buffer;
    this.#at = 0;
    if (this.#references.length === 0) return piece(buffer, 0, length);
    const references = this.#references;
    this.#references = [];
    this.#referencedBytes = 0;
    const pieces: Uint8Array[] = [];
    let from = 0;
    for (const { at, bytes } of references) {
      if (at > from) pieces.push(piece(buffer, from, at));
      pieces.push(bytes);
      from = at;
    }
    if (length > from) pieces.push(piece(buffer, from, length));
    return pieces;
  }

  /** Drops what was written. */
  reset(): void {
    this.#at = 0;
    this.#forks.length = 0;
    this.#references = [];
    this.#referencedBytes = 0;
  }

  tag(number: number, type: WireType): this {
    this.#need(5);
    this.#varint(((number << 3) | type) >>> 0);
    return this;
  }

  /** Begins what has its length before it; `join` ends it. */
  fork(): this {
    this.#need(1);
    this.#forks.push(this.#at, this.#referencedBytes);
    // Most lengths take one byte; `join` makes room where it is not enough.
    this.#at++;
    return this;
  }

  join(): this {
    const referenced = this.#forks.pop();
    const start = this.#forks.pop();
    if (referenced === undefined || start === undefined) throw new Error("join without fork");
    const content = start + 1;
    const length = this.#at - content + this.#referencedBytes - referenced;
    const more = varintBytes(length) - 1;
    if (more > 0) {
      this.#need(more);
      this.#buffer.copyWithin(content + more, content, this.#at);
      for (let index = this.#references.length - 1; index >= 0; index--) {
        const reference = this.#references[index];
        if (reference === undefined || reference.at < content) break;
        reference.at += more;
      }
    }
    const end = this.#at + more;
    this.#at = start;
    this.#varint(length);
    this.#at = end;
    return this;
  }

  raw(bytes: Uint8Array): this {
    this.#need(bytes.length);
    this.#buffer.set(bytes, this.#at);
    this.#at += bytes.length;
    return this;
  }

  bytes(bytes: Uint8Array): this {
    const { length } = bytes;
    this.#need(5);
    this.#varint(length);
    if (length <= copiedBytesMax) return this.raw(bytes);
    this.#references.push({ at: this.#at, bytes });
    this.#referencedBytes += length;
    return this;
  }

  string(text: string): this {
    const { length } = text;
    if (length <= asciiMax) {
      this.#need(1 + length);
      const buffer = this.#buffer;
      let at = this.#at + 1;
      let index = 0;
      for (; index < length; index++) {
        const code = text.charCodeAt(index);
        if (code > 127) break;
        buffer[at++] = code;
      }
      if (index === length) {
        buffer[this.#at] = length;
        this.#at = at;
        return this;
      }
    }
    // A unit of UTF-16 takes three bytes at most.
    this.#need(length * 3 + 5);
    const buffer = this.#buffer;
    const guess = varintBytes(length);
    const start = this.#at + guess;
    const { written } = encoder.encodeInto(text, buffer.subarray(start));
    const size = varintBytes(written);
    if (size !== guess) buffer.copyWithin(this.#at + size, start, start + written);
    this.#varint(written);
    this.#at += written;
    return this;
  }

  bool(value: boolean): this {
    this.#need(1);
    this.#buffer[this.#at++] = value ? 1 : 0;
    return this;
  }

  uint32(value: number): this {
    check(value, 0, uint32Max);
    this.#need(5);
    this.#varint(value);
    return this;
  }

  int32(value: number): this {
    check(value, int32Min, int32Max);
    if (value >= 0) {
      this.#need(5);
      this.#varint(value);
    } else this.#varint64(value, -1);
    return this;
  }

  sint32(value: number): this {
    check(value, int32Min, int32Max);
    this.#need(5);
    this.#varint(((value << 1) ^ (value >> 31)) >>> 0);
    return this;
  }

  fixed32(value: number): this {
    check(value, 0, uint32Max);
    this.#need(4);
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
    return this;
  }

  sfixed32(value: number): this {
    check(value, int32Min, int32Max);
    this.#need(4);
    this.#view.setInt32(this.#at, value, true);
    this.#at += 4;
    return this;
  }

  float(value: number): this {
    if (typeof value !== "number" || (Number.isFinite(value) && Math.abs(value) > float32Max))
      throw new RangeError(`invalid float: ${String(value)}`);
    this.#need(4);
    this.#view.setFloat32(this.#at, value, true);
    this.#at += 4;
    return this;
  }

  double(value: number): this {
    if (typeof value !== "number") throw new RangeError(`invalid double: ${String(value)}`);
    this.#need(8);
    this.#view.setFloat64(this.#at, value, true);
    this.#at += 8;
    return this;
  }

  int64(value: bigint | string | number): this {
    const { lo, hi } = protoInt64.enc(value);
    this.#varint64(lo, hi);
    return this;
  }

  uint64(value: bigint | string | number): this {
    const { lo, hi } = protoInt64.uEnc(value);
    this.#varint64(lo, hi);
    return this;
  }

  sint64(value: bigint | string | number): this {
    const { lo, hi } = protoInt64.enc(value);
    const sign = hi >> 31;
    this.#varint64((lo << 1) ^ sign, ((hi << 1) | (lo >>> 31)) ^ sign);
    return this;
  }

  fixed64(value: bigint | string | number): this {
    this.#fixed64(protoInt64.uEnc(value));
    return this;
  }

  sfixed64(value: bigint | string | number): this {
    this.#fixed64(protoInt64.enc(value));
    return this;
  }

  #fixed64({ lo, hi }: { readonly lo: number; readonly hi: number }): void {
    this.#need(8);
    this.#view.setInt32(this.#at, lo, true);
    this.#view.setInt32(this.#at + 4, hi, true);
    this.#at += 8;
  }

  /** Writes 32 bits; there is room. */
  #varint(value: number): void {
    const buffer = this.#buffer;
    let at = this.#at;
    let rest = value;
    while (rest > 127) {
      buffer[at++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    buffer[at++] = rest;
    this.#at = at;
  }

  #varint64(low: number, high: number): void {
    this.#need(10);
    const buffer = this.#buffer;
    let at = this.#at;
    let lo = low >>> 0;
    let hi = high >>> 0;
    while (hi > 0 || lo > 127) {
      buffer[at++] = (lo & 127) | 128;
      lo = ((lo >>> 7) | (hi << 25)) >>> 0;
      hi >>>= 7;
    }
    buffer[at++] = lo;
    this.#at = at;
  }

  #need(bytes: number): void {
    const needed = this.#at + bytes;
    if (needed <= this.#buffer.length) return;
    let length = this.#buffer.length * 2;
    while (length < needed) length *= 2;
    const larger = new Uint8Array(length);
    larger.set(this.#buffer.subarray(0, this.#at));
    this.#buffer = larger;
    this.#view = new DataView(larger.buffer);
  }
}

/** A part of the buffer; a copy where it is so large that whoever sends it does not copy it. */
function piece(buffer: Uint8Array, start: number, end: number): Uint8Array {
  return end - start <= copiedBytesMax ? buffer.subarray(start, end) : buffer.slice(start, end);
}

function varintBytes(value: number): number {
  if (value < 128) return 1;
  if (value < 16_384) return 2;
  if (value < 2_097_152) return 3;
  return value < 268_435_456 ? 4 : 5;
}

function check(value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) throw new RangeError(`invalid integer: ${String(value)}`);
}
