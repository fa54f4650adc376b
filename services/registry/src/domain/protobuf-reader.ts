/** The bytes are not a protobuf message, or hold what no writer of the format makes. */
export class MalformedProtobuf extends Error {
  override readonly name = "MalformedProtobuf";
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/**
 * Walks the fields of one protobuf message without copying it:
 *
 *     while (reader.next()) if (reader.field === 7) walkGraph(reader.message()); else reader.skip();
 *
 * Each field must be read or skipped once. Throws MalformedProtobuf at the first byte that cannot be.
 */
export class ProtobufReader {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  #position: number;
  #wire = 0;
  /** Number of the field at hand. */
  field = 0;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#position = start;
    this.#end = end;
  }

  /** Goes on to the next field; false at the end. */
  next(): boolean {
    if (this.#position === this.#end) return false;
    const tag = Number(this.#varint());
    this.field = Math.floor(tag / 8);
    this.#wire = tag % 8;
    if (this.field === 0 || this.field > 536_870_911) throw new MalformedProtobuf(`field number ${this.field}`);
    return true;
  }

  /** An integer field, signed, of at most 53 bits. */
  integer(): number {
    this.#expect(0);
    const value = Number(BigInt.asIntN(64, this.#varint()));
    if (!Number.isSafeInteger(value)) throw new MalformedProtobuf("an integer above 2^53");
    return value;
  }

  /** A text field. */
  text(): string {
    const [start, end] = this.#range();
    try {
      return decoder.decode(this.#bytes.subarray(start, end));
    } catch {
      throw new MalformedProtobuf("a text that is not UTF-8");
    }
  }

  /** A field that is a message. */
  message(): ProtobufReader {
    const [start, end] = this.#range();
    return new ProtobufReader(this.#bytes, start, end);
  }

  skip(): void {
    if (this.#wire === 0) this.#varint();
    else if (this.#wire === 1) this.#advance(8);
    else if (this.#wire === 2) this.#range();
    else if (this.#wire === 5) this.#advance(4);
    else throw new MalformedProtobuf(`wire type ${this.#wire}`);
  }

  #expect(wire: number): void {
    if (this.#wire !== wire) throw new MalformedProtobuf(`field ${this.field} has wire type ${this.#wire}`);
  }

  #range(): [number, number] {
    this.#expect(2);
    const length = Number(this.#varint());
    const start = this.#position;
    this.#advance(length);
    return [start, this.#position];
  }

  #advance(length: number): void {
    if (length > this.#end - this.#position) throw new MalformedProtobuf("a field longer than its message");
    this.#position += length;
  }

  #varint(): bigint {
    let low = 0;
    let scale = 1;
    for (let index = 0; index < 7; index++) {
      const byte = this.#byte();
      low += (byte & 0x7f) * scale;
      if (byte < 0x80) return BigInt(low);
      scale *= 128;
    }
    let value = BigInt(low);
    for (let shift = 49n; shift < 70n; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new MalformedProtobuf("an integer of more than 10 bytes");
  }

  #byte(): number {
    const byte = this.#position < this.#end ? this.#bytes[this.#position] : undefined;
    if (byte === undefined) throw new MalformedProtobuf("it ends inside a field");
    this.#position++;
    return byte;
  }
}
