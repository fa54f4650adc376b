import { durationMs, type Source } from "@weft/scenario";
import type { Clock } from "@weft/service";
import type { Materialization } from "./domain/materialize/materialization-catalog.ts";
import type { CompiledView } from "./domain/views/view-state.ts";
import type { Cancellable } from "./job-turns.ts";
import type { MaterializedRelease, Materializer } from "./materializer.ts";

export interface MaterializationScheduleOptions {
  readonly materializer: Pick<Materializer, "run" | "resume">;
  /** What a crash interrupted. */
  readonly interrupted: readonly Materialization[];
  readonly clock: Clock;
  /** Time between two looks at a source that declares none, in milliseconds; 0: never. */
  readonly everyMs: number;
  /** From 0 to below 1, for jitter. */
  random(): number;
  /** A materialization that nobody waits for failed; it is tried again. */
  failed(scenario: string, error: unknown): void;
}

interface Entry {
  release: MaterializedRelease;
  readonly view: CompiledView;
  readonly everyMs: number;
  users: number;
  dueMs: number;
}

/** Share of the interval that is added by chance, so that many services do not look at once. */
const jitter = 0.1;
/** A failed one is tried again after this share of the interval. */
const retryShare = 0.1;
const waitMinMs = 1_000;

/**
 * Keeps the views of the loaded releases up to date with their sources' files: an increment an interval, first one
 * interval after the view is loaded. One at a time; one that takes longer than the interval puts the next one off.
 */
export class MaterializationSchedule {
  readonly #options: MaterializationScheduleOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #abort = new AbortController();
  #timer: { cancel(): void } | undefined;
  #running: Promise<void> | undefined;
  #resumed: Promise<void> = Promise.resolve();

  constructor(options: MaterializationScheduleOptions) {
    this.#options = options;
  }

  /** Takes a loaded release's views in, and begins anew what was interrupted of it. */
  add(release: MaterializedRelease): void {
    const { materializer, interrupted, failed } = this.#options;
    for (const view of release.views) {
      const everyMs = intervalMs(view.view.source, this.#options.everyMs);
      if (everyMs === 0) continue;
      const key = keyOf(release, view);
      const known = this.#entries.get(key);
      if (known === undefined) this.#entries.set(key, { release, view, everyMs, users: 1, dueMs: this.#next(everyMs) });
      else {
        known.users++;
        known.release = release;
      }
    }
    this.#resumed = this.#resumed
      .then(() => materializer.resume(release, interrupted, this.#caller()))
      .catch((error: unknown) => this.#isClosed || failed(release.scenario.name, error))
      .then(() => undefined);
    this.#plan();
  }

  /** Takes a release's views out again. */
  remove(release: MaterializedRelease): void {
    for (const view of release.views) {
      const key = keyOf(release, view);
      const entry = this.#entries.get(key);
      if (entry !== undefined && --entry.users === 0) this.#entries.delete(key);
    }
  }

  /** Gives up what runs, and waits for it. */
  async close(): Promise<void> {
    this.#timer?.cancel();
    this.#abort.abort(new Error("the service is closing"));
    await this.#running;
    await this.#resumed;
  }

  get #isClosed(): boolean {
    return this.#abort.signal.aborted;
  }

  #next(everyMs: number): number {
    return this.#options.clock.nowMs() + everyMs * (1 + jitter * this.#options.random());
  }

  #plan(): void {
    this.#timer?.cancel();
    if (this.#entries.size === 0 || this.#running !== undefined || this.#isClosed) return;
    const { clock } = this.#options;
    const dueMs = Math.min(...[...this.#entries.values()].map((entry) => entry.dueMs));
    this.#timer = clock.setTimer(Math.max(waitMinMs, dueMs - clock.nowMs()), () => {
      this.#running = this.#run().finally(() => {
        this.#running = undefined;
        this.#plan();
      });
    });
  }

  /** Runs what is due, the views of one source together, so that a source that is at fault holds up no other. */
  async #run(): Promise<void> {
    const { materializer, clock, failed } = this.#options;
    const due = [...this.#entries.values()].filter(({ dueMs }) => dueMs <= clock.nowMs());
    for (const own of bySource(due)) {
      const [{ release }] = own;
      if (this.#isClosed) return;
      let share = 1;
      try {
        const request = { views: own.map(({ view }) => view), mode: "incremental" } as const;
        for await (const _ of materializer.run(release, request, this.#caller()));
      } catch (error) {
        if (this.#isClosed) return;
        share = retryShare;
        failed(release.scenario.name, error);
      }
      for (const entry of own) entry.dueMs = this.#next(entry.everyMs * share);
    }
  }

  #caller(): Cancellable {
    const { signal } = this.#abort;
    return {
      signal,
      onCancel(listener) {
        const cancelled = () => listener("cancelled");
        signal.addEventListener("abort", cancelled, { once: true });
        return () => signal.removeEventListener("abort", cancelled);
      },
    };
  }
}

function bySource(entries: readonly Entry[]): Iterable<[Entry, ...Entry[]]> {
  const groups = new Map<string, [Entry, ...Entry[]]>();
  for (const entry of entries) {
    const key = `${entry.release.id} ${entry.view.view.source.name}`;
    const others = groups.get(key);
    if (others === undefined) groups.set(key, [entry]);
    else others.push(entry);
  }
  return groups.values();
}

function keyOf({ scenario }: MaterializedRelease, view: CompiledView): string {
  return `${scenario.name}/${view.name}/${view.digest}`;
}

function intervalMs({ refresh }: Source, defaultMs: number): number {
  return refresh === undefined ? defaultMs : durationMs(refresh);
}
