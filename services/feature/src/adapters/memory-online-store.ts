import {
  type AppliedOffset,
  type Mutation,
  nothingApplied,
  type OnlineStore,
  type ReadBatch,
  type StoredValue,
  type ViewHandle,
} from "../domain/online/online-store.ts";
import { type EntityKey, encodeKey } from "../domain/views/entity-key.ts";

interface Table extends ViewHandle {
  generation: number;
  values: Map<EntityKey, StoredValue>;
  /** Last offset applied, by partition. */
  applied: Map<string, number>;
  previous: Table | undefined;
  /** The greatest number given. */
  last: number;
}

/** An online store in this process's memory; durable as long as the process. */
export class MemoryOnlineStore implements OnlineStore {
  readonly #views = new Map<string, Table>();

  async openView(id: string): Promise<ViewHandle> {
    let table = this.#views.get(id);
    if (table === undefined) {
      table = { id, generation: 1, values: new Map(), applied: new Map(), previous: undefined, last: 1 };
      this.#views.set(id, table);
    }
    return table;
  }

  get(batch: ReadBatch): undefined {
    for (let i = 0; i < batch.size; i++) {
      const key = batch.keys[i];
      batch.values[i] = key === undefined ? undefined : (batch.views[i] as Table).values.get(key);
    }
    return undefined;
  }

  async write(mutations: readonly Mutation[], offsets: readonly AppliedOffset[] = []): Promise<void> {
    const changed = new Map<Table, Map<EntityKey, StoredValue>>();
    for (const { view, key, merge } of mutations) {
      const table = view as Table;
      let values = changed.get(table);
      if (values === undefined) {
        values = new Map();
        changed.set(table, values);
      }
      const bytes = merge((values.get(key) ?? table.values.get(key))?.bytes, nothingApplied);
      if (bytes !== undefined) values.set(key, { bytes: bytes.slice(), decoded: undefined });
    }
    for (const [table, values] of changed) for (const [key, value] of values) table.values.set(key, value);
    for (const { view, partition = "", offset } of offsets) (view as Table).applied.set(partition, offset);
  }

  async appliedOffset(view: ViewHandle, partition = ""): Promise<number> {
    return (view as Table).applied.get(partition) ?? 0;
  }

  async appliedOffsets(view: ViewHandle): Promise<ReadonlyMap<string, number>> {
    return new Map((view as Table).applied);
  }

  async listKeys(view: ViewHandle, after: EntityKey | undefined, limit: number): Promise<EntityKey[]> {
    const from = after === undefined ? undefined : encodeKey(after);
    return [...(view as Table).values.keys()]
      .map((key) => ({ key, bytes: encodeKey(key) }))
      .filter(({ bytes }) => from === undefined || Buffer.compare(bytes, from) > 0)
      .sort((a, b) => Buffer.compare(a.bytes, b.bytes))
      .slice(0, limit)
      .map(({ key }) => key);
  }

  async createGeneration(view: ViewHandle): Promise<ViewHandle> {
    const generation = ++(view as Table).last;
    const { id } = view;
    return { id, generation, values: new Map(), applied: new Map(), previous: undefined, last: 0 } as Table;
  }

  async dropGeneration(generation: ViewHandle): Promise<void> {
    (generation as Table).values = new Map();
  }

  async previousGeneration(view: ViewHandle): Promise<ViewHandle | undefined> {
    return (view as Table).previous;
  }

  async publish(generations: readonly ViewHandle[]): Promise<void> {
    for (const generation of generations) {
      const next = generation as Table;
      const table = this.#views.get(next.id);
      if (table === undefined || table === next) continue;
      table.previous = { ...table, previous: undefined };
      table.generation = next.generation;
      table.values = next.values;
      table.applied = next.applied;
    }
  }

  async close(): Promise<void> {
    this.#views.clear();
  }
}
