import type { Source } from "@weft/scenario";
import { offlineErrors } from "../../offline-errors.ts";
import { fieldColumn, type OfflineStore, type OfflineWorkspace, type PushedRows } from "../offline/offline-store.ts";
import { newestSql, orderedSql, type RowsQuery } from "../offline/point-in-time-sql.ts";
import { fieldsRead, keyFieldsOnly, RowReader } from "../offline/source-rows.ts";
import type { EntityKey } from "../views/entity-key.ts";
import type { CompiledView, SourceRow, ViewState } from "../views/view-state.ts";
import type { FieldReferences } from "./distribution-check.ts";
import type { MaterializedView, MaterializeMode, ViewOutcome, Watermark } from "./materialization-catalog.ts";
import { type ExpectationResult, type ValidationReport, validateSource } from "./validation.ts";

/** The packed state of one key. */
export interface StateEntry {
  readonly key: EntityKey;
  readonly state: Uint8Array;
}

/** A view's new generation, which no reader sees before it is published. */
export interface GenerationWriter {
  /** Takes states in, 1 to 500 at a time, in key order where the view has one entity; each key comes once. */
  write(entries: readonly StateEntry[]): Promise<void>;
}

/** A view's new generation that holds what readers see, to be added to. */
export interface GenerationMerger {
  /** Adds rows to the states of their keys. */
  merge(rows: ReadonlyMap<EntityKey, readonly SourceRow[]>): Promise<void>;
}

/** Where materialized states go. */
export interface MaterializeTarget {
  /** What the generation that readers see holds of the source's file; undefined where that is not known. */
  watermark(view: CompiledView): Watermark | undefined;
  /** Starts a new generation of a view; one that was left unpublished is dropped. */
  begin(view: CompiledView): Promise<GenerationWriter>;
  /** Starts a new generation with the states that readers see. */
  beginCopy(view: CompiledView): Promise<GenerationMerger>;
  /**
   * Shows the generations that were begun to readers, all at once or, where it fails, none. What was pushed meanwhile is
   * in them too. `watermarks`: what each of them holds, undefined where an increment could not build on it. Answers the
   * generation that readers see of each view.
   */
  publish(watermarks: ReadonlyMap<CompiledView, Watermark | undefined>): Promise<(view: CompiledView) => number>;
}

export interface MaterializeOptions {
  /** Name of the scenario. */
  readonly scenario: string;
  /** Views to load. */
  readonly views: readonly CompiledView[];
  readonly store: OfflineStore;
  readonly target: MaterializeTarget;
  /** Default full. */
  readonly mode?: MaterializeMode;
  /** Load what was known up to this time in microseconds, inclusive; default everything. */
  readonly endUs?: number | undefined;
  readonly pushed?: PushedRows | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Lets other work of the process run; called every few hundred rows. */
  readonly pause?: () => Promise<void>;
  /** The time that freshness is judged by, in microseconds since 1970; default: no event is too old. */
  readonly nowUs?: () => number;
  /** What fields are compared with; default nothing, so that every distribution is as it should be. */
  readonly references?: FieldReferences;
  /** Told what the sources' expectations found, before anything is published. */
  readonly validated?: (report: ValidationReport) => void;
}

/** How far a materialization is. */
export interface MaterializeProgress {
  /** View being loaded; empty before the first. */
  readonly view: string;
  /** Rows of sources, summed over the views. */
  readonly rowsRead: number;
  readonly rowsTotal: number;
  /** Keys written, summed over the views. */
  readonly entitiesWritten: number;
  /** True in the last message. */
  readonly done: boolean;
  /** What readers see now; only in the last message. */
  readonly views: readonly MaterializedView[];
}

const entriesMax = 500;
const entriesBytesMax = 4 << 20;
/** Rows between two pauses. */
const rowsATurn = 256;

interface Run extends MaterializeOptions {
  readonly results: ExpectationResult[];
  /** References to keep once the rows are published. */
  readonly learned: Parameters<FieldReferences["set"]>[];
  /** Sources that have been looked at, by name and the time from which. */
  readonly looked: Set<string>;
  readonly progress: { -readonly [K in keyof MaterializeProgress]: MaterializeProgress[K] };
  readonly pause: () => Promise<void>;
  readonly outcomes: Map<CompiledView, { readonly outcome: ViewOutcome; readonly rows: number }>;
  readonly watermarks: Map<CompiledView, Watermark | undefined>;
}

/**
 * Loads views into the online store: for field views the newest row of each key, for window views the state that all
 * its events leave. Each source is read once. Rows come sorted by key, so that one state at a time is in memory, however
 * many keys there are. Readers see the new states once all of them are written. Running it again writes the same bytes.
 * Throws EXPECTATION_NOT_MET, with nothing published, where the rows are not what their source expects.
 *
 * An increment adds the rows of the file that were created after the view's watermark. Where the rows up to the
 * watermark are not those of the time it was set, or no watermark is known, the view is loaded in full instead, so that
 * no late row is missed, whatever its created time says.
 */
export async function* materialize(options: MaterializeOptions): AsyncGenerator<MaterializeProgress> {
  const run: Run = {
    pause: async () => undefined,
    ...options,
    progress: { view: "", rowsRead: 0, rowsTotal: 0, entitiesWritten: 0, done: false, views: [] },
    outcomes: new Map(),
    results: [],
    learned: [],
    looked: new Set(),
    watermarks: new Map(),
  };
  yield { ...run.progress };
  // Up to a time: what was pushed after it is not to be there, and is in the states that an increment builds on.
  const isIncrement = options.mode === "incremental" && options.endUs === undefined;
  const rest = isIncrement ? yield* loadIncrements(run) : options.views;
  if (rest.length > 0) yield* loadInFull(run, rest);
  const generationOf = await options.target.publish(run.watermarks);
  for (const [source, field, reference] of run.learned) options.references?.set(source, field, reference);
  const views = options.views.map((view): MaterializedView => {
    const { outcome, rows } = run.outcomes.get(view) ?? { outcome: "unchanged", rows: 0 };
    return { view: view.name, outcome, generation: generationOf(view), rows };
  });
  yield { ...run.progress, view: "", done: true, views };
}

async function* loadInFull(run: Run, views: readonly CompiledView[]): AsyncGenerator<MaterializeProgress> {
  const { progress, target, endUs } = run;
  const workspace = await run.store.open(run);
  try {
    const rowCounts = new Map<Source, number>();
    for (const { view } of views) {
      const { rowCount } = await workspace.load(view.source);
      rowCounts.set(view.source, rowCount);
      progress.rowsTotal += rowCount;
      await validate(run, workspace, view.source);
      yield { ...progress };
    }
    refuse(run);
    for (const view of views) {
      progress.view = view.name;
      const before = progress.rowsRead;
      const generation = await target.begin(view);
      for await (const { rows, entries } of states(workspace, view, run)) {
        if (entries.length > 0) await generation.write(entries);
        progress.entitiesWritten += entries.length;
        progress.rowsRead = before + rows;
        yield { ...progress };
      }
      // Rows without a key, or known too late, are read and belong to nobody.
      const rows = rowCounts.get(view.view.source) ?? 0;
      progress.rowsRead = before + rows;
      run.outcomes.set(view, { outcome: "full", rows });
      // What was pushed and not known yet is missing, and no later increment would bring it.
      run.watermarks.set(view, endUs === undefined ? await watermarkOf(workspace, view) : undefined);
      yield { ...progress };
    }
  } finally {
    await workspace.close();
  }
}

/** Adds what is new to the views where that is enough; answers the other views. */
async function* loadIncrements(run: Run): AsyncGenerator<MaterializeProgress, readonly CompiledView[]> {
  const { progress, target } = run;
  const known = run.views.filter((view) => target.watermark(view) !== undefined);
  const inFull = run.views.filter((view) => !known.includes(view));
  if (known.length === 0) return inFull;
  // What was pushed is in the states that readers see.
  const workspace = await run.store.open({ ...run, pushed: undefined });
  try {
    for (const view of known) {
      progress.view = view.name;
      const watermark = target.watermark(view);
      const extent = await workspace.extent(view.view.source, watermark?.createdUs);
      if (extent.rowCount !== watermark?.rowCount || extent.fingerprint !== watermark.fingerprint) {
        inFull.push(view);
        continue;
      }
      const { rowCount } = await workspace.load(view.view.source);
      const rows = rowCount - extent.rowCount;
      if (rows === 0) {
        await validate(run, workspace, view.view.source, { isUnchanged: true });
        refuse(run);
        run.outcomes.set(view, { outcome: "unchanged", rows });
        continue;
      }
      progress.rowsTotal += rows;
      await validate(run, workspace, view.view.source, { afterUs: watermark.createdUs });
      refuse(run);
      yield { ...progress };
      const before = progress.rowsRead;
      const generation = await target.beginCopy(view);
      for await (const part of increments(workspace, view, run, watermark.createdUs)) {
        if (part.rows.size > 0) await generation.merge(part.rows);
        progress.entitiesWritten += part.rows.size;
        progress.rowsRead = before + part.read;
        yield { ...progress };
      }
      progress.rowsRead = before + rows;
      run.outcomes.set(view, { outcome: "incremental", rows });
      run.watermarks.set(view, await watermarkOf(workspace, view));
      yield { ...progress };
    }
    return inFull;
  } finally {
    await workspace.close();
  }
}

async function validate(
  run: Run,
  workspace: OfflineWorkspace,
  source: Source,
  { afterUs, isUnchanged = false }: { readonly afterUs?: number; readonly isUnchanged?: boolean } = {},
): Promise<void> {
  const key = `${source.name} ${afterUs} ${isUnchanged}`;
  if (run.looked.has(key)) return;
  run.looked.add(key);
  const timeUs = run.nowUs?.() ?? Number.NEGATIVE_INFINITY;
  const found = await validateSource(workspace, source, {
    nowUs: timeUs,
    afterUs,
    isUnchanged,
    references: run.references ?? { get: () => undefined },
    learned: (...reference) => run.learned.push(reference),
  });
  run.results.push(...found);
  if (run.results.length > 0) run.validated?.({ timeUs, results: [...run.results] });
}

/** Throws EXPECTATION_NOT_MET where what was found must not be published. */
function refuse({ results }: Run): void {
  const [first, ...others] = results.filter(({ isMet, policy }) => !isMet && policy === "reject");
  if (first === undefined) return;
  const { source, expectation, observed } = first;
  throw offlineErrors.EXPECTATION_NOT_MET({ source, expectation, observed, others: others.length });
}

async function watermarkOf(workspace: OfflineWorkspace, view: CompiledView): Promise<Watermark> {
  const { rowCount, newestUs, fingerprint } = await workspace.extent(view.view.source);
  return { rowCount, createdUs: newestUs ?? Number.MIN_SAFE_INTEGER, fingerprint };
}

/** A view's rows in the order of an SQL query, in parts. */
async function* rowsOf(
  workspace: OfflineWorkspace,
  view: CompiledView,
  sqlOf: (query: RowsQuery) => string,
  range: Pick<RowsQuery, "endUs" | "afterUs">,
): AsyncGenerator<{ readonly count: number; row(at: number): SourceRow }> {
  const { source } = view.view;
  const { table } = await workspace.load(source);
  const fields = [...fieldsRead(view), ...keyFieldsOnly(view)];
  const sql = sqlOf({
    from: table,
    keyColumns: view.view.entities.map(({ field }) => fieldColumn(source, field)),
    columns: fields.map(({ name }) => fieldColumn(source, name)),
    ...range,
  });
  const reader = new RowReader(view, fields);
  const times = [
    { name: "event_us", type: "count" },
    { name: "created_us", type: "count" },
  ] as const;
  for await (const { count, columns } of workspace.query(sql, [...times, ...fields])) {
    const [events = [], created = []] = columns;
    yield {
      count,
      row: (at) => ({
        eventTimeUs: Number(events[at]),
        createdTimeUs: Number(created[at]),
        values: reader.values(columns, 2, at),
      }),
    };
  }
}

/** The rows of a view created after a time, by key, in parts. */
async function* increments(
  workspace: OfflineWorkspace,
  view: CompiledView,
  { pause }: Run,
  afterUs: number,
): AsyncGenerator<{ readonly read: number; readonly rows: ReadonlyMap<EntityKey, readonly SourceRow[]> }> {
  let read = 0;
  for await (const part of rowsOf(workspace, view, orderedSql, { afterUs })) {
    const rows = new Map<EntityKey, SourceRow[]>();
    for (let at = 0; at < part.count; at++) {
      if (at % rowsATurn === 0) await pause();
      const row = part.row(at);
      const key = view.keyOf(row);
      if (key === undefined) continue;
      const own = rows.get(key);
      if (own === undefined) rows.set(key, [row]);
      else own.push(row);
    }
    read += part.count;
    yield { read, rows };
  }
}

/** The states of a view's keys in parts, in key order. */
async function* states(
  workspace: OfflineWorkspace,
  view: CompiledView,
  { endUs, pause }: Run,
): AsyncGenerator<{ rows: number; entries: StateEntry[] }> {
  let key: EntityKey | undefined;
  let state: ViewState | undefined;
  let entries: StateEntry[] = [];
  let bytes = 0;
  let rows = 0;
  const finish = () => {
    if (key === undefined || state === undefined) return;
    const packed = state.encode();
    entries.push({ key, state: packed });
    bytes += packed.length;
  };
  for await (const part of rowsOf(workspace, view, view.kind === "fields" ? newestSql : orderedSql, { endUs })) {
    for (let at = 0; at < part.count; at++) {
      if (at % rowsATurn === 0) await pause();
      const row = part.row(at);
      const owner = view.keyOf(row);
      if (owner === undefined) continue;
      if (owner !== key) {
        finish();
        key = owner;
        state = view.emptyState();
        if (entries.length >= entriesMax || bytes >= entriesBytesMax) {
          yield { rows: rows + at, entries };
          entries = [];
          bytes = 0;
        }
      }
      state?.apply(row);
    }
    rows += part.count;
    yield { rows, entries: [] };
  }
  finish();
  yield { rows, entries };
}
