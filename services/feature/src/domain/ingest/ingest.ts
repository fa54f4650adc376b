import type { Source } from "@weft/scenario";
import { errors } from "../../errors.ts";
import { GenerationJob, type IngestSteps } from "../materialize/generation-job.ts";
import type { PushedPart } from "../offline/offline-store.ts";
import type { AppliedOffset, Mutation, OnlineStore, ViewHandle } from "../online/online-store.ts";
import type { EntityKey } from "../views/entity-key.ts";
import { type CompiledView, sourceFields } from "../views/view-state.ts";
import type { EventLog, LoggedEvents, PushedEvents } from "./event-log.ts";
import type { EventContent, RefusedEvent } from "./quarantine.ts";
import { partitionName, type StreamPartition } from "./stream-log.ts";
import { type MutationObserver, mergeRows, rowsIn, viewMutations } from "./view-mutations.ts";

/** A view version that takes part in ingestion. */
export interface IngestedView {
  readonly scenario: string;
  readonly compiled: CompiledView;
  readonly handle: ViewHandle;
}

/** What ingestion reports while it works. */
export interface IngestObserver {
  /** Rows that became durable. */
  accepted(source: string, rows: number): void;
  /** Rows that no view could take in, such as rows without a key. */
  skipped(view: string, rows: number): void;
  /** A stored state that could not be read, and was begun anew. */
  corrupt(view: string, cause: unknown): void;
  /** Rows were durable and could not be applied; they are applied again later. */
  behind(cause: unknown): void;
}

/** Bounds of ingestion, and where goes what it cannot take in. */
export interface IngestOptions {
  /** Rows that may wait to be written. */
  readonly queueRowsMax: number;
  /** Sets aside rows that a view cannot take in; without it they are counted as skipped. */
  readonly refuse?: (events: readonly RefusedEvent[]) => Promise<void>;
  /** Called when states begin to be written; what it answers is called once they are. */
  readonly startApply?: () => () => void;
}

interface Waiting {
  readonly events: PushedEvents;
  readonly resolve: (duplicate: boolean) => void;
  readonly reject: (error: unknown) => void;
}

interface Refused {
  readonly view: string;
  readonly event: LoggedEvents;
  readonly index: number;
}

interface Active extends IngestedView {
  users: number;
  /** Offset that this process knows to be applied: a store that holds less has lost data, or shows another generation. */
  applied: number;
}

/** Rows appended and applied as one. */
const batchRowsMax = 10_000;
/** Pushes read from the log at a time. */
const pagePushes = 256;

/**
 * Takes pushed rows in: first into the event log, then into the states of the views that read their source. The offset
 * reached is written with the states, in one step, so that after a crash the log goes on exactly where the states end:
 * what was acknowledged is there, once.
 */
export class Ingest {
  readonly #log: EventLog;
  readonly #store: OnlineStore;
  readonly #observer: IngestObserver;
  readonly #queueRowsMax: number;
  readonly #refuse: IngestOptions["refuse"];
  readonly #startApply: IngestOptions["startApply"];
  readonly #mutationObserver: MutationObserver;
  /** Rows that the write under way could not take in. */
  #refused: Refused[] = [];
  readonly #views = new Map<string, Active>();
  readonly #behind = new Set<string>();
  /** Keys written of late, of the views that a job copies. */
  readonly #changed = new Map<ViewHandle, Set<EntityKey>>();
  #queue: Waiting[] = [];
  #queuedRows = 0;
  /** Steps that change states run one after another. */
  #tail: Promise<unknown> = Promise.resolve();
  #isPumping = false;

  constructor(log: EventLog, store: OnlineStore, observer: IngestObserver, options: IngestOptions) {
    this.#log = log;
    this.#store = store;
    this.#observer = observer;
    this.#queueRowsMax = options.queueRowsMax;
    this.#refuse = options.refuse;
    this.#startApply = options.startApply;
    this.#mutationObserver = {
      skipped: (view, rows) => observer.skipped(view, rows),
      corrupt: (view, cause) => observer.corrupt(view, cause),
      refused: (view, event, index) => this.#refused.push({ view, event, index }),
    };
  }

  /** Rows that wait to be written. */
  get queuedRows(): number {
    return this.#queuedRows;
  }

  /** True while rows are durable and not yet applied to every view. */
  get isBehind(): boolean {
    return this.#behind.size > 0;
  }

  /** Adds views, each brought up to the log's end first. */
  async addViews(views: readonly IngestedView[]): Promise<void> {
    await this.#exclusively(async () => {
      for (const view of views) {
        const active = this.#views.get(view.handle.id);
        if (active !== undefined) {
          active.users++;
          continue;
        }
        const applied = await this.#catchUp(view, view.handle);
        this.#views.set(view.handle.id, { ...view, users: 1, applied });
      }
    });
  }

  /** Takes views out again; each once for every time it was added. */
  removeViews(views: readonly IngestedView[]): void {
    for (const { handle } of views) {
      const active = this.#views.get(handle.id);
      if (active !== undefined && --active.users === 0) {
        this.#views.delete(handle.id);
        this.#behind.delete(handle.id);
      }
    }
  }

  /**
   * Resolves once the rows are durable and visible; true where the request id had been seen. Throws PUSH_QUEUE_FULL,
   * EVENT_LOG_FULL, EVENT_LOG_FAILED (nothing was kept) or APPLY_FAILED (durable, visible later).
   */
  push(events: PushedEvents): Promise<boolean> {
    if (this.#queuedRows > 0 && this.#queuedRows + events.rows.length > this.#queueRowsMax)
      throw errors.PUSH_QUEUE_FULL({ queueMax: this.#queueRowsMax });
    this.#queuedRows += events.rows.length;
    return new Promise((resolve, reject) => {
      this.#queue.push({ events, resolve, reject });
      if (this.#isPumping) return;
      this.#isPumping = true;
      void this.#exclusively(() => this.#pump());
    });
  }

  /** Brings every view up to the log's end, for a store that may have lost what was applied. */
  async catchUpAll(): Promise<void> {
    for (const id of this.#views.keys()) this.#behind.add(id);
    await this.catchUpBehind();
  }

  /**
   * Last offset of a partition that every view of its topic holds; undefined where no view reads it. A view that was
   * added, or whose generation changed, may be behind the others: what is read again changes nothing in those.
   */
  async streamPosition(stream: StreamPartition): Promise<number | undefined> {
    let position: number | undefined;
    for (const view of this.#views.values()) {
      if (view.compiled.view.source.topic !== stream.topic) continue;
      const applied = await this.#store.appliedOffset(view.handle, partitionName(stream));
      if (position === undefined || applied < position) position = applied;
    }
    return position;
  }

  /** Views that read a topic. */
  streamViews(topic: string): readonly IngestedView[] {
    return [...this.#views.values()].filter(({ compiled }) => compiled.view.source.topic === topic);
  }

  /** Topics that views read. */
  get topics(): readonly string[] {
    const topics = new Set<string>();
    for (const { compiled } of this.#views.values()) {
      const { topic } = compiled.view.source;
      if (topic !== undefined) topics.add(topic);
    }
    return [...topics].sort();
  }

  /**
   * Applies events of a partition, in order, to the views that read them, and notes that everything up to `until` is in
   * them. Where it throws nothing is noted, and the same events can be applied again.
   */
  applyStream(stream: StreamPartition, events: readonly LoggedEvents[], until: number): Promise<void> {
    return this.#exclusively(async () => {
      const partition = partitionName(stream);
      const mutations: Mutation[] = [];
      const offsets: AppliedOffset[] = [];
      for (const view of this.streamViews(stream.topic)) {
        const applied = await this.#store.appliedOffset(view.handle, partition);
        if (applied >= until) continue;
        const own = events.filter((event) => event.offset > applied && isReadBy(view, event.scenario, event.source));
        mutations.push(...this.#mutations(view, view.handle, own, partition));
        offsets.push({ view: view.handle, partition, offset: until });
      }
      if (offsets.length > 0) await this.#write(mutations, offsets);
    });
  }

  /**
   * Forgets pushes that came in before a time and that every view holds; answers how many. A view that is defined later,
   * and a generation that is filled anew, do not get them: by then they should be in the source's file.
   */
  trimLog(receivedBeforeUs: number): Promise<number> {
    return this.#exclusively(async () => {
      let until = await this.#log.endOffset();
      for (const { scenario, compiled, handle } of this.#views.values()) {
        const applied = await this.#store.appliedOffset(handle);
        const [next] = await this.#log.read(scenario, compiled.view.source.name, applied, 1);
        if (next !== undefined) until = Math.min(until, next.offset - 1);
      }
      return this.#log.trim(until, receivedBeforeUs);
    });
  }

  /** Applies what a failed write left behind. */
  async catchUpBehind(): Promise<void> {
    if (this.#behind.size > 0) await this.#exclusively(() => this.#catchUpBehind());
  }

  /** Begins a job over what has been pushed so far. One job at a time. */
  async beginJob(scenario: string): Promise<GenerationJob> {
    const until = await this.#log.endOffset();
    const steps: IngestSteps = {
      store: this.#store,
      exclusively: (step) => this.#exclusively(step),
      catchUp: async (view, handle) => {
        await this.#catchUp(view, handle);
      },
      merge: (view, current, rows) => mergeRows(view, current, rows, this.#mutationObserver),
      takeChanged: (view) => {
        const changed = this.#changed.get(view) ?? [];
        this.#changed.set(view, new Set());
        return [...changed];
      },
      forgetChanged: (view) => void this.#changed.delete(view),
      settled: (views) => {
        for (const { handle } of views) this.#behind.delete(handle.id);
      },
    };
    return new GenerationJob(steps, (source) => this.#pushedRows(scenario, source, until), until);
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    let tail: unknown;
    while (tail !== this.#tail) {
      tail = this.#tail;
      await tail;
    }
  }

  /** One batch a turn, so that other steps come in between while pushes keep coming. */
  async #pump(): Promise<void> {
    const batch = this.#takeBatch();
    try {
      const appended = await this.#log.append(batch.map(({ events }) => events));
      const logged = batch.flatMap(({ events }, index): LoggedEvents[] => {
        const { offset = 0, duplicate = true } = appended[index] ?? {};
        if (!duplicate) this.#observer.accepted(events.source, events.rows.length);
        return duplicate ? [] : [{ ...events, offset }];
      });
      await this.#applyNew(logged);
      batch.forEach(({ resolve }, index) => {
        resolve(appended[index]?.duplicate ?? false);
      });
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
    for (const { events } of batch) this.#queuedRows -= events.rows.length;
    this.#isPumping = this.#queue.length > 0;
    if (this.#isPumping) void this.#exclusively(() => this.#pump());
  }

  #takeBatch(): Waiting[] {
    let count = 0;
    for (let rows = 0; count < this.#queue.length; count++) {
      rows += this.#queue[count]?.events.rows.length ?? 0;
      if (count > 0 && rows > batchRowsMax) break;
    }
    const batch = this.#queue.slice(0, count);
    this.#queue = this.#queue.slice(count);
    return batch;
  }

  /** Applies events that were just appended; where an earlier write failed, the log is read instead. */
  async #applyNew(events: readonly LoggedEvents[]): Promise<void> {
    try {
      if (this.#behind.size > 0) await this.#catchUpBehind();
      const mutations: Mutation[] = [];
      const offsets: { view: ViewHandle; offset: number }[] = [];
      for (const view of this.#views.values()) {
        const own = events.filter(({ scenario, source }) => isReadBy(view, scenario, source));
        const last = own.at(-1);
        if (last === undefined) continue;
        const applied = await this.#store.appliedOffset(view.handle);
        if (applied >= last.offset) continue;
        if (applied < view.applied) view.applied = await this.#catchUp(view, view.handle);
        else {
          mutations.push(...this.#mutations(view, view.handle, own));
          offsets.push({ view: view.handle, offset: last.offset });
        }
      }
      if (offsets.length > 0) await this.#write(mutations, offsets);
      for (const { view, offset } of offsets) {
        const active = this.#views.get(view.id);
        if (active !== undefined) active.applied = offset;
      }
    } catch (cause) {
      for (const view of this.#views.values())
        if (events.some(({ scenario, source }) => isReadBy(view, scenario, source))) this.#behind.add(view.handle.id);
      this.#observer.behind(cause);
      throw errors.APPLY_FAILED({}, { cause });
    }
  }

  async #catchUpBehind(): Promise<void> {
    for (const id of [...this.#behind]) {
      const view = this.#views.get(id);
      if (view !== undefined) view.applied = await this.#catchUp(view, view.handle);
      this.#behind.delete(id);
    }
  }

  /** Applies what the log holds behind a handle's applied offset, up to where the log ends now; answers the offset reached. */
  async #catchUp(view: IngestedView, handle: ViewHandle): Promise<number> {
    const end = await this.#log.endOffset();
    let offset = await this.#store.appliedOffset(handle);
    while (offset < end) {
      const events = await this.#log.read(view.scenario, view.compiled.view.source.name, offset, pagePushes);
      const last = events.at(-1);
      if (last === undefined) break;
      offset = last.offset;
      await this.#write(this.#mutations(view, handle, events), [{ view: handle, offset }]);
    }
    return offset;
  }

  async #write(mutations: readonly Mutation[], offsets: readonly AppliedOffset[]): Promise<void> {
    try {
      this.#refused = [];
      const applied = this.#startApply?.();
      await this.#store.write(mutations, offsets);
      applied?.();
      if (this.#refused.length > 0) await this.#setAside(this.#refused);
    } finally {
      // Noted once the write is over, so that whoever copied the state from before it copies it again.
      if (this.#changed.size > 0) for (const { view, key } of mutations) this.#changed.get(view)?.add(key);
    }
  }

  #mutations(view: IngestedView, handle: ViewHandle, events: readonly LoggedEvents[], partition?: string): Mutation[] {
    return viewMutations(view.compiled, handle, events, this.#mutationObserver, partition);
  }

  async #setAside(refused: readonly Refused[]): Promise<void> {
    for (const { view } of refused) this.#observer.skipped(view, 1);
    await this.#refuse?.(
      refused.map(({ view, event, index }) => ({
        scenario: event.scenario,
        source: event.source,
        reason: "ROW_NOT_APPLICABLE",
        detail: `view "${view}" cannot take the row: it does not fit the source's fields as they are now`,
        origin: `${event.requestId}/${event.offset}/${index}/${view}`,
        content: contentOf(event, index),
      })),
    );
  }

  async *#pushedRows(scenario: string, source: Source, until: number): AsyncGenerator<PushedPart> {
    const order = sourceFields(source).map(({ name }) => name);
    let offset = 0;
    while (true) {
      const events = await this.#log.read(scenario, source.name, offset, pagePushes);
      const own = events.filter((event) => event.offset <= until);
      const last = own.at(-1);
      if (last === undefined) return;
      offset = last.offset;
      for (const event of own) yield { rows: rowsIn(order, event), receivedUs: event.receivedUs };
    }
  }

  #exclusively<T>(step: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(step);
    this.#tail = result.catch(() => undefined);
    return result;
  }
}

function contentOf({ fields, rows }: LoggedEvents, index: number): EventContent {
  const row = rows[index] ?? { eventTimeUs: 0, createdTimeUs: 0, values: [] };
  return { kind: "row", fields, row };
}

function isReadBy(view: IngestedView, scenario: string, source: string): boolean {
  return view.scenario === scenario && view.compiled.view.source.name === source;
}
