import { encodeHuffman, huffmanLength } from "../../huffman.ts";
import { staticTable } from "../../static-table.ts";

type Random = (below: number) => number;

/** Names and values of a header list. */
export type FieldList = readonly (readonly [name: string, value: string])[];

const tableBytes = 4_096;

/** Writes header blocks in any of the ways that RFC 7541 has for a field, picked by chance; keeps the dynamic table in step. */
export class BlockWriter {
  readonly #random: Random;
  #entries: (readonly [string, string])[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  /** The block of a header list. */
  write(fields: FieldList): Buffer {
    const parts = this.#random(12) === 0 ? [integer(0x20, 5, 0), integer(0x20, 5, tableBytes)] : [];
    if (parts.length > 0) this.#entries = [];
    for (const [name, value] of fields) parts.push(this.#field(name, value));
    return Buffer.concat(parts);
  }

  #field(name: string, value: string): Buffer {
    const random = this.#random;
    const all = [...staticTable, ...this.#entries];
    const whole = all.findIndex((entry) => entry[0] === name && entry[1] === value);
    if (whole >= 0 && random(8) > 0) return integer(0x80, 7, whole + 1);
    const named = all.findIndex((entry) => entry[0] === name);
    const index = named >= 0 && random(4) > 0 ? named + 1 : 0;
    const way = random(3);
    const head = way === 0 ? integer(0x40, 6, index) : integer(way === 1 ? 0 : 0x10, 4, index);
    if (way === 0) this.#insert(name, value);
    const parts = [head];
    if (index === 0) parts.push(this.#text(name));
    parts.push(this.#text(value));
    return Buffer.concat(parts);
  }

  #text(text: string): Buffer {
    if (this.#random(2) === 0) return Buffer.concat([integer(0, 7, text.length), Buffer.from(text, "latin1")]);
    const bytes = Buffer.alloc(huffmanLength(text));
    encodeHuffman(text, bytes, 0);
    return Buffer.concat([integer(0x80, 7, bytes.length), bytes]);
  }

  #insert(name: string, value: string): void {
    this.#entries.unshift([name, value]);
    let bytes = 0;
    const kept = this.#entries.findIndex((entry) => {
      bytes += entry[0].length + entry[1].length + 32;
      return bytes > tableBytes;
    });
    if (kept >= 0) this.#entries.length = kept;
  }
}

/** An integer of RFC 7541, section 5.1. */
function integer(flags: number, prefix: number, value: number): Buffer {
  const mask = (1 << prefix) - 1;
  if (value < mask) return Buffer.from([flags | value]);
  const octets = [flags | mask];
  let rest = value - mask;
  for (; rest >= 128; rest = Math.floor(rest / 128)) octets.push((rest & 127) | 128);
  octets.push(rest);
  return Buffer.from(octets);
}
