import type { KeyType, ValueType } from "@weft/scenario";

/** A value that windows can tell apart. */
export type Distinguishable = string | bigint | number | boolean;

/** How a dictionary's values are packed: 8-byte integers, 8-byte doubles, truth values as doubles, or texts. */
export type DictionaryKind = KeyType | "number" | "bool";

/** The kind for a field's type; undefined where its values cannot be told apart cheaply (lists, vectors, bytes). */
export function dictionaryKind(type: ValueType): DictionaryKind | undefined {
  switch (type) {
    case "int64":
    case "string":
    case "bool":
      return type;
    case "float32":
    case "float64":
      return "number";
    default:
      return undefined;
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * The different values of one field in one state, numbered from 0 in the order they came. Packed: u32 count, u32 bytes,
 * then the values (little-endian; texts with a u32 length each). Values are decoded when first asked for.
 */
export class Dictionary {
  readonly #kind: DictionaryKind;
  #values: Distinguishable[] | undefined;
  #codes: Map<Distinguishable, number> | undefined;
  readonly #packed: DataView | undefined;
  #size: number;

  constructor(kind: DictionaryKind, packed?: { readonly view: DataView; readonly count: number }) {
    this.#kind = kind;
    this.#packed = packed?.view;
    this.#size = packed?.count ?? 0;
    if (packed === undefined) this.#values = [];
  }

  get size(): number {
    return this.#size;
  }

  value(code: number): Distinguishable {
    const value = this.#decoded()[code];
    if (value === undefined) throw new RangeError(`no value ${code} in a dictionary of ${this.#size}`);
    return value;
  }

  /** Number of a value, added where it is new; -1 where it is new and `max` values are there. */
  code(value: Distinguishable, max: number): number {
    const codes = this.#index();
    const found = codes.get(value);
    if (found !== undefined) return found;
    if (this.#size >= max) return -1;
    this.#decoded().push(value);
    codes.set(value, this.#size);
    return this.#size++;
  }

  /** The same values under new numbers, without those whose new number is -1. */
  renumbered(codes: Int32Array, size: number): Dictionary {
    const renumbered = new Dictionary(this.#kind);
    const values = new Array<Distinguishable>(size);
    this.#decoded().forEach((value, code) => {
      const next = codes[code] ?? -1;
      if (next >= 0) values[next] = value;
    });
    renumbered.#values = values;
    renumbered.#size = size;
    return renumbered;
  }

  /** Packs into bytes. */
  encode(): Uint8Array {
    const values = this.#decoded();
    if (this.#kind === "string") {
      const texts = values.map((value) => encoder.encode(String(value)));
      const bytes = new Uint8Array(8 + texts.reduce((sum, text) => sum + 4 + text.length, 0));
      const view = new DataView(bytes.buffer);
      let offset = 8;
      for (const text of texts) {
        view.setUint32(offset, text.length, true);
        bytes.set(text, offset + 4);
        offset += 4 + text.length;
      }
      view.setUint32(0, values.length, true);
      view.setUint32(4, bytes.length - 8, true);
      return bytes;
    }
    const bytes = new Uint8Array(8 + 8 * values.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, values.length, true);
    view.setUint32(4, 8 * values.length, true);
    values.forEach((value, index) => {
      if (typeof value === "bigint") view.setBigInt64(8 + 8 * index, value, true);
      else view.setFloat64(8 + 8 * index, Number(value), true);
    });
    return bytes;
  }

  /** Bytes that a packed dictionary takes, without packing it. */
  static packedBytes(view: DataView, offset: number): number {
    return 8 + view.getUint32(offset + 4, true);
  }

  #index(): Map<Distinguishable, number> {
    if (this.#codes === undefined) this.#codes = new Map(this.#decoded().map((value, code) => [value, code]));
    return this.#codes;
  }

  #decoded(): Distinguishable[] {
    if (this.#values !== undefined) return this.#values;
    const values: Distinguishable[] = [];
    const view = this.#packed;
    let offset = 8;
    for (let code = 0; view !== undefined && code < this.#size; code++) {
      if (this.#kind === "string") {
        const length = view.getUint32(offset, true);
        values.push(decoder.decode(new Uint8Array(view.buffer, view.byteOffset + offset + 4, length)));
        offset += 4 + length;
      } else {
        if (this.#kind === "int64") values.push(view.getBigInt64(offset, true));
        else if (this.#kind === "bool") values.push(view.getFloat64(offset, true) !== 0);
        else values.push(view.getFloat64(offset, true));
        offset += 8;
      }
    }
    this.#values = values;
    return values;
  }
}
