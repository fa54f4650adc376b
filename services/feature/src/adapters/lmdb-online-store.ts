import { type Database, open, type RootDatabase } from "lmdb";
import {
  type AppliedOffset,
  type Mutation,
  nothingApplied,
  type OnlineStore,
  type ReadBatch,
  type StoredValue,
  type ViewHandle,
} from "../domain/online/online-store.ts";
import { decodeKey, type EntityKey, encodeKey } from "../domain/views/entity-key.ts";

/** Where the store lies and how large it may grow. */
export interface LmdbOptions {
  /** Folder of the environment; made where there is none. */
  readonly path: string;
  /** Address space, which bounds the size of the data file. */
  readonly sizeMaxBytes: number;
  /** Values kept in memory, each 512 bytes of a value counting as one more; 0 keeps none. */
  readonly cacheEntriesMax: number;
}

type Bytes = Database<Uint8Array, Uint8Array>;

interface Table extends ViewHandle {
  generation: number;
  database: Bytes;
  /** Values read or written of late, and those of the epoch before. Undefined: known to be absent. */
  young: Map<EntityKey, StoredValue | undefined>;
  old: Map<EntityKey, StoredValue | undefined>;
  epoch: number;
}

/** Generations of a view by number; absent where there is none. */
interface Pointer {
  /** What readers see. */
  readonly generation: number;
  /** What they saw before. */
  readonly previous?: number;
  /** Made and not published. */
  readonly next?: number;
  /** The greatest number given. */
  readonly last?: number;
}

const databasesMax = 4_096;
/** Greatest key that LMDB takes. */
const keyBytesMax = 1_978;

/**
 * An online store in an LMDB environment: one database a view and generation, and one with the published generations and
 * applied offsets, all changed in one transaction. A transaction is answered once it is on disk.
 *
 * Values are cached by two generations of maps: when the young one is full it becomes the old one, and what is read
 * again moves back. Writes go through this process only, so that absence can be cached too.
 */
export class LmdbOnlineStore implements OnlineStore {
  readonly #root: RootDatabase;
  readonly #meta: Database<unknown, string>;
  readonly #views = new Map<string, Table>();
  readonly #youngMax: number;
  #young = 0;
  #epoch = 0;

  private constructor(root: RootDatabase, cacheEntriesMax: number) {
    this.#root = root;
    this.#meta = root.openDB<unknown, string>({ name: "meta", encoding: "json" });
    this.#youngMax = cacheEntriesMax >> 1;
  }

  static open(options: LmdbOptions): LmdbOnlineStore {
    const root = open({ path: options.path, mapSize: options.sizeMaxBytes, maxDbs: databasesMax });
    const store = new LmdbOnlineStore(root, options.cacheEntriesMax);
    store.#sweep();
    return store;
  }

  async openView(id: string): Promise<ViewHandle> {
    const known = this.#views.get(id);
    if (known !== undefined) return known;
    const table = this.#table(id, this.#pointer(id).generation);
    this.#views.set(id, table);
    return table;
  }

  get(batch: ReadBatch): undefined {
    for (let i = 0; i < batch.size; i++) {
      const key = batch.keys[i];
      batch.values[i] = key === undefined ? undefined : this.#read(batch.views[i] as Table, key);
    }
    return undefined;
  }

  async write(mutations: readonly Mutation[], offsets: readonly AppliedOffset[] = []): Promise<void> {
    const written: { table: Table; key: EntityKey; packed: Uint8Array; bytes: Uint8Array }[] = [];
    await this.#root.transaction(() => {
      // Everything is worked out before the first change, so that a merge that throws leaves nothing behind.
      written.length = 0;
      const latest = new Map<Table, Map<EntityKey, { packed: Uint8Array; bytes: Uint8Array }>>();
      for (const { view, key, merge } of mutations) {
        const table = view as Table;
        let values = latest.get(table);
        if (values === undefined) {
          values = new Map();
          latest.set(table, values);
        }
        const before = values.get(key);
        const packed = before?.packed ?? encodeKey(key);
        if (packed.length > keyBytesMax) throw new RangeError(`a key of ${packed.length} bytes is too long`);
        const bytes = merge(before?.bytes ?? shared(table, packed), nothingApplied);
        if (bytes !== undefined) values.set(key, { packed, bytes });
      }
      for (const [table, values] of latest)
        for (const [key, { packed, bytes }] of values) written.push({ table, key, packed, bytes });
      for (const { table, packed, bytes } of written) table.database.put(packed, bytes);
      for (const { view, partition, offset } of offsets) this.#meta.put(offsetKey(view, partition), offset);
    });
    // What nobody has read of late is not worth the memory.
    for (const { table, key, bytes } of written)
      if (this.#isKept(table, key)) this.#keep(table, key, { bytes: bytes.slice(), decoded: undefined });
  }

  async appliedOffset(view: ViewHandle, partition?: string): Promise<number> {
    const offset = this.#meta.get(offsetKey(view, partition));
    return typeof offset === "number" ? offset : 0;
  }

  async appliedOffsets(view: ViewHandle): Promise<ReadonlyMap<string, number>> {
    const start = offsetKey(view);
    const offsets = new Map<string, number>();
    for (const { key, value } of this.#meta.getRange({ start, end: `${start}!` }))
      if (typeof value === "number") offsets.set(key.slice(start.length).trimStart(), value);
    return offsets;
  }

  async listKeys(view: ViewHandle, after: EntityKey | undefined, limit: number): Promise<EntityKey[]> {
    const { database } = view as Table;
    const start = after === undefined ? undefined : encodeKey(after);
    const range = database.getKeys(start === undefined ? { limit } : { start, limit: limit + 1 });
    const keys: EntityKey[] = [];
    for (const bytes of range)
      if (start === undefined || Buffer.compare(bytes, start) !== 0) keys.push(decodeKey(bytes));
    return keys.slice(0, limit);
  }

  async createGeneration(view: ViewHandle): Promise<ViewHandle> {
    const pointer = this.#pointer(view.id);
    const generation = Math.max(pointer.generation, pointer.last ?? 0) + 1;
    if (pointer.next !== undefined) await this.#drop(this.#table(view.id, pointer.next));
    const next = this.#table(view.id, generation);
    // An older version of this store may have left something under the number.
    await next.database.clearAsync();
    await this.#removeOffsets(next);
    await this.#meta.put(pointerKey(view.id), { ...pointer, next: generation, last: generation } satisfies Pointer);
    return next;
  }

  async dropGeneration(generation: ViewHandle): Promise<void> {
    const { next, ...pointer } = this.#pointer(generation.id);
    if (next !== generation.generation) return;
    await this.#meta.put(pointerKey(generation.id), pointer);
    await this.#drop(generation as Table);
  }

  async previousGeneration(view: ViewHandle): Promise<ViewHandle | undefined> {
    const { previous } = this.#pointer(view.id);
    return previous === undefined ? undefined : this.#table(view.id, previous);
  }

  async publish(generations: readonly ViewHandle[]): Promise<void> {
    const dropped: { id: string; generation: number }[] = [];
    await this.#root.transaction(() => {
      dropped.length = 0;
      for (const { id, generation } of generations) {
        const { next, previous, ...pointer } = this.#pointer(id);
        if (previous !== undefined && previous !== generation) dropped.push({ id, generation: previous });
        const others = next === undefined || next === generation ? {} : { next };
        const changed = { ...pointer, ...others, generation, previous: pointer.generation };
        this.#meta.put(pointerKey(id), changed satisfies Pointer);
      }
    });
    // In one turn, so that no read falls between two views.
    for (const generation of generations) {
      const next = generation as Table;
      const table = this.#views.get(next.id);
      if (table === undefined || table === next) continue;
      table.generation = next.generation;
      table.database = next.database;
      table.young = new Map();
      table.old = new Map();
    }
    for (const { id, generation } of dropped) await this.#drop(this.#table(id, generation));
  }

  async close(): Promise<void> {
    await this.#root.flushed;
    await this.#root.close();
  }

  #pointer(id: string): Pointer {
    return (this.#meta.get(pointerKey(id)) as Pointer | undefined) ?? { generation: 1 };
  }

  /** Drops what no pointer names: generations whose removal a crash cut short. Nothing is open yet that could read them. */
  #sweep(): void {
    const isNamed = (id: string, generation: number) => {
      const { generation: published, previous, next } = this.#pointer(id);
      return generation === published || generation === previous || generation === next;
    };
    for (const name of [...this.#root.getKeys()].map(String)) {
      const [, id, generation] = /^(.+)@(\d+)$/.exec(name) ?? [];
      if (id === undefined || isNamed(id, Number(generation))) continue;
      this.#table(id, Number(generation)).database.dropSync();
    }
    for (const key of [...this.#meta.getKeys()]) {
      const [, id, generation] = /^offset (.+)@(\d+)/.exec(key) ?? [];
      if (id !== undefined && !isNamed(id, Number(generation))) this.#meta.removeSync(key);
    }
  }

  async #drop(table: Table): Promise<void> {
    // Emptied off this thread first: dropping what is large would hold it up.
    await table.database.clearAsync();
    await table.database.drop();
    await this.#removeOffsets(table);
  }

  #table(id: string, generation: number): Table {
    const name = `${id}@${generation}`;
    const database: Bytes = this.#root.openDB({ name, encoding: "binary", keyEncoding: "binary" });
    return { id, generation, database, young: new Map(), old: new Map(), epoch: this.#epoch };
  }

  /** Forgets what was applied to a generation, of every partition. */
  async #removeOffsets(view: ViewHandle): Promise<void> {
    const start = offsetKey(view);
    await this.#root.transaction(() => {
      for (const key of [...this.#meta.getKeys({ start, end: `${start}!` })]) this.#meta.remove(key);
    });
  }

  #read(table: Table, key: EntityKey): StoredValue | undefined {
    const found = table.young.get(key);
    if (found !== undefined) return found;
    if (this.#youngMax === 0) return asStored(stored(table, encodeKey(key)));
    if (table.epoch === this.#epoch && table.young.has(key)) return undefined;
    this.#turn(table);
    const value = table.old.has(key) ? table.old.get(key) : asStored(stored(table, encodeKey(key)));
    this.#keep(table, key, value);
    return value;
  }

  #isKept(table: Table, key: EntityKey): boolean {
    this.#turn(table);
    return table.young.has(key) || table.old.has(key);
  }

  #keep(table: Table, key: EntityKey, value: StoredValue | undefined) {
    if (this.#youngMax === 0) return;
    this.#turn(table);
    const before = table.young.size;
    table.young.set(key, value);
    // Large values weigh more, so that the bound holds for memory too.
    this.#young += table.young.size - before + ((value?.bytes.length ?? 0) >> 9);
    if (this.#young > this.#youngMax) {
      this.#epoch++;
      this.#young = 0;
    }
  }

  /** Brings a table to the epoch that the cache as a whole is in. */
  #turn(table: Table) {
    if (table.epoch === this.#epoch) return;
    table.old = table.epoch === this.#epoch - 1 ? table.young : new Map();
    table.young = new Map();
    table.epoch = this.#epoch;
  }
}

function pointerKey(id: string): string {
  return `generation ${id}`;
}

/** Keys of one generation's partitions begin alike: the embedded log's is the beginning, others follow after a space. */
function offsetKey(view: ViewHandle, partition = ""): string {
  const own = `offset ${view.id}@${view.generation}`;
  return partition === "" ? own : `${own} ${partition}`;
}

function asStored(bytes: Uint8Array | undefined): StoredValue | undefined {
  return bytes === undefined ? undefined : { bytes, decoded: undefined };
}

/** The stored bytes in LMDB's own buffer, valid until the next read. */
function shared(table: Table, key: Uint8Array): Uint8Array | undefined {
  const bytes = table.database.getBinaryFast(key);
  // The buffer is larger than its length says.
  return bytes === undefined ? undefined : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** A copy of the stored bytes, 8-byte aligned. */
function stored(table: Table, key: Uint8Array): Uint8Array | undefined {
  return shared(table, key)?.slice();
}
