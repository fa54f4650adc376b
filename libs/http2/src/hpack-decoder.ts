import { ErrorCode, Http2Fault } from "./fault.ts";
import { nameFault, valueFault } from "./field-syntax.ts";
import { fieldOverheadBytes, HeaderBlock } from "./header-block.ts";
import { decodeHuffman } from "./huffman.ts";
import { staticTable } from "./static-table.ts";

/** Limits of a decoder. */
export interface HpackDecoderOptions {
  /** Greatest size of the dynamic table: what our SETTINGS_HEADER_TABLE_SIZE says. */
  readonly tableBytesMax: number;
  /** Greatest size of a header list; a larger one is decoded, for the table's sake, but not kept. */
  readonly listBytesMax: number;
  /** Blocks kept so that the same bytes are not decoded again. */
  readonly cachedBlocksMax: number;
}

interface Entry {
  readonly name: string;
  readonly value: string;
  readonly nameFault: string | undefined;
  readonly valueFault: string | undefined;
}

interface CachedBlock {
  readonly bytes: Buffer;
  /** State of the dynamic table that the block was read in; -1 where it does not depend on it. */
  readonly generation: number;
  readonly block: HeaderBlock;
}

const staticEntries: readonly (Entry | undefined)[] = [
  undefined,
  ...staticTable.map(([name, value]) => ({ name, value, nameFault: undefined, valueFault: valueFault(name, value) })),
];
const firstDynamic = staticEntries.length;
/** A power of two. */
const seenCount = 1_024;
/** Longest block that is worth keeping. */
const cachedBytesMax = 512;

function fault(message: string): Http2Fault {
  return new Http2Fault(ErrorCode.CompressionError, message);
}

/** Reads header blocks (RFC 7541). One a connection and direction: it holds the dynamic table. */
export class HpackDecoder {
  readonly #listBytesMax: number;
  readonly #cachedBlocksMax: number;
  readonly #tableBytesMax: number;
  readonly #cache = new Map<number, CachedBlock>();
  /** Hashes of blocks seen lately: a block is kept from its second time on, as many never come again. */
  readonly #seen = new Int32Array(seenCount);
  /** Entries in a ring; the newest is at #newest. */
  #ring: (Entry | undefined)[];
  #newest = 0;
  #count = 0;
  #tableBytes = 0;
  #capacity: number;
  /** Changes whenever the dynamic table does. */
  #generation = 0;
  #usedTable = false;
  /** Where the last integer or string ended. */
  #at = 0;

  constructor(options: HpackDecoderOptions) {
    this.#listBytesMax = options.listBytesMax;
    this.#cachedBlocksMax = options.cachedBlocksMax;
    this.#tableBytesMax = options.tableBytesMax;
    this.#capacity = options.tableBytesMax;
    this.#ring = new Array(Math.max(1, Math.ceil(options.tableBytesMax / fieldOverheadBytes))).fill(undefined);
  }

  /** Bytes in the dynamic table. */
  get tableBytes(): number {
    return this.#tableBytes;
  }

  /** Entries of the dynamic table, the newest first. */
  entries(): readonly (readonly [string, string])[] {
    return Array.from({ length: this.#count }, (_, index) => {
      const { name, value } = this.#lookup(firstDynamic + index);
      return [name, value] as const;
    });
  }

  /** Reads the block in `source[start, end)`. Throws Http2Fault with COMPRESSION_ERROR. */
  decode(source: Buffer, start: number, end: number): HeaderBlock {
    const length = end - start;
    if (length > cachedBytesMax || this.#cachedBlocksMax === 0) return this.#decodeBlock(source, start, end);
    let hash = length;
    for (let at = start; at < end; at++) hash = (Math.imul(hash, 31) + (source[at] as number)) | 0;
    const known = this.#cache.get(hash);
    if (
      known !== undefined &&
      (known.generation === this.#generation || known.generation === -1) &&
      sameBytes(known.bytes, source, start, length)
    )
      return known.block;
    const generation = this.#generation;
    this.#usedTable = false;
    const block = this.#decodeBlock(source, start, end);
    const again = this.#seen[hash & (seenCount - 1)] === hash;
    this.#seen[hash & (seenCount - 1)] = hash;
    if (again && generation === this.#generation && !block.oversized) {
      // Full: the cache starts again, which a peer that never repeats itself makes no worse than no cache.
      if (known === undefined && this.#cache.size >= this.#cachedBlocksMax) this.#cache.clear();
      this.#cache.set(hash, {
        bytes: Buffer.from(source.subarray(start, end)),
        generation: this.#usedTable ? generation : -1,
        block,
      });
    }
    return block;
  }

  #decodeBlock(source: Buffer, start: number, end: number): HeaderBlock {
    const block = new HeaderBlock();
    let at = start;
    let fields = 0;
    while (at < end) {
      const first = source[at] as number;
      if (first >= 128) {
        const index = this.#integer(source, at, end, 7);
        const entry = this.#lookup(index);
        this.#add(block, entry);
        fields++;
      } else if (first >= 64) {
        const entry = this.#literal(source, at, end, 6);
        this.#add(block, entry);
        this.#insert(entry);
        fields++;
      } else if (first >= 32) {
        if (fields > 0) throw fault("a change of the table's size after a field");
        const size = this.#integer(source, at, end, 5);
        if (size > this.#tableBytesMax) throw fault("a table larger than its limit");
        this.#capacity = size;
        this.#generation++;
        this.#evict(0);
      } else {
        const entry = this.#literal(source, at, end, 4);
        this.#add(block, entry);
        fields++;
      }
      at = this.#at;
    }
    return block;
  }

  #add(block: HeaderBlock, entry: Entry): void {
    block.add(entry.name, entry.value, this.#listBytesMax);
    const why = entry.nameFault ?? entry.valueFault;
    if (why !== undefined) block.malformed ??= why;
  }

  #literal(source: Buffer, start: number, end: number, prefix: number): Entry {
    const index = this.#integer(source, start, end, prefix);
    let name: string;
    let faultOfName: string | undefined;
    if (index === 0) {
      name = this.#string(source, this.#at, end);
      faultOfName = nameFault(name);
    } else ({ name, nameFault: faultOfName } = this.#lookup(index));
    const value = this.#string(source, this.#at, end);
    return { name, value, nameFault: faultOfName, valueFault: valueFault(name, value) };
  }

  #lookup(index: number): Entry {
    if (index < firstDynamic) {
      const entry = staticEntries[index];
      if (entry === undefined) throw fault("index 0");
      return entry;
    }
    this.#usedTable = true;
    const age = index - firstDynamic;
    if (age >= this.#count) throw fault("an index beyond the table");
    const ring = this.#ring;
    const slot = this.#newest - age;
    return ring[slot < 0 ? slot + ring.length : slot] as Entry;
  }

  #insert(entry: Entry): void {
    const size = entry.name.length + entry.value.length + fieldOverheadBytes;
    this.#generation++;
    this.#evict(size);
    if (size > this.#capacity) return;
    this.#newest = this.#newest + 1 === this.#ring.length ? 0 : this.#newest + 1;
    this.#ring[this.#newest] = entry;
    this.#count++;
    this.#tableBytes += size;
  }

  /** Drops the oldest until `size` more bytes fit. */
  #evict(size: number): void {
    while (this.#count > 0 && this.#tableBytes + size > this.#capacity) {
      const slot = this.#newest - this.#count + 1;
      const index = slot < 0 ? slot + this.#ring.length : slot;
      const entry = this.#ring[index] as Entry;
      this.#tableBytes -= entry.name.length + entry.value.length + fieldOverheadBytes;
      this.#ring[index] = undefined;
      this.#count--;
    }
  }

  #integer(source: Buffer, start: number, end: number, prefix: number): number {
    if (start >= end) throw fault("a block that breaks off");
    const mask = (1 << prefix) - 1;
    let value = (source[start] as number) & mask;
    let at = start + 1;
    if (value === mask) {
      let factor = 1;
      for (;;) {
        if (at >= end) throw fault("a block that breaks off");
        const octet = source[at++] as number;
        value += (octet & 127) * factor;
        if (octet < 128) break;
        factor *= 128;
        // Five octets hold any number of use here.
        if (factor > 2 ** 28) throw fault("an integer too large");
      }
    }
    this.#at = at;
    return value;
  }

  #string(source: Buffer, start: number, end: number): string {
    const huffman = start < end && (source[start] as number) >= 128;
    const length = this.#integer(source, start, end, 7);
    const at = this.#at;
    if (length > end - at) throw fault("a string that breaks off");
    this.#at = at + length;
    if (!huffman) return source.toString("latin1", at, at + length);
    const text = decodeHuffman(source, at, at + length);
    if (text === undefined) throw fault("a string that Huffman's code does not give");
    return text;
  }
}

function sameBytes(known: Buffer, source: Buffer, start: number, length: number): boolean {
  if (known.length !== length) return false;
  for (let index = 0; index < length; index++) if (known[index] !== source[start + index]) return false;
  return true;
}
