import type { FeatureReference, Value } from "@weft/scenario";
import { passesFilters } from "./item-filters.ts";
import type { ItemFilter, Key } from "./peers.ts";

/** An item of the fallback list, with what is known of it. */
export interface PopularItem {
  readonly key: Key;
  /** Values by reference; undefined where the attributes could not be read. */
  readonly attributes: Readonly<Record<FeatureReference, Value>> | undefined;
}

/** What the fallback of `Recommend` answers from: the last good list, held in memory so that it needs no peer. */
export class PopularList {
  #items: readonly PopularItem[] = [];

  /** False until a list has been read. */
  get loaded(): boolean {
    return this.#items.length > 0;
  }

  get items(): readonly PopularItem[] {
    return this.#items;
  }

  /** Replaces the list; an empty one is not taken, so that the last good list stays. */
  replace(items: readonly PopularItem[]): boolean {
    if (items.length === 0) return false;
    this.#items = items;
    return true;
  }

  /**
   * The best items that are not dropped and pass the filters. A filter is never violated: an item whose attributes are not
   * known is left out, and `unknown` counts those.
   */
  select(
    count: number,
    dropped: ReadonlySet<Key>,
    filters: readonly ItemFilter[],
  ): { readonly items: readonly PopularItem[]; readonly unknown: number } {
    const selected: PopularItem[] = [];
    let unknown = 0;
    for (const item of this.#items) {
      if (selected.length >= count) break;
      if (dropped.has(item.key)) continue;
      if (filters.length > 0) {
        if (item.attributes === undefined) {
          unknown += 1;
          continue;
        }
        if (!passesFilters(item.attributes, filters)) continue;
      }
      selected.push(item);
    }
    return { items: selected, unknown };
  }
}
