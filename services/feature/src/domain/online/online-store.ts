import type { EntityKey } from "../views/entity-key.ts";
import type { ViewState } from "../views/view-state.ts";

/** A view's states in the store, of one generation. The handle of a view always stands for its published generation. */
export interface ViewHandle {
  /** Scenario, view and definition digest: releases that share a definition share its states. */
  readonly id: string;
  /** From 1. */
  readonly generation: number;
}

/** A packed state as the store holds it; never written to. */
export interface StoredValue {
  readonly bytes: Uint8Array;
  /** What a reader made of the bytes, kept for the next one. */
  decoded: ViewState | undefined;
}

/** Pairs of view and key to read in one round trip, and what was found; reused from read to read. */
export class ReadBatch {
  size = 0;
  readonly views: ViewHandle[] = [];
  readonly keys: EntityKey[] = [];
  readonly values: (StoredValue | undefined)[] = [];
  /**
   * Places that the store could not be asked for; their value is the last one that was known, if any. Undefined where
   * every place was read.
   */
  unread: Set<number> | undefined;
  /** Ask the store for every place, and not what is kept of it in memory: for who makes states out of what is read. */
  isFresh = false;

  clear(): void {
    this.size = 0;
    this.unread = undefined;
  }

  add(view: ViewHandle, key: EntityKey): number {
    const place = this.size++;
    this.views[place] = view;
    this.keys[place] = key;
    return place;
  }
}

/** A change of one state, worked out from what is stored. */
export interface Mutation {
  readonly view: ViewHandle;
  readonly key: EntityKey;
  /**
   * Answers the new bytes, or undefined for no change. May be called again where another writer came first. `current` is
   * valid during the call only; of the answer, which may be part of a larger buffer, a store keeps a copy.
   * `applied` tells the last offset of a partition whose rows are in `current` already: rows up to it must be left out.
   */
  merge(current: Uint8Array | undefined, applied: AppliedTo): Uint8Array | undefined;
}

/** The last offset applied of a partition, by default of the embedded event log; 0 where none was. */
export type AppliedTo = (partition?: string) => number;

/** For stores that write a change and its offset as one: what is applied is told by `appliedOffset` alone. */
export const nothingApplied: AppliedTo = () => 0;

/** How far a partition of a log has been applied to a view: the last offset, inclusive. */
export interface AppliedOffset {
  readonly view: ViewHandle;
  /** Names the log and its partition, such as "kafka/payments/3"; absent: the embedded event log. */
  readonly partition?: string;
  readonly offset: number;
}

/**
 * Packed states by view and key. What is written is visible to every later read, all of a write or nothing of it, and
 * survives the process once the promise has resolved.
 */
export interface OnlineStore {
  /** Opens a view by id; its first generation is made where there is none. The same id answers the same handle. */
  openView(id: string): Promise<ViewHandle>;
  /** Fills `values` in one round trip. Answers undefined, with the values there, where the store reads at once. */
  get(batch: ReadBatch): undefined | Promise<void>;
  /** Applies changes and offsets as one. Mutations of one key apply in their order. */
  write(mutations: readonly Mutation[], offsets?: readonly AppliedOffset[]): Promise<void>;
  /** The last offset applied of a partition, by default of the embedded event log; 0 where none was. */
  appliedOffset(view: ViewHandle, partition?: string): Promise<number>;
  /** Everything that has been applied: the last offset of each partition, by name; "" names the embedded event log. */
  appliedOffsets(view: ViewHandle): Promise<ReadonlyMap<string, number>>;
  /** Keys in order (integers by value, texts by UTF-8 bytes), after a key. */
  listKeys(view: ViewHandle, after: EntityKey | undefined, limit: number): Promise<EntityKey[]>;
  /** Makes an empty generation that no reader sees, under a number above all before. One that was left unpublished goes. */
  createGeneration(view: ViewHandle): Promise<ViewHandle>;
  /** Drops a generation that was not published. */
  dropGeneration(generation: ViewHandle): Promise<void>;
  /** What readers saw before the last `publish`, with its states and offsets; undefined where there is none. */
  previousGeneration(view: ViewHandle): Promise<ViewHandle | undefined>;
  /**
   * Points readers at generations, each of another view, all at once or, where it fails, none. What they saw before
   * stays as the previous generation; older ones go.
   */
  publish(generations: readonly ViewHandle[]): Promise<void>;
  close(): Promise<void>;
}
