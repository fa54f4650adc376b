import type { Backend, Balancer } from "./balancer.ts";

/** Points of a backend of weight 1: with 160 the shares of equal ones lie within some 10 % of each other. */
const pointsPerWeight = 160;
/** Points of the whole ring; beyond, each backend gets fewer. */
const pointsMax = 65_536;
const hashRange = 2 ** 32;
/** Of a point as one number: the hash above, the backend's place below. */
const placeRange = 2 ** 20;

/**
 * A ring of hashed points (Karger et al., 1997): a key belongs to the first point after its own hash, so a backend that
 * comes or goes moves only the keys that are its own. With a load factor a backend above that multiple of the mean load
 * passes its keys on to the next (Mirrokni et al., "Consistent hashing with bounded loads").
 */
export class ConsistentHash<B extends Backend> implements Balancer<B> {
  readonly #random: () => number;
  readonly #loadFactor: number | undefined;
  #backends: readonly B[] = [];
  /** Points in order. */
  #ring = new Float64Array(0);
  /** The pick in which a backend was last passed over, by place. */
  #passed = new Uint32Array(0);
  #picks = 0;

  constructor(options: { readonly loadFactor: number | undefined; readonly random: () => number }) {
    this.#random = options.random;
    this.#loadFactor = options.loadFactor;
  }

  use(backends: readonly B[]): void {
    this.#backends = backends;
    this.#passed = new Uint32Array(backends.length);
    this.#picks = 0;
    let weights = 0;
    for (const { weight } of backends) weights += weight;
    const points = Math.max(1, Math.min(pointsPerWeight, Math.floor(pointsMax / Math.max(1, weights))));
    const ring = new Float64Array(weights * points);
    let at = 0;
    for (const [place, { id, weight }] of backends.entries()) {
      const seed = hashText(id);
      for (let point = 0; point < weight * points; point++) ring[at++] = mix(seed, point) * placeRange + place;
    }
    this.#ring = ring.sort();
  }

  /** A request without a key goes anywhere. */
  pick(key: string | undefined): B | undefined {
    const ring = this.#ring;
    const count = this.#backends.length;
    if (count === 0) return undefined;
    const hash = key === undefined ? Math.floor(this.#random() * hashRange) : mix(hashText(key), 0);
    const loadMax = this.#loadMax();
    const serial = this.#nextPick();
    let fallback: B | undefined;
    for (let at = firstFrom(ring, hash * placeRange), passed = 0; passed < count; at++) {
      if (at >= ring.length) at = 0;
      const place = (ring[at] ?? 0) % placeRange;
      if (this.#passed[place] === serial) continue;
      const backend = this.#backends[place];
      if (backend?.canTake === true) {
        if (backend.load < loadMax) return backend;
        fallback ??= backend;
      }
      this.#passed[place] = serial;
      passed++;
    }
    return fallback;
  }

  #loadMax(): number {
    if (this.#loadFactor === undefined) return Number.POSITIVE_INFINITY;
    let load = 1;
    for (const backend of this.#backends) load += backend.load;
    return Math.ceil((load / this.#backends.length) * this.#loadFactor);
  }

  #nextPick(): number {
    if (this.#picks === 0xffff_ffff) {
      this.#passed.fill(0);
      this.#picks = 0;
    }
    return ++this.#picks;
  }
}

/** Place of the first point that is not before `from`; the length where there is none. */
function firstFrom(ring: Float64Array, from: number): number {
  let low = 0;
  let high = ring.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ring[middle] ?? 0) < from) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** FNV-1a over the text's UTF-16 units: the same in every process. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash >>> 0;
}

/** Spreads a hash and a number over 32 bits (the finalizer of MurmurHash3). */
function mix(hash: number, number: number): number {
  let mixed = hash ^ Math.imul(number + 1, 0x9e3779b1);
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
