import type { Source } from "@weft/scenario";
import type { EntityKey } from "./entity-key.ts";
import { fieldColumn, type OfflineStore, type OfflineWorkspace, type PushedRows } from "./offline-store.ts";
import { newestSql, orderedSql } from "./point-in-time-sql.ts";
import { fieldsRead, keyFieldsOnly, RowReader } from "./source-rows.ts";
import type { CompiledView, SourceRow, ViewState } from "./view-state.ts";

/** The packed state of one key. */
export interface StateEntry {
  readonly key: EntityKey;
  readonly state: Uint8Array;
}

/** A view's new generation, which no reader sees before it is published. */
export interface GenerationWriter {
  /** Takes states in, 1 to 1,000 at a time, in key order where the view has one entity; each key comes once. */
  write(entries: readonly StateEntry[]): Promise<void>;
}

/** Where materialized states go. */
export interface MaterializeTarget {
  /** Starts a new generation of a view; one that was left unpublished is dropped. */
  begin(view: CompiledView): Promise<GenerationWriter>;
  /**
   * Shows the generations that were begun to readers, all of them or, where it fails, those of some views. What was
   * pushed since the pushed rows were read is in them too.
   */
  publish(): Promise<void>;
}

export interface MaterializeOptions {
  /** Name of the scenario. */
  readonly scenario: string;
  /** Views to load. */
  readonly views: readonly CompiledView[];
  readonly store: OfflineStore;
  readonly target: MaterializeTarget;
  /** Load what was known up to this time in microseconds, inclusive; default everything. */
  readonly endUs?: number | undefined;
  readonly pushed?: PushedRows | undefined;
  readonly signal?: AbortSignal | undefined;
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
}

const entriesMax = 1_000;
const entriesBytesMax = 4 << 20;

/**
 * Loads views into the online store: for field views the newest row of each key, for window views the state that all
 * its events leave. Each source is read once. Rows come sorted by key, so that one state at a time is in memory, however
 * many keys there are. Readers see the new states once all of them are written. Running it again writes the same bytes.
 */
export async function* materialize(options: MaterializeOptions): AsyncGenerator<MaterializeProgress> {
  const { views, store, target, signal } = options;
  const workspace = await store.open({ scenario: options.scenario, pushed: options.pushed, signal });
  try {
    const progress = { view: "", rowsRead: 0, rowsTotal: 0, entitiesWritten: 0, done: false };
    yield { ...progress };
    const rowCounts = new Map<Source, number>();
    for (const { view } of views) {
      const { rowCount } = await workspace.load(view.source);
      rowCounts.set(view.source, rowCount);
      progress.rowsTotal += rowCount;
      yield { ...progress };
    }
    for (const view of views) {
      progress.view = view.name;
      const before = progress.rowsRead;
      const generation = await target.begin(view);
      for await (const { rows, entries } of states(workspace, view, options.endUs)) {
        if (entries.length > 0) await generation.write(entries);
        progress.entitiesWritten += entries.length;
        progress.rowsRead = before + rows;
        yield { ...progress };
      }
      // Rows without a key, or known too late, are read and belong to nobody.
      progress.rowsRead = before + (rowCounts.get(view.view.source) ?? 0);
      yield { ...progress };
    }
    await target.publish();
    yield { ...progress, view: "", done: true };
  } finally {
    await workspace.close();
  }
}

/** The states of a view's keys in parts, in key order. */
async function* states(
  workspace: OfflineWorkspace,
  view: CompiledView,
  endUs: number | undefined,
): AsyncGenerator<{ rows: number; entries: StateEntry[] }> {
  const { source } = view.view;
  const { table } = await workspace.load(source);
  const fields = [...fieldsRead(view), ...keyFieldsOnly(view)];
  const query = {
    from: table,
    keyColumns: view.view.entities.map(({ field }) => fieldColumn(source, field)),
    columns: fields.map(({ name }) => fieldColumn(source, name)),
    endUs,
  };
  const sql = view.kind === "fields" ? newestSql(query) : orderedSql(query);
  const reader = new RowReader(view, fields);
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
  const batches = workspace.query(sql, [
    { name: "event_us", type: "count" },
    { name: "created_us", type: "count" },
    ...fields,
  ]);
  for await (const { count, columns } of batches) {
    const [events = [], created = []] = columns;
    for (let at = 0; at < count; at++) {
      const row: SourceRow = {
        eventTimeUs: events[at] as number,
        createdTimeUs: created[at] as number,
        values: reader.values(columns, 2, at),
      };
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
    rows += count;
    yield { rows, entries: [] };
  }
  finish();
  yield { rows, entries };
}
