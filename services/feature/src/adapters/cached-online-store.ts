import type { Clock } from "@weft/service";
import {
  type AppliedOffset,
  type Mutation,
  type OnlineStore,
  ReadBatch,
  type StoredValue,
  type ViewHandle,
} from "../domain/online/online-store.ts";
import type { EntityKey } from "../domain/views/entity-key.ts";

/** Bounds of the cache before a shared store. */
export interface CacheOptions {
  readonly clock: Clock;
  /** Values kept, each 512 bytes of a value counting as one more; 0 keeps none. */
  readonly entriesMax: number;
  /** How long a value answers without being read again: how late another process's write may be seen. */
  readonly ttlMs: number;
  /**
   * Once the store has failed for so long without one success, reads answer without it, but for one in as long. What
   * passes sooner, such as a stall, costs no more than the reads that met it.
   */
  readonly retryAfterMs: number;
  readonly observer: CacheObserver;
}

/** What the cache reports. */
export interface CacheObserver {
  /** Places answered from memory, and places asked of the store, of one read. */
  looked(hits: number, misses: number): void;
  /** Places that the store could not be asked for. */
  unread(places: number, cause: unknown): void;
}

/** A value, absent ones included, and when it was read. */
interface Entry {
  value: StoredValue | undefined;
  /** The value answers until then; -Infinity: it stands in only while the store fails. */
  freshUntilMs: number;
}

/** What is kept of one view's published generation. */
interface Kept {
  generation: number;
  /** Read or written of late, and in the epoch before. */
  young: Map<EntityKey, Entry>;
  old: Map<EntityKey, Entry>;
  epoch: number;
  /** Reads under way, by key; one that a write has passed is taken out, and keeps nothing. */
  readonly flights: Map<EntityKey, Flight>;
}

/** A place of a read of the store that is under way. */
interface Flight {
  readonly batch: ReadBatch;
  readonly place: number;
  readonly done: Promise<void>;
}

/**
 * Keeps values of a shared store in memory, by two generations of maps (when the young one is full it becomes the old
 * one, and what is read again moves back). A key that is asked for several times at once is read once. What this process
 * writes, it reads; what others write, it reads within the TTL, and what they publish as soon as the store follows.
 *
 * A read never fails here: where the store cannot be asked, places are marked as unread and hold the last value known.
 */
export class CachedOnlineStore implements OnlineStore {
  readonly #store: OnlineStore;
  readonly #options: CacheOptions;
  readonly #kept = new Map<ViewHandle, Kept>();
  readonly #youngMax: number;
  #young = 0;
  #epoch = 0;
  /** When the first read failed of those since the last success. */
  #failingSinceMs: number | undefined;
  #nextTryMs = 0;
  #isTrying = false;

  constructor(store: OnlineStore, options: CacheOptions) {
    this.#store = store;
    this.#options = options;
    this.#youngMax = options.entriesMax >> 1;
  }

  async openView(id: string): Promise<ViewHandle> {
    const view = await this.#store.openView(id);
    if (!this.#kept.has(view)) {
      const { generation } = view;
      this.#kept.set(view, { generation, young: new Map(), old: new Map(), epoch: this.#epoch, flights: new Map() });
    }
    return view;
  }

  get(batch: ReadBatch): undefined | Promise<void> {
    const nowMs = this.#options.clock.nowMs();
    let missed: number[] | undefined;
    for (let place = 0; place < batch.size; place++) {
      const kept = this.#keptOf(batch.views[place]);
      const entry = kept === undefined ? undefined : this.#find(kept, batch.keys[place] ?? "");
      batch.values[place] = entry?.value;
      if (!batch.isFresh && entry !== undefined && entry.freshUntilMs >= nowMs) continue;
      if (missed === undefined) missed = [place];
      else missed.push(place);
    }
    this.#options.observer.looked(batch.size - (missed?.length ?? 0), missed?.length ?? 0);
    return missed === undefined ? undefined : this.#fetch(batch, missed, nowMs);
  }

  async write(mutations: readonly Mutation[], offsets?: readonly AppliedOffset[]): Promise<void> {
    const written: (Uint8Array | undefined)[] = new Array(mutations.length);
    const noted = mutations.map(({ view, key, merge }, index): Mutation => {
      const note: Mutation["merge"] = (current, applied) => {
        const bytes = merge(current, applied);
        written[index] = bytes;
        return bytes;
      };
      return { view, key, merge: note };
    });
    try {
      await this.#store.write(noted, offsets);
    } catch (error) {
      // Some of it may have been written.
      for (const { view, key } of mutations) this.#expire(view, key);
      throw error;
    }
    mutations.forEach(({ view, key }, index) => {
      const bytes = written[index];
      const kept = this.#keptOf(view);
      if (bytes === undefined || kept === undefined) return;
      kept.flights.delete(key);
      // What nobody has read of late is not worth the memory.
      if (this.#find(kept, key) !== undefined) this.#keep(kept, key, { bytes: bytes.slice(), decoded: undefined });
    });
  }

  appliedOffset(view: ViewHandle, partition?: string): Promise<number> {
    return this.#store.appliedOffset(view, partition);
  }

  appliedOffsets(view: ViewHandle): Promise<ReadonlyMap<string, number>> {
    return this.#store.appliedOffsets(view);
  }

  listKeys(view: ViewHandle, after: EntityKey | undefined, limit: number): Promise<EntityKey[]> {
    return this.#store.listKeys(view, after, limit);
  }

  createGeneration(view: ViewHandle): Promise<ViewHandle> {
    return this.#store.createGeneration(view);
  }

  dropGeneration(generation: ViewHandle): Promise<void> {
    return this.#store.dropGeneration(generation);
  }

  previousGeneration(view: ViewHandle): Promise<ViewHandle | undefined> {
    return this.#store.previousGeneration(view);
  }

  publish(generations: readonly ViewHandle[]): Promise<void> {
    return this.#store.publish(generations);
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  /** Reads what is missing, each key once however many ask for it. */
  async #fetch(batch: ReadBatch, missed: readonly number[], nowMs: number): Promise<void> {
    if (this.#isAway(nowMs) && (this.#isTrying || nowMs < this.#nextTryMs)) {
      this.#leaveUnread(batch, missed, undefined);
      return;
    }
    const own = new ReadBatch();
    const ownPlaces: number[] = [];
    let joined: { readonly place: number; readonly flight: Flight }[] | undefined;
    for (const place of missed) {
      const view = batch.views[place];
      const key = batch.keys[place] ?? "";
      const flight = batch.isFresh ? undefined : this.#keptOf(view)?.flights.get(key);
      if (flight !== undefined) {
        joined ??= [];
        joined.push({ place, flight });
      } else if (view !== undefined) {
        own.add(view, key);
        ownPlaces.push(place);
      }
    }
    if (own.size > 0) await this.#fly(batch, own, ownPlaces, nowMs);
    for (const { place, flight } of joined ?? []) {
      try {
        await flight.done;
        batch.values[place] = flight.batch.values[flight.place];
      } catch (cause) {
        this.#leaveUnread(batch, [place], cause);
      }
    }
  }

  async #fly(batch: ReadBatch, own: ReadBatch, places: readonly number[], nowMs: number): Promise<void> {
    if (this.#isAway(nowMs)) this.#isTrying = true;
    const done = Promise.resolve(this.#store.get(own));
    const flights: Flight[] = [];
    if (this.#youngMax > 0)
      for (let i = 0; i < own.size; i++) {
        const flight: Flight = { batch: own, place: i, done };
        flights[i] = flight;
        this.#keptOf(own.views[i])?.flights.set(own.keys[i] ?? "", flight);
      }
    try {
      await done;
      this.#failingSinceMs = undefined;
    } catch (cause) {
      const failedMs = this.#options.clock.nowMs();
      this.#failingSinceMs ??= failedMs;
      this.#nextTryMs = failedMs + this.#options.retryAfterMs;
      this.#leaveUnread(batch, places, cause);
    }
    this.#isTrying = false;
    for (let i = 0; i < own.size; i++) {
      const kept = this.#keptOf(own.views[i]);
      const key = own.keys[i] ?? "";
      const isCurrent = flights[i] !== undefined && kept?.flights.get(key) === flights[i];
      if (isCurrent) kept?.flights.delete(key);
      if (batch.unread?.has(places[i] ?? -1) === true) continue;
      const found = own.values[i];
      const value = isCurrent && kept !== undefined ? this.#keep(kept, key, copied(found)) : found;
      batch.values[places[i] ?? 0] = value;
    }
  }

  #isAway(nowMs: number): boolean {
    return this.#failingSinceMs !== undefined && nowMs - this.#failingSinceMs >= this.#options.retryAfterMs;
  }

  #leaveUnread(batch: ReadBatch, places: readonly number[], cause: unknown): void {
    batch.unread ??= new Set();
    for (const place of places) batch.unread.add(place);
    this.#options.observer.unread(places.length, cause);
  }

  /** What is kept of a view, from its published generation on; undefined for a generation that nobody reads. */
  #keptOf(view: ViewHandle | undefined): Kept | undefined {
    const kept = view === undefined ? undefined : this.#kept.get(view);
    if (kept === undefined || view === undefined) return undefined;
    if (kept.generation !== view.generation) {
      kept.generation = view.generation;
      kept.young = new Map();
      kept.old = new Map();
      kept.flights.clear();
    }
    return kept;
  }

  #find(kept: Kept, key: EntityKey): Entry | undefined {
    const found = kept.epoch === this.#epoch ? kept.young.get(key) : undefined;
    if (found !== undefined) return found;
    this.#turn(kept);
    const older = kept.old.get(key);
    if (older !== undefined) this.#put(kept, key, older);
    return older;
  }

  #keep(kept: Kept, key: EntityKey, value: StoredValue | undefined): StoredValue | undefined {
    if (this.#youngMax > 0)
      this.#put(kept, key, { value, freshUntilMs: this.#options.clock.nowMs() + this.#options.ttlMs });
    return value;
  }

  #put(kept: Kept, key: EntityKey, entry: Entry): void {
    this.#turn(kept);
    const before = kept.young.size;
    kept.young.set(key, entry);
    // Large values weigh more, so that the bound holds for memory too.
    this.#young += kept.young.size - before + ((entry.value?.bytes.length ?? 0) >> 9);
    if (this.#young > this.#youngMax) {
      this.#epoch++;
      this.#young = 0;
    }
  }

  #expire(view: ViewHandle, key: EntityKey): void {
    const kept = this.#keptOf(view);
    if (kept === undefined) return;
    kept.flights.delete(key);
    const entry = this.#find(kept, key);
    if (entry !== undefined) entry.freshUntilMs = Number.NEGATIVE_INFINITY;
  }

  /** Brings a view to the epoch that the cache as a whole is in. */
  #turn(kept: Kept): void {
    if (kept.epoch === this.#epoch) return;
    kept.old = kept.epoch === this.#epoch - 1 ? kept.young : new Map();
    kept.young = new Map();
    kept.epoch = this.#epoch;
  }
}

/** Bytes of their own, as what was read may be a part of a larger buffer. */
function copied(value: StoredValue | undefined): StoredValue | undefined {
  return value === undefined ? undefined : { bytes: value.bytes.slice(), decoded: undefined };
}
