import { fieldOverheadBytes } from "./header-block.ts";
import { encodeHuffman, huffmanLength } from "./huffman.ts";
import { staticTable } from "./static-table.ts";

/** A field: its name in lower case, and its value in octets. */
export type Field = readonly [name: string, value: string];

/** Fields that are sent often: they go into the dynamic table once, and their block is kept ready. */
export class HeaderTemplate {
  readonly fields: readonly Field[];

  constructor(fields: readonly Field[]) {
    this.fields = fields;
  }
}

interface Prepared {
  readonly generation: number;
  readonly bytes: Buffer;
}

const staticNames = new Map<string, number>();
const staticFields = new Map<string, number>();
for (const [index, [name, value]] of staticTable.entries()) {
  if (!staticNames.has(name)) staticNames.set(name, index + 1);
  if (value !== "") staticFields.set(`${name}\0${value}`, index + 1);
}
const firstDynamic = staticTable.length + 1;
/** Templates kept ready a connection. */
const preparedMax = 1_024;

/** Writes header blocks (RFC 7541). One a connection and direction: every block must be sent, in order. */
export class HpackEncoder {
  readonly #ownMax: number;
  readonly #prepared = new Map<HeaderTemplate, Prepared>();
  /** Insertions so far at which a field went in; the greatest is the newest. */
  readonly #positions = new Map<string, number>();
  readonly #entries: { readonly key: string; readonly size: number; readonly position: number }[] = [];
  #capacity: number;
  #bytes = 0;
  #inserted = 0;
  #generation = 0;
  /** Least and last size that the peer has not been told of. */
  #pendingSizes: readonly number[] = [];

  /** `tableBytesMax` bounds the table whatever the peer allows. */
  constructor(tableBytesMax: number) {
    this.#ownMax = tableBytesMax;
    this.#capacity = Math.min(4_096, tableBytesMax);
    if (this.#capacity < 4_096) this.#pendingSizes = [this.#capacity];
  }

  /** Takes the peer's SETTINGS_HEADER_TABLE_SIZE. */
  setPeerTableSize(size: number): void {
    const capacity = Math.min(size, this.#ownMax);
    if (capacity === this.#capacity) return;
    const least = Math.min(capacity, ...this.#pendingSizes);
    this.#pendingSizes = least < capacity ? [least, capacity] : [capacity];
    this.#capacity = capacity;
    this.#evict(0);
    this.#generation++;
  }

  /** The block of a template as the table stands; valid until the next call that returns another one. */
  block(template: HeaderTemplate): Buffer {
    const prepared = this.#prepared.get(template);
    if (prepared !== undefined && prepared.generation === this.#generation && this.#pendingSizes.length === 0)
      return prepared.bytes;
    const generation = this.#generation;
    const clean = this.#pendingSizes.length === 0;
    const target = Buffer.allocUnsafe(spaceFor(template.fields) + 16);
    let at = this.#writeSizes(target, 0);
    for (const field of template.fields) at = this.#writeIndexed(field, target, at);
    const bytes = Buffer.from(target.subarray(0, at));
    if (clean && generation === this.#generation) {
      if (this.#prepared.size >= preparedMax) this.#prepared.clear();
      this.#prepared.set(template, { generation, bytes });
    }
    return bytes;
  }

  /** Greatest space that a literal takes. */
  static literalSpace(name: string, value: string): number {
    return name.length + value.length + 12;
  }

  /** Writes a field that is not worth the table, without changing it; answers where it ends. */
  writeLiteral(name: string, value: string, target: Buffer, start: number): number {
    let at = start;
    const known = staticNames.get(name);
    if (known === undefined) {
      target[at++] = 0;
      at = writeOctets(name, target, at);
    } else at = writeInteger(known, 4, 0, target, at);
    return writeOctets(value, target, at);
  }

  #writeSizes(target: Buffer, start: number): number {
    let at = start;
    for (const size of this.#pendingSizes) at = writeInteger(size, 5, 0x20, target, at);
    this.#pendingSizes = [];
    return at;
  }

  #writeIndexed([name, value]: Field, target: Buffer, at: number): number {
    const key = `${name}\0${value}`;
    const known = staticFields.get(key);
    if (known !== undefined) return writeInteger(known, 7, 0x80, target, at);
    const position = this.#positions.get(key);
    if (position !== undefined) return writeInteger(firstDynamic + this.#inserted - position - 1, 7, 0x80, target, at);
    const size = name.length + value.length + fieldOverheadBytes;
    const kept = size <= this.#capacity;
    let end = writeInteger(staticNames.get(name) ?? 0, kept ? 6 : 4, kept ? 0x40 : 0, target, at);
    if (!staticNames.has(name)) end = writeShortest(name, target, end);
    end = writeShortest(value, target, end);
    if (kept) {
      this.#evict(size);
      this.#entries.push({ key, size, position: this.#inserted });
      this.#positions.set(key, this.#inserted++);
      this.#bytes += size;
      this.#generation++;
    }
    return end;
  }

  #evict(size: number): void {
    while (this.#bytes + size > this.#capacity) {
      const oldest = this.#entries.shift();
      if (oldest === undefined) return;
      this.#bytes -= oldest.size;
      if (this.#positions.get(oldest.key) === oldest.position) this.#positions.delete(oldest.key);
    }
  }
}

function spaceFor(fields: readonly Field[]): number {
  let space = 0;
  for (const [name, value] of fields) space += HpackEncoder.literalSpace(name, value);
  return space;
}

function writeInteger(value: number, prefix: number, flags: number, target: Buffer, start: number): number {
  const mask = (1 << prefix) - 1;
  if (value < mask) {
    target[start] = flags | value;
    return start + 1;
  }
  target[start] = flags | mask;
  let at = start + 1;
  let rest = value - mask;
  while (rest >= 128) {
    target[at++] = (rest & 127) | 128;
    rest = Math.floor(rest / 128);
  }
  target[at] = rest;
  return at + 1;
}

function writeOctets(text: string, target: Buffer, start: number): number {
  const at = writeInteger(text.length, 7, 0, target, start);
  if (text.length > 48) return at + target.write(text, at, "latin1");
  for (let index = 0; index < text.length; index++) target[at + index] = text.charCodeAt(index);
  return at + text.length;
}

function writeShortest(text: string, target: Buffer, start: number): number {
  const length = huffmanLength(text);
  if (length >= text.length) return writeOctets(text, target, start);
  return encodeHuffman(text, target, writeInteger(length, 7, 0x80, target, start));
}
