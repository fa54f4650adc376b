import { neighborCount } from "./catalog.ts";

/** The nearest items, nearest first, with cosine similarities in (0, 1]; 0 where there are fewer than neighborCount. */
export interface NeighborList {
  readonly keys: readonly number[];
  readonly similarities: readonly number[];
}

/** Pairs with fewer users in common than this are no neighbors. */
const commonUsersMin = 3;
/** Added to the common users in the denominator's place, so that few common users weigh little. */
const shrinkage = 10;

/** How often two items were rated, or liked, by the same users, kept up to date one rating at a time. */
export class ItemNeighbors {
  readonly #size: number;
  readonly #rated: Pairs;
  readonly #liked: Pairs;
  #changed = new Set<number>();

  /** Item keys run from 1 to maxItem. */
  constructor(maxItem: number) {
    this.#size = maxItem + 1;
    this.#rated = new Pairs(this.#size);
    this.#liked = new Pairs(this.#size);
  }

  add(user: number, item: number, liked: boolean): void {
    this.#rated.add(user, item);
    if (liked) this.#liked.add(user, item);
    this.#changed.add(item);
  }

  /** For each item its summed similarity to those given. */
  scores(items: readonly number[]): ReadonlyMap<number, number> {
    const scores = new Map<number, number>();
    for (let other = 1; other < this.#size; other++) {
      let score = 0;
      for (const item of items) score += this.#rated.similarity(item, other);
      if (score > 0) scores.set(other, score);
    }
    return scores;
  }

  /** The neighbors of the items that were rated since the last snapshot. */
  snapshot(): readonly { readonly item: number; readonly rated: NeighborList; readonly liked: NeighborList }[] {
    const items = [...this.#changed].sort((a, b) => a - b);
    this.#changed = new Set();
    return items.map((item) => ({ item, rated: this.#rated.nearest(item), liked: this.#liked.nearest(item) }));
  }
}

class Pairs {
  readonly #size: number;
  readonly #common: Uint16Array;
  readonly #histories = new Map<number, number[]>();

  constructor(size: number) {
    this.#size = size;
    this.#common = new Uint16Array(size * size);
  }

  add(user: number, item: number): void {
    const history = this.#histories.get(user) ?? [];
    this.#histories.set(user, history);
    history.push(item);
    for (const other of history) {
      this.#count(item, other);
      if (other !== item) this.#count(other, item);
    }
  }

  #count(a: number, b: number): void {
    const at = a * this.#size + b;
    this.#common[at] = (this.#common[at] ?? 0) + 1;
  }

  #of(a: number, b: number): number {
    return this.#common[a * this.#size + b] ?? 0;
  }

  /** Cosine of the two items' users, shrunk towards 0 where few are common; 0 below the least number in common. */
  similarity(a: number, b: number): number {
    const common = this.#of(a, b);
    if (a === b || common < commonUsersMin) return 0;
    return (common / Math.sqrt(this.#of(a, a) * this.#of(b, b))) * (common / (common + shrinkage));
  }

  nearest(item: number): NeighborList {
    const found: { key: number; similarity: number }[] = [];
    for (let key = 1; key < this.#size; key++) {
      const similarity = this.similarity(item, key);
      if (similarity > 0) found.push({ key, similarity });
    }
    found.sort((a, b) => b.similarity - a.similarity || a.key - b.key);
    const kept = found.slice(0, neighborCount);
    const similarities = kept.map((pair) => Number(pair.similarity.toFixed(3)));
    while (similarities.length < neighborCount) similarities.push(0);
    return { keys: kept.map(({ key }) => key), similarities };
  }
}
