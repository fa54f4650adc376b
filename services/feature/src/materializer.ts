import { isWeftError } from "@weft/errors";
import type {
  Materialization,
  MaterializationCatalog,
  MaterializationChange,
  MaterializedView,
  MaterializeMode,
} from "./domain/materialize/materialization-catalog.ts";
import { type MaterializeProgress, type MaterializeTarget, materialize } from "./domain/materialize/materialize.ts";
import type { ValidationReport } from "./domain/materialize/validation.ts";
import type { OfflineStore, PushedRows } from "./domain/offline/offline-store.ts";
import type { CompiledView } from "./domain/views/view-state.ts";
import type { Cancellable, JobTurns } from "./job-turns.ts";
import type { OfflineRelease } from "./offline-service.ts";

/** A release with its id. */
export interface MaterializedRelease extends OfflineRelease {
  readonly id: string;
}

/** A job that fills generations of a release's views. */
export interface MaterializationJob {
  /** The rows that had been pushed when it began. */
  readonly pushed: PushedRows;
  readonly target: MaterializeTarget;
  /** Drops the generations that were begun and not published. */
  drop(): Promise<void>;
  /** Shows readers of views the generation before, of those that `may` says. */
  rollBack(
    views: readonly CompiledView[],
    may: (view: CompiledView, generation: number) => boolean,
  ): Promise<readonly RolledBackView[]>;
}

/** What a materializer reports while it works. */
export interface MaterializerObserver {
  /** A materialization ended. */
  ended(materialization: Materialization): void;
  /** The rows of a materialization were checked. */
  validated(scenario: string, report: ValidationReport): void;
  /** Readers see a generation of a view. */
  published(scenario: string, view: MaterializedView): void;
}

export interface MaterializerOptions {
  readonly store: OfflineStore;
  readonly catalog: MaterializationCatalog;
  /** Starts a job over what has been pushed so far. */
  begin(release: OfflineRelease): Promise<MaterializationJob>;
  readonly turns: JobTurns;
  readonly observer: MaterializerObserver;
  /** Microseconds since 1970. */
  nowUs(): number;
  /** Lets other work of the process run. */
  pause(): Promise<void>;
}

/** What to materialize of a release. */
export interface MaterializeRequest {
  readonly views: readonly CompiledView[];
  readonly mode: MaterializeMode;
  readonly endUs?: number | undefined;
}

/** A view that was asked to go back. */
export interface RolledBackView {
  readonly view: string;
  readonly generation: number;
  /** False where there was no generation before, or the view had another generation than was expected. */
  readonly changed: boolean;
}

/** How far a materialization is. */
export interface MaterializationProgress extends MaterializeProgress {
  readonly id: number;
}

/** A materialization that was begun this often, and never came to its end, is given up. */
const attemptsMax = 3;
/** How often progress is written down. */
const progressEveryUs = 1_000_000;

/** Runs materializations, one at a time, and remembers them: what a crash interrupts is begun anew. */
export class Materializer {
  readonly #options: MaterializerOptions;

  constructor(options: MaterializerOptions) {
    this.#options = options;
  }

  /** Waits for its turn, materializes, and reports how far it is. Throws OFFLINE_JOBS_FULL and what `materialize` throws. */
  async *run(
    release: MaterializedRelease,
    request: MaterializeRequest,
    caller: Cancellable,
    interrupted?: Materialization,
  ): AsyncGenerator<MaterializationProgress> {
    const { catalog, turns, nowUs } = this.#options;
    const turn = await turns.take(caller);
    try {
      const startUs = nowUs();
      const begun = interrupted ?? catalog.begin({ ...specOf(release, request), release: release.id }, startUs);
      if (interrupted !== undefined)
        catalog.change(begun.id, { state: "running", attempt: interrupted.attempt + 1, startUs });
      let change: MaterializationChange = { state: "cancelled" };
      try {
        for await (const progress of this.#load(release, request, caller, begun.id)) {
          const { rowsRead, rowsTotal, entitiesWritten, done, views } = progress;
          change = { state: done ? "succeeded" : "cancelled", rowsRead, rowsTotal, entitiesWritten, done: views };
          yield progress;
        }
      } catch (error) {
        // Anything else is told at the boundary, and never to a caller.
        const fault = isWeftError(error) ? error.message : "it failed for a reason that the service's log has";
        change = { ...change, state: caller.signal.aborted ? "cancelled" : "failed", fault };
        throw error;
      } finally {
        const ended = { ...change, endedUs: nowUs() };
        catalog.change(begun.id, ended);
        this.#options.observer.ended({ ...begun, startUs, ...ended });
      }
    } finally {
      turn.end();
    }
  }

  async *#load(
    release: MaterializedRelease,
    request: MaterializeRequest,
    { signal }: Cancellable,
    id: number,
  ): AsyncGenerator<MaterializationProgress> {
    const { store, catalog, observer, pause, nowUs } = this.#options;
    const { pushed, target, drop } = await this.#options.begin(release);
    const scenario = release.scenario.name;
    let isDone = false;
    let writtenUs = nowUs();
    const validated = (report: ValidationReport) => {
      validation = report;
      catalog.setReport(id, scenario, report);
    };
    const references = catalog.references(scenario, release.id);
    let validation: ValidationReport | undefined;
    try {
      const options = { scenario, ...request, store, target, pushed, signal, pause, nowUs, references, validated };
      for await (const progress of materialize(options)) {
        isDone = progress.done;
        for (const view of progress.views) observer.published(scenario, view);
        if (nowUs() - writtenUs >= progressEveryUs) {
          writtenUs = nowUs();
          const { rowsRead, rowsTotal, entitiesWritten } = progress;
          catalog.change(id, { rowsRead, rowsTotal, entitiesWritten });
        }
        yield { ...progress, id };
      }
    } finally {
      if (validation !== undefined) observer.validated(scenario, validation);
      if (!isDone) await drop();
    }
  }

  /**
   * Begins anew what a crash interrupted, once its release is there. A materialization leaves nothing behind that counts
   * before it is published, so that beginning anew counts nothing twice.
   */
  async resume(
    release: MaterializedRelease,
    interrupted: readonly Materialization[],
    caller: Cancellable,
  ): Promise<void> {
    for (const one of interrupted) {
      if (one.scenario !== release.scenario.name || one.release !== release.id) continue;
      if (one.attempt >= attemptsMax) {
        const fault = `the process ended ${one.attempt} times while it ran`;
        this.#options.catalog.change(one.id, { state: "failed", fault, endedUs: this.#options.nowUs() });
        continue;
      }
      const views = release.views.filter(({ name }) => one.views.includes(name));
      for await (const _ of this.run(release, { views, mode: one.mode, endUs: one.endUs }, caller, one));
    }
  }

  /**
   * Shows readers the generation before, with all that was pushed since. `expected`: the generation that a view must
   * have now, so that a repeat is harmless.
   */
  async rollBack(
    release: MaterializedRelease,
    views: readonly CompiledView[],
    expected: ReadonlyMap<string, number>,
    caller: Cancellable,
  ): Promise<readonly RolledBackView[]> {
    const turn = await this.#options.turns.take(caller);
    try {
      const { rollBack } = await this.#options.begin(release);
      const back = await rollBack(views, (view, generation) => (expected.get(view.name) ?? generation) === generation);
      for (const { view, generation, changed } of back)
        if (changed)
          this.#options.observer.published(release.scenario.name, { view, generation, outcome: "unchanged", rows: 0 });
      return back;
    } finally {
      turn.end();
    }
  }
}

function specOf({ scenario }: OfflineRelease, { views, mode, endUs }: MaterializeRequest) {
  return { scenario: scenario.name, views: views.map(({ name }) => name), mode, endUs };
}
