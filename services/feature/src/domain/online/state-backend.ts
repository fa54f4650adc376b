import type { EntityKey } from "../views/entity-key.ts";
import type { GenerationName, Generations } from "./generations.ts";

/** A generation's states in a backend. */
export interface StateTable extends GenerationName {
  /** Names the table in keys of the backend: short, and the same in every process. */
  readonly name: string;
  /** True where only this process writes it: it made it, and has not published it. */
  readonly isPrivate: boolean;
}

/** A change of one state, on condition that nobody else has changed it. */
export interface StateChange {
  readonly table: StateTable;
  readonly key: EntityKey;
  /** Version of what was read, 8 bytes; undefined where there was nothing. */
  readonly expected: Uint8Array | undefined;
  /** The new stamped state (see stamped-state.ts). */
  readonly stamped: Uint8Array;
}

/** An offset to remember with a table; a smaller one than is there changes nothing. */
export interface TableOffset {
  readonly table: StateTable;
  /** Name of the partition. */
  readonly name: string;
  readonly offset: number;
}

/** The generations of all views, and a word that changes with them. */
export interface VersionedGenerations {
  /** "" where the backend holds none. */
  readonly version: string;
  readonly generations: Generations;
}

/**
 * What a shared online store asks of an engine. Several processes use one at the same time. Every call rejects within
 * the engine's timeout where it cannot be reached.
 */
export interface StateBackend {
  /** Stamped states in the order asked for, in one round trip; their bytes may share a larger buffer. */
  read(tables: readonly StateTable[], keys: readonly EntityKey[]): Promise<(Uint8Array | undefined)[]>;
  /**
   * Makes changes, then offsets. Answers the changes that were not made because their state had changed; no offset is
   * written then. Where it rejects, any of the changes may have been made, and offsets only if all were.
   */
  compareAndSet(changes: readonly StateChange[], offsets: readonly TableOffset[]): Promise<readonly StateChange[]>;
  /** Offsets of a table by name of the partition. */
  readOffsets(table: StateTable): Promise<ReadonlyMap<string, number>>;
  /** Keys of a table in the order of their encoding, after a key. */
  listKeys(table: StateTable, after: EntityKey | undefined, limit: number): Promise<EntityKey[]>;
  /** Removes a table's states, keys and offsets. */
  drop(table: StateTable): Promise<void>;
  /** The version of the generations alone. */
  readVersion(): Promise<string>;
  readGenerations(): Promise<VersionedGenerations>;
  /** Replaces the generations of a version; false where they have another version by now. */
  swapGenerations(version: string, next: VersionedGenerations): Promise<boolean>;
  close(): Promise<void>;
}
