import { createHash, randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Clock } from "@weft/service";
import {
  type Generations,
  generationsOf,
  noGenerations,
  withNext,
  withoutDropped,
  withoutNext,
  withPublished,
  withViews,
} from "../domain/online/generations.ts";
import type { AppliedOffset, Mutation, OnlineStore, ReadBatch, ViewHandle } from "../domain/online/online-store.ts";
import {
  encodeStamped,
  partitionId,
  type Stamp,
  stampsOf,
  stateOf,
  versionOf,
} from "../domain/online/stamped-state.ts";
import type {
  StateBackend,
  StateChange,
  StateTable,
  TableOffset,
  VersionedGenerations,
} from "../domain/online/state-backend.ts";
import type { EntityKey } from "../domain/views/entity-key.ts";

/** How a shared store behaves beside other processes. */
export interface SharedStoreOptions {
  readonly clock: Clock;
  /** Bound of a read; a write has the engine's own. */
  readonly readTimeoutMs: number;
  /** How often other processes' publishing is looked for; readers follow within this time and a round trip. */
  readonly watchEveryMs: number;
  /** How long the states of a generation that is out of use stay, for readers that have not heard of it. */
  readonly dropAfterMs: number;
  /** Names this process's embedded event log among those of all processes. */
  readonly logId: string;
  /** Told whether the engine can be reached, when that changes. */
  readonly onReachable?: (reachable: boolean, cause?: unknown) => void;
  /** Told when views stand for another generation than before that this process has not published: catch up with it. */
  readonly onMoved?: () => void;
}

/** Mutations of one key. */
interface Slot {
  readonly table: StateTable;
  readonly key: EntityKey;
  readonly mutations: Mutation[];
}

/** What a write knows of one table. */
interface TouchedTable {
  readonly table: StateTable;
  /** Offsets that the write brings. */
  readonly offsets: (TableOffset & Stamp)[];
  /** Offsets that the table holds, by id of the partition. */
  applied: ReadonlyMap<bigint, number>;
}

const attemptsMax = 64;
const swapsMax = 32;
/** More partitions than any log here has. */
const partitionIdsMax = 10_000;
const backoffMaxMs = 20;

/** A handle: it moves on to another table when another generation is published. */
class View implements ViewHandle {
  table: StateTable;

  constructor(table: StateTable) {
    this.table = table;
  }

  get id(): string {
    return this.table.id;
  }

  get generation(): number {
    return this.table.generation;
  }
}

function tableOf(id: string, generation: number, isPrivate = false): StateTable {
  const name = createHash("sha256").update(`${id}@${generation}`).digest("base64url").slice(0, 16);
  return { id, generation, name, isPrivate };
}

/** Reads waiting to go out together. */
interface PendingRead {
  readonly tables: StateTable[];
  readonly keys: EntityKey[];
  readonly done: Promise<(Uint8Array | undefined)[]>;
}

/**
 * An online store on an engine that several processes share. What is common to the engines is here: generations as one
 * document that is changed by compare-and-swap and watched; writes as read, merge and compare-and-set, again where
 * another process came first; stamps that keep a write which was done in part from being counted twice.
 *
 * A write is one step in the engine where it can be (see the backend); elsewhere its keys change one after another, the
 * offsets last. Reads of one event-loop turn go out together.
 */
export class SharedOnlineStore implements OnlineStore {
  readonly #backend: StateBackend;
  readonly #options: SharedStoreOptions;
  /** Handles by view id. */
  readonly #views = new Map<string, View>();
  readonly #partitionIds = new Map<string, bigint>();
  #version = "";
  #generations: Generations = noGenerations;
  #pending: PendingRead | undefined;
  /** Writes of this process run one after another, so that they do not conflict with each other. */
  #writes: Promise<unknown> = Promise.resolve();
  /** So do changes of the generations, so that none is followed after one that is newer. */
  #changes: Promise<unknown> = Promise.resolve();
  #timer: { cancel(): void } | undefined;
  #isReachable: boolean | undefined;
  #isSweeping = false;
  #isClosed = false;

  constructor(backend: StateBackend, options: SharedStoreOptions) {
    this.#backend = backend;
    this.#options = options;
    this.#watchAfter(0);
  }

  async openView(id: string): Promise<ViewHandle> {
    const known = this.#views.get(id);
    if (known !== undefined) return known;
    const generations = await this.#change((current) => withViews(current, [id]));
    const view = this.#views.get(id) ?? new View(tableOf(id, generationsOf(generations, id).generation));
    this.#views.set(id, view);
    return view;
  }

  get(batch: ReadBatch): Promise<void> {
    this.#pending ??= this.#newRead();
    const { tables, keys, done } = this.#pending;
    const start = keys.length;
    const { size } = batch;
    for (let i = 0; i < size; i++) {
      tables.push((batch.views[i] as View).table);
      keys.push(batch.keys[i] ?? "");
    }
    return done.then((found) => {
      for (let i = 0; i < size; i++) {
        const stamped = found[start + i];
        batch.values[i] = stamped === undefined ? undefined : { bytes: stateOf(stamped), decoded: undefined };
      }
    });
  }

  write(mutations: readonly Mutation[], offsets: readonly AppliedOffset[] = []): Promise<void> {
    const result = this.#writes.then(() => this.#write(mutations, offsets));
    this.#writes = result.catch(() => undefined);
    return result;
  }

  async appliedOffset(view: ViewHandle, partition?: string): Promise<number> {
    return (await this.#backend.readOffsets((view as View).table)).get(this.#partition(partition)) ?? 0;
  }

  async appliedOffsets(view: ViewHandle): Promise<ReadonlyMap<string, number>> {
    const offsets = await this.#backend.readOffsets((view as View).table);
    const own = this.#partition();
    return new Map([...offsets].map(([name, offset]) => [name === own ? "" : name, offset]));
  }

  listKeys(view: ViewHandle, after: EntityKey | undefined, limit: number): Promise<EntityKey[]> {
    return this.#backend.listKeys((view as View).table, after, limit);
  }

  async createGeneration(view: ViewHandle): Promise<ViewHandle> {
    const generations = await this.#change((current) => withNext(current, view.id, this.#dropAtMs()));
    return new View(tableOf(view.id, generationsOf(generations, view.id).last, true));
  }

  async dropGeneration(generation: ViewHandle): Promise<void> {
    await this.#change((current) => withoutNext(current, generation, this.#dropAtMs()));
  }

  async previousGeneration(view: ViewHandle): Promise<ViewHandle | undefined> {
    const { generations } = await this.#backend.readGenerations();
    const { previous } = generationsOf(generations, view.id);
    return previous === undefined ? undefined : new View(tableOf(view.id, previous));
  }

  async publish(generations: readonly ViewHandle[]): Promise<void> {
    // From here on other processes may write to them too.
    for (const view of generations as readonly View[]) view.table = { ...view.table, isPrivate: false };
    const own = new Set(generations.map(({ id }) => id));
    await this.#change((current) => withPublished(current, generations, this.#dropAtMs()), own);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#writes;
    await this.#changes;
    await this.#backend.close();
  }

  /** A read that leaves at the end of this turn, with all that are asked for until then. */
  #newRead(): PendingRead {
    const tables: StateTable[] = [];
    const keys: EntityKey[] = [];
    const done = new Promise<(Uint8Array | undefined)[]>((resolve, reject) => {
      setImmediate(() => {
        this.#pending = undefined;
        const { clock, readTimeoutMs } = this.#options;
        const timer = clock.setTimer(readTimeoutMs, () => {
          // An answer that came while this thread was held up is still taken: sockets are read before this runs.
          setImmediate(() => reject(new Error(`the store did not answer within ${readTimeoutMs} ms`)));
        });
        this.#backend
          .read(tables, keys)
          .finally(() => timer.cancel())
          .then(resolve, reject);
      });
    });
    return { tables, keys, done };
  }

  async #write(mutations: readonly Mutation[], offsets: readonly AppliedOffset[]): Promise<void> {
    const slots = slotsOf(mutations);
    const touched = new Map<string, TouchedTable>();
    const touch = (table: StateTable): TouchedTable => {
      const known = touched.get(table.name);
      if (known !== undefined) return known;
      const fresh = { table, offsets: [], applied: new Map() };
      touched.set(table.name, fresh);
      return fresh;
    };
    for (const { table } of slots) touch(table);
    for (const { view, partition, offset } of offsets) {
      const { table, offsets: own } = touch((view as View).table);
      const name = this.#partition(partition);
      own.push({ table, partition: this.#partitionId(name), name, offset });
    }
    const read = (wanted: readonly Slot[]) =>
      this.#backend.read(
        wanted.map(({ table }) => table),
        wanted.map(({ key }) => key),
      );
    const [first] = await Promise.all([
      read(slots),
      ...[...touched.values()].map(async (own) => {
        const applied = await this.#backend.readOffsets(own.table);
        own.applied = new Map([...applied].map(([name, offset]) => [this.#partitionId(name), offset]));
      }),
    ]);
    const brought = [...touched.values()].flatMap((own) => own.offsets);
    let open = slots;
    let found = first;
    for (let attempt = 1; ; attempt++) {
      const slotOf = new Map<StateChange, Slot>();
      open.forEach((slot, index) => {
        const change = this.#merge(slot, found[index], touch(slot.table));
        if (change !== undefined) slotOf.set(change, slot);
      });
      if (slotOf.size === 0 && brought.length === 0) return;
      const left = await this.#backend.compareAndSet([...slotOf.keys()], brought);
      if (left.length === 0) return;
      if (attempt === attemptsMax) throw new Error(`${left.length} states were changed by others all the time`);
      open = left.flatMap((change) => slotOf.get(change) ?? []);
      // Writers that met once should not meet again.
      await sleep(Math.random() * Math.min(backoffMaxMs, attempt));
      found = await read(open);
    }
  }

  #merge(
    { table, key, mutations }: Slot,
    stamped: Uint8Array | undefined,
    { applied, offsets }: TouchedTable,
  ): StateChange | undefined {
    const stamps = stamped === undefined ? [] : stampsOf(stamped);
    const appliedTo = (partition?: string) => {
      const id = this.#partitionId(this.#partition(partition));
      const stamp = stamps.find((candidate) => candidate.partition === id);
      return Math.max(applied.get(id) ?? 0, stamp?.offset ?? 0);
    };
    let state = stamped === undefined ? undefined : stateOf(stamped);
    let isChanged = false;
    for (const { merge } of mutations) {
      const next = merge(state, appliedTo);
      if (next === undefined) continue;
      state = next;
      isChanged = true;
    }
    if (!isChanged || state === undefined) return undefined;
    const next = new Map<bigint, Stamp>();
    // A stamp that the table's own offset has reached says nothing more.
    for (const stamp of stamps)
      if (stamp.offset > (applied.get(stamp.partition) ?? 0)) next.set(stamp.partition, stamp);
    for (const stamp of offsets)
      if (stamp.offset > (next.get(stamp.partition)?.offset ?? 0)) next.set(stamp.partition, stamp);
    return {
      table,
      key,
      expected: stamped === undefined ? undefined : versionOf(stamped),
      stamped: encodeStamped(randomBytes(8).readBigUInt64LE(0), [...next.values()], state),
    };
  }

  /** The embedded log is each process's own; other partitions are known to all. */
  #partition(partition = ""): string {
    return partition === "" ? `log/${this.#options.logId}` : partition;
  }

  #partitionId(name: string): bigint {
    let id = this.#partitionIds.get(name);
    if (id === undefined) {
      id = partitionId(name);
      if (this.#partitionIds.size >= partitionIdsMax) this.#partitionIds.clear();
      this.#partitionIds.set(name, id);
    }
    return id;
  }

  #dropAtMs(): number {
    return this.#options.clock.nowMs() + this.#options.dropAfterMs;
  }

  /**
   * Changes the generations, again where another process came first, and follows them. `own`: views that this change
   * moves. RangeError as `step` does.
   */
  #change(step: (current: Generations) => Generations, own: ReadonlySet<string> = new Set()): Promise<Generations> {
    const result = this.#changes.then(async () => {
      for (let attempt = 0; attempt < swapsMax; attempt++) {
        const current = await this.#backend.readGenerations();
        const next = step(current.generations);
        if (next === current.generations) return this.#follow(current, own);
        const changed = { version: randomBytes(8).toString("hex"), generations: next };
        if (await this.#backend.swapGenerations(current.version, changed)) return this.#follow(changed, own);
        await sleep(Math.random() * backoffMaxMs);
      }
      throw new Error("the generations were changed by others all the time");
    });
    this.#changes = result.catch(() => undefined);
    return result;
  }

  /** Moves every handle in one turn, so that no read falls between two views. */
  #follow({ version, generations }: VersionedGenerations, own: ReadonlySet<string>): Generations {
    this.#version = version;
    this.#generations = generations;
    let isMoved = false;
    for (const view of this.#views.values()) {
      const { generation } = generationsOf(generations, view.id);
      if (generation === view.generation) continue;
      view.table = tableOf(view.id, generation);
      if (!own.has(view.id)) isMoved = true;
    }
    if (isMoved) this.#options.onMoved?.();
    return generations;
  }

  #watchAfter(delayMs: number): void {
    this.#timer = this.#options.clock.setTimer(delayMs, () => {
      void this.#look()
        .then(
          () => this.#reached(true),
          (cause: unknown) => this.#reached(false, cause),
        )
        .then(() => {
          if (!this.#isClosed) this.#watchAfter(this.#options.watchEveryMs);
        });
    });
  }

  #reached(isReachable: boolean, cause?: unknown): void {
    if (this.#isReachable === isReachable || this.#isClosed) return;
    this.#isReachable = isReachable;
    this.#options.onReachable?.(isReachable, cause);
  }

  /** Follows what other processes published, and brings back views that the engine has lost. */
  async #look(): Promise<void> {
    const version = await this.#backend.readVersion();
    if (version !== this.#version) {
      const isLost = version === "" && this.#version !== "";
      await this.#change((current) => withViews(current, [...this.#views.keys()]));
      if (isLost) this.#options.onMoved?.();
    }
    // Beside the looks: a large generation takes long to remove.
    if (!this.#isSweeping) void this.#sweep();
  }

  /** Removes generations that are out of use; what fails is tried again with the next look. */
  async #sweep(): Promise<void> {
    this.#isSweeping = true;
    try {
      for (const name of this.#generations.dropped) {
        if (this.#isClosed || name.untilMs > this.#options.clock.nowMs()) continue;
        await this.#backend.drop(tableOf(name.id, name.generation));
        await this.#change((current) => withoutDropped(current, name));
      }
    } catch (cause) {
      this.#reached(false, cause);
    } finally {
      this.#isSweeping = false;
    }
  }
}

function slotsOf(mutations: readonly Mutation[]): Slot[] {
  const slots = new Map<string, Map<EntityKey, Slot>>();
  for (const mutation of mutations) {
    const { table } = mutation.view as View;
    let own = slots.get(table.name);
    if (own === undefined) {
      own = new Map();
      slots.set(table.name, own);
    }
    const slot = own.get(mutation.key);
    if (slot === undefined) own.set(mutation.key, { table, key: mutation.key, mutations: [mutation] });
    else slot.mutations.push(mutation);
  }
  return [...slots.values()].flatMap((own) => [...own.values()]);
}
