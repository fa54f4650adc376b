import type { Distinguishable } from "./dictionary.ts";
import type { Sketch } from "./sketch.ts";

const registerBits = 12;
const registers = 1 << registerBits;
/** Bits of a hash that are left to find the first one in. */
const rankBits = 52;
/** Ranks fit in 6 bits; a code is `register * 64 + rank`. */
const rankSpan = 64;
const registersPerWord = 8;
const denseWords = Math.ceil(registers / registersPerWord);

/** Greatest relative standard error of an estimate: 1.04 / sqrt(4096). */
export const distinctStandardError = 1.04 / Math.sqrt(registers);

/**
 * HyperLogLog (Flajolet et al. 2007) with 4,096 registers and Ertl's estimator (2017, arXiv 1702.01284, algorithm 6),
 * which needs no table and no switch between ranges. Packed: words that follow, then either a code a non-zero register,
 * in order, or all registers, eight a word.
 */
export class DistinctSketch implements Sketch {
  readonly #ranks = new Uint8Array(registers);
  #used = 0;

  clear(): void {
    if (this.#used === 0) return;
    this.#ranks.fill(0);
    this.#used = 0;
  }

  add(code: number): void {
    if (Number.isNaN(code)) return;
    this.#raise(Math.floor(code / rankSpan), code % rankSpan);
  }

  addPacked(words: Float64Array, from: number): number {
    const length = words[from] ?? 0;
    let at = from + 1;
    if (length < denseWords) {
      for (const end = at + length; at < end; at++) this.add(words[at] ?? Number.NaN);
      return at;
    }
    for (let register = 0; register < registers; at++) {
      let rest = words[at] ?? 0;
      for (let i = 0; i < registersPerWord && register < registers; i++) {
        const rank = rest % rankSpan;
        if (rank > 0) this.#raise(register, rank);
        rest = (rest - rank) / rankSpan;
        register++;
      }
    }
    return at;
  }

  packedWords(): number {
    return 1 + Math.min(this.#used, denseWords);
  }

  pack(words: Float64Array, to: number): number {
    const ranks = this.#ranks;
    let at = to + 1;
    if (this.#used < denseWords) {
      for (let register = 0; register < registers; register++) {
        const rank = ranks[register] ?? 0;
        if (rank > 0) words[at++] = register * rankSpan + rank;
      }
    } else
      for (let first = 0; first < registers; first += registersPerWord) {
        let word = 0;
        for (let i = registersPerWord - 1; i >= 0; i--) word = word * rankSpan + (ranks[first + i] ?? 0);
        words[at++] = word;
      }
    words[to] = at - to - 1;
    return at;
  }

  /** The estimate, rounded to a whole number; 0 where nothing was added. */
  estimate(): number {
    if (this.#used === 0) return 0;
    const counts = new Array<number>(rankBits + 2).fill(0);
    for (const rank of this.#ranks) counts[rank] = (counts[rank] ?? 0) + 1;
    let z = registers * tau(1 - (counts[rankBits + 1] ?? 0) / registers);
    for (let rank = rankBits; rank >= 1; rank--) z = 0.5 * (z + (counts[rank] ?? 0));
    z += registers * sigma((counts[0] ?? 0) / registers);
    return Math.round((registers * registers) / (2 * Math.LN2 * z));
  }

  #raise(register: number, rank: number): void {
    const known = this.#ranks[register] ?? 0;
    if (known === 0) this.#used++;
    if (rank > known) this.#ranks[register] = rank;
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
