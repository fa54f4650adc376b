import type { Distinguishable } from "./dictionary.ts";
import type { Sketch } from "./sketch.ts";

const registerBits = 12;
const registers = 1 << registerBits;
/** Bits of a hash that are left to find the first one in. */
const rankBits = 52;
/** Ranks fit in 6 bits; a code is `register * 64 + rank`. */
const rankSpan = 64;
/** Words of all registers, a byte each. */
const denseWords = registers / 8;
const topBits = 0x8080_8080 | 0;

/** Greatest relative standard error of an estimate: 1.04 / sqrt(4096). */
export const distinctStandardError = 1.04 / Math.sqrt(registers);

/**
 * HyperLogLog (Flajolet et al. 2007) with 4,096 registers and Ertl's estimator (2017, arXiv 1702.01284, algorithm 6),
 * which needs no table and no switch between ranges. Packed: words that follow, then either a code a non-zero register,
 * in order, or all registers, a byte each; no such byte is above 0x35, so that no word of them reads as a NaN.
 */
export class DistinctSketch implements Sketch {
  readonly #ranks = new Uint8Array(registers);
  /** The same registers, four a word. */
  readonly #quads = new Int32Array(this.#ranks.buffer);
  #isEmpty = true;

  clear(): void {
    if (!this.#isEmpty) this.#ranks.fill(0);
    this.#isEmpty = true;
  }

  add(code: number): void {
    if (Number.isNaN(code)) return;
    const register = Math.floor(code / rankSpan);
    const rank = code % rankSpan;
    if (rank > (this.#ranks[register] ?? 0)) this.#ranks[register] = rank;
    this.#isEmpty = false;
  }

  addPacked(words: Float64Array, from: number): number {
    const length = words[from] ?? 0;
    const end = from + 1 + length;
    if (length < denseWords) {
      for (let at = from + 1; at < end; at++) this.add(words[at] ?? Number.NaN);
      return end;
    }
    const others = new Int32Array(words.buffer, words.byteOffset + 8 * (from + 1), registers / 4);
    const quads = this.#quads;
    for (let i = 0; i < quads.length; i++) {
      const a = quads[i] ?? 0;
      const b = others[i] ?? 0;
      // The top bit of each byte says whether a's is at least b's: no byte reaches 0x80, so nothing is borrowed.
      const mask = Math.imul((((a | topBits) - b) & topBits) >>> 7, 0xff);
      quads[i] = (a & mask) | (b & ~mask);
    }
    this.#isEmpty = false;
    return end;
  }

  packedWords(): number {
    return 1 + Math.min(this.#used(), denseWords);
  }

  pack(words: Float64Array, to: number): number {
    const used = this.#used();
    const length = Math.min(used, denseWords);
    words[to] = length;
    let at = to + 1;
    if (used < denseWords)
      for (let i = 0; i < this.#quads.length; i++) {
        if (this.#quads[i] === 0) continue;
        for (let register = 4 * i; register < 4 * i + 4; register++) {
          const rank = this.#ranks[register] ?? 0;
          if (rank > 0) words[at++] = register * rankSpan + rank;
        }
      }
    else new Uint8Array(words.buffer, words.byteOffset + 8 * at, registers).set(this.#ranks);
    return to + 1 + length;
  }

  /** The estimate, rounded to a whole number; 0 where nothing was added. */
  estimate(): number {
    if (this.#isEmpty) return 0;
    const counts = new Float64Array(rankBits + 2);
    for (const rank of this.#ranks) counts[rank] = (counts[rank] ?? 0) + 1;
    let z = registers * tau(1 - (counts[rankBits + 1] ?? 0) / registers);
    for (let rank = rankBits; rank >= 1; rank--) z = 0.5 * (z + (counts[rank] ?? 0));
    z += registers * sigma((counts[0] ?? 0) / registers);
    return Math.round((registers * registers) / (2 * Math.LN2 * z));
  }

  /** Registers that are not zero. */
  #used(): number {
    if (this.#isEmpty) return 0;
    let used = 0;
    for (const quad of this.#quads) {
      if (quad === 0) continue;
      used += (quad & 0xff ? 1 : 0) + (quad & 0xff00 ? 1 : 0) + (quad & 0xff_0000 ? 1 : 0) + (quad >>> 24 ? 1 : 0);
    }
    return used;
  }
}

function sigma(x: number): number {
  if (x === 1) return Number.POSITIVE_INFINITY;
  let power = x;
  let weight = 1;
  let sum = x;
  for (let previous = -1; sum !== previous; weight += weight) {
    power *= power;
    previous = sum;
    sum += power * weight;
  }
  return sum;
}

function tau(x: number): number {
  if (x === 0 || x === 1) return 0;
  let root = x;
  let weight = 1;
  let sum = 1 - x;
  for (let previous = -1; sum !== previous; ) {
    root = Math.sqrt(root);
    previous = sum;
    weight *= 0.5;
    sum -= (1 - root) ** 2 * weight;
  }
  return sum / 3;
}

const numberBytes = new DataView(new ArrayBuffer(8));

/** Code of a value: its register and the place of the first set bit in the rest of a 64-bit hash. */
export function distinctCode(value: Distinguishable): number {
  let a = 0x9747_b28c;
  let b = 0x3c6e_f372;
  const mix = (word: number) => {
    a = scrambled(a, word, 0xcc9e_2d51, 0x1b87_3593, 15, 13);
    b = scrambled(b, word, 0x239b_961b, 0xab0e_9789, 17, 15);
  };
  let length = 8;
  if (typeof value === "string") {
    length = value.length;
    for (let i = 0; i < length; i++) mix(value.charCodeAt(i));
  } else {
    if (typeof value === "bigint") numberBytes.setBigInt64(0, value);
    else numberBytes.setFloat64(0, Number(value));
    mix(numberBytes.getInt32(0));
    mix(numberBytes.getInt32(4));
  }
  a = finished(a ^ length ^ b);
  b = finished(b + a);
  const register = a >>> (32 - registerBits);
  // 20 bits of one half, then 32 of the other.
  const high = (a << registerBits) >>> 0;
  const rank = high !== 0 ? 1 + Math.clz32(high) : 1 + 32 - registerBits + Math.clz32(b);
  return register * rankSpan + rank;
}

/** A round of MurmurHash3 (Appleby 2008). */
function scrambled(hash: number, word: number, first: number, second: number, turn: number, spin: number): number {
  const product = Math.imul(word, first);
  const mixed = hash ^ Math.imul((product << turn) | (product >>> (32 - turn)), second);
  return Math.imul((mixed << spin) | (mixed >>> (32 - spin)), 5) + 0xe654_6b64;
}

/** MurmurHash3's finalizer: every input bit changes every output bit with even odds. */
function finished(hash: number): number {
  let mixed = hash ^ (hash >>> 16);
  mixed = Math.imul(mixed, 0x85eb_ca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2_ae35);
  return mixed ^ (mixed >>> 16);
}
