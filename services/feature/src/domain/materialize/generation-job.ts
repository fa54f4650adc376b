import { errors } from "../../errors.ts";
import type { IngestedView } from "../ingest/ingest.ts";
import type { PushedRows } from "../offline/offline-store.ts";
import { type OnlineStore, ReadBatch, type ViewHandle } from "../online/online-store.ts";
import type { EntityKey } from "../views/entity-key.ts";
import type { CompiledView, SourceRow } from "../views/view-state.ts";

/** What a job needs of ingestion. */
export interface IngestSteps {
  readonly store: OnlineStore;
  /** Runs a step while nothing is written to the published states. */
  exclusively<T>(step: () => Promise<T>): Promise<T>;
  /** Applies to a generation what the log holds behind its applied offset, up to where the log ends now. */
  catchUp(view: IngestedView, handle: ViewHandle): Promise<void>;
  /** Keys of a view's published states written since the last call; the first call begins to note them. */
  takeChanged(view: ViewHandle): readonly EntityKey[];
  /** Ends what `takeChanged` began. */
  forgetChanged(view: ViewHandle): void;
  /** The rows added to a stored state: its new bytes, or undefined where they change nothing. */
  merge(view: CompiledView, current: Uint8Array | undefined, rows: readonly SourceRow[]): Uint8Array | undefined;
  /** The views hold all that is durable. */
  settled(views: readonly IngestedView[]): void;
}

const copyKeysMax = 128;
const mergeKeysMax = 128;
/** Catching up goes on without holding pushes up until this many rounds; the rest is done while they wait. */
const roundsMax = 3;

/**
 * New generations of views, filled beside the published ones. Pushes go on into the published generation and, through
 * the log, into the new one: what was pushed since the job began is in it once, and visible with it.
 */
export class GenerationJob {
  /** The rows that had been pushed when the job began. */
  readonly pushed: PushedRows;
  readonly #steps: IngestSteps;
  readonly #until: number;
  readonly #begun = new Map<
    string,
    { readonly view: IngestedView; readonly next: ViewHandle; readonly isNew: boolean }
  >();

  /** `until`: the log's end when the job began. */
  constructor(steps: IngestSteps, pushed: PushedRows, until: number) {
    this.#steps = steps;
    this.pushed = pushed;
    this.#until = until;
  }

  /** Makes an empty generation, to be filled with all rows of the source and all that had been pushed. */
  async beginEmpty(view: IngestedView): Promise<ViewHandle> {
    const next = await this.#begin(view);
    await this.#steps.store.write([], [{ view: next, offset: this.#until }]);
    return next;
  }

  /** Makes a generation with the states that readers see, to be filled with further rows of the source. */
  async beginCopy(view: IngestedView): Promise<ViewHandle> {
    const { store } = this.#steps;
    const next = await this.#begin(view);
    this.#steps.takeChanged(view.handle);
    try {
      let after: EntityKey | undefined;
      while (true) {
        const keys = await store.listKeys(view.handle, after, copyKeysMax);
        after = keys.at(-1);
        if (after === undefined) break;
        await this.#copy(view.handle, next, keys);
        await this.#copy(view.handle, next, this.#steps.takeChanged(view.handle));
      }
      await this.#steps.exclusively(async () => {
        // A write that failed may have reached some states and not the offset: it is completed, and those are copied again.
        await this.#steps.catchUp(view, view.handle);
        await this.#copy(view.handle, next, this.#steps.takeChanged(view.handle));
        const applied = await store.appliedOffsets(view.handle);
        await store.write(
          [],
          [...applied].map(([partition, offset]) => ({ view: next, partition, offset })),
        );
      });
    } finally {
      this.#steps.forgetChanged(view.handle);
    }
    return next;
  }

  /** Adds rows of the source to a copy. */
  async merge(
    { compiled }: IngestedView,
    next: ViewHandle,
    rowsByKey: ReadonlyMap<EntityKey, readonly SourceRow[]>,
  ): Promise<void> {
    const all = [...rowsByKey];
    // Working states out holds this thread up.
    for (let from = 0; from < all.length; from += mergeKeysMax)
      await this.#steps.store.write(
        all.slice(from, from + mergeKeysMax).map(([key, rows]) => ({
          view: next,
          key,
          merge: (current) => this.#steps.merge(compiled, current, rows),
        })),
      );
  }

  /** Takes up the generation that readers saw before; undefined where there is none. */
  async beginPrevious(view: IngestedView): Promise<ViewHandle | undefined> {
    const next = await this.#steps.store.previousGeneration(view.handle);
    if (next !== undefined) this.#begun.set(view.handle.id, { view, next, isNew: false });
    return next;
  }

  /** Adds what was pushed meanwhile to the generations begun, and moves readers over, all views at once. */
  async publish(): Promise<void> {
    const begun = [...this.#begun.values()];
    for (let round = 0; round < roundsMax; round++)
      for (const { view, next } of begun) await this.#steps.catchUp(view, next);
    await this.#steps.exclusively(async () => {
      for (const { view, next } of begun) await this.#steps.catchUp(view, next);
      await this.#steps.store.publish(begun.map(({ next }) => next));
      this.#steps.settled(begun.map(({ view }) => view));
    });
    this.#begun.clear();
  }

  /** Drops what was begun and not published; a generation that was taken up again stays. */
  async drop(): Promise<void> {
    for (const { next, isNew } of this.#begun.values()) if (isNew) await this.#steps.store.dropGeneration(next);
    this.#begun.clear();
  }

  async #begin(view: IngestedView): Promise<ViewHandle> {
    const next = await this.#steps.store.createGeneration(view.handle);
    this.#begun.set(view.handle.id, { view, next, isNew: true });
    return next;
  }

  async #copy(from: ViewHandle, to: ViewHandle, keys: readonly EntityKey[]): Promise<void> {
    if (keys.length === 0) return;
    const batch = new ReadBatch();
    batch.isFresh = true;
    for (const key of keys) batch.add(from, key);
    await this.#steps.store.get(batch);
    if (batch.unread !== undefined) throw errors.STORE_UNAVAILABLE({});
    await this.#steps.store.write(
      keys.flatMap((key, place) => {
        const bytes = batch.values[place]?.bytes;
        return bytes === undefined ? [] : [{ view: to, key, merge: () => bytes }];
      }),
    );
  }
}
