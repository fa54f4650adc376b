import { join } from "node:path";
import type { FeatureReference, Scenario, Value } from "@weft/scenario";
import { offlineErrors } from "../../offline-errors.ts";
import type { CompiledView, ViewState } from "../views/view-state.ts";
import { addTransformColumns, isNumeric, requestValue, toFloats, typeOfFeature } from "./computed-columns.ts";
import {
  type ColumnBatch,
  type ColumnSpec,
  fieldColumn,
  fieldType,
  type OfflineStore,
  type OfflineWorkspace,
  type PushedRows,
} from "./offline-store.ts";
import { asOfSql, eventsSql, type HistoryQuery, keysSql, readsSql, spineSql } from "./point-in-time-sql.ts";
import { RowCursor } from "./row-cursor.ts";
import { fieldsRead, RowReader } from "./source-rows.ts";
import { ContentHash } from "./training-set-hash.ts";
import { type JoinedView, planTrainingSet, type TrainingSetPlan } from "./training-set-plan.ts";

export interface TrainingSetOptions {
  readonly scenario: Scenario;
  /** Name of the training set. */
  readonly trainingSet: string;
  /** The scenario's views, compiled. */
  readonly views: readonly CompiledView[];
  readonly store: OfflineStore;
  /** Folder to write into: `<directory>/<scenario>/<training set>/<content hash>.parquet`. */
  readonly directory: string;
  /** First event time in microseconds, inclusive. */
  readonly startUs?: number | undefined;
  /** End of the event times in microseconds, exclusive; labels that became known after it are left out too. */
  readonly endUs?: number | undefined;
  readonly pushed?: PushedRows | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How far a build is. */
export interface TrainingSetProgress {
  /** Rows done: the share of all the work that is done, times the rows to write. */
  readonly rows: number;
  /** Rows to write; 0 while unknown. */
  readonly rowsTotal: number;
  /** Set in the last message. */
  readonly result?: TrainingSetResult;
}

/** A training set that was built. */
export interface TrainingSetResult {
  readonly path: string;
  /** sha256 of the content, 64 hex digits; see `ContentHash`. */
  readonly contentHash: string;
  readonly rows: number;
  /** Columns of the file: event_time, label, one a feature reference, the extra ones. */
  readonly columns: readonly string[];
  /** Rows from this event time on are the share kept for tests; undefined where none is. */
  readonly testFromUs: number | undefined;
}

/**
 * Builds a training set: for each labelled row the features as they were known at its event time, by the same
 * evaluator, ladder and transforms that serve. Field views are joined in SQL; windows are replayed key by key in the
 * order in which events became known. The same sources give the same file and hash.
 */
export async function* buildTrainingSet(options: TrainingSetOptions): AsyncGenerator<TrainingSetProgress> {
  const { scenario, store, signal, startUs, endUs } = options;
  if (startUs !== undefined && endUs !== undefined && endUs <= startUs) {
    throw offlineErrors.TRAINING_SET_RANGE({ startUs, endUs });
  }
  const plan = planTrainingSet(scenario, options.trainingSet, options.views);
  const workspace = await store.open({ scenario: scenario.name, pushed: options.pushed, signal });
  try {
    yield { rows: 0, rowsTotal: 0 };
    const rowsTotal = await createSpine(workspace, plan, options);
    yield { rows: 0, rowsTotal };
    // One part a window view, and one for the join and the writing.
    const parts = plan.views.filter(({ view }) => view.kind === "windows").length + 1;
    let part = 0;
    const progress = (done: number): TrainingSetProgress => ({
      rows: Math.floor(((part + Math.min(1, done / Math.max(1, rowsTotal))) / parts) * rowsTotal),
      rowsTotal,
    });
    const joins: Join[] = [];
    const keyTables = new Map<string, string>();
    for (const [index, joined] of plan.views.entries()) {
      const { table } = await workspace.load(joined.view.view.source);
      const keyColumns = joined.keyFields.map((field) => fieldColumn(plan.source, field));
      const known = keyTables.get(keyColumns.join());
      const keys = known ?? `keys_${keyTables.size}`;
      if (known === undefined) {
        const sql = keysSql("spine", keyColumns);
        await workspace.execute(`CREATE TABLE ${keys} AS SELECT * FROM (${sql}) k ORDER BY row_id`);
        keyTables.set(keyColumns.join(), keys);
      }
      const history: HistoryQuery = {
        from: table,
        keys,
        keyColumns: joined.view.view.entities.map(({ field }) => fieldColumn(joined.view.view.source, field)),
        columns: fieldsRead(joined.view).map(({ name }) => fieldColumn(joined.view.view.source, name)),
      };
      if (joined.view.kind === "fields") {
        await workspace.execute(`CREATE TABLE view_${index} AS SELECT * FROM (${asOfSql(history)}) v ORDER BY row_id`);
      } else {
        for await (const rows of replayWindows(workspace, joined, history, "replayed")) yield progress(rows);
        await workspace.execute(`CREATE TABLE view_${index} AS SELECT * FROM replayed ORDER BY row_id`);
        await workspace.execute("DROP TABLE replayed");
        part++;
      }
      joins.push({ ...joined, table: `view_${index}`, keys });
    }
    const result = yield* writeRows(workspace, plan, joins, progress, rowsTotal);
    const path = join(options.directory, scenario.name, plan.trainingSet.name, `${result.contentHash}.parquet`);
    await workspace.exportParquet("result", path);
    const testFromUs = await testFrom(workspace, plan.trainingSet.testShare, rowsTotal);
    yield { rows: rowsTotal, rowsTotal, result: { ...result, path, testFromUs } };
  } finally {
    await workspace.close();
  }
}

interface Join extends JoinedView {
  /** Table with what the view has for the rows of the spine that are looked up, in their order. */
  readonly table: string;
  /** Table that says which row is looked up for each row of the spine. */
  readonly keys: string;
}

async function createSpine(
  workspace: OfflineWorkspace,
  plan: TrainingSetPlan,
  range: { readonly startUs?: number | undefined; readonly endUs?: number | undefined },
): Promise<number> {
  const { table } = await workspace.load(plan.source);
  const fields = [
    ...plan.views.flatMap(({ keyFields }) => keyFields),
    ...plan.requestFields.map(({ name }) => name),
    ...plan.extra,
  ];
  const { label, labelTime } = plan.trainingSet;
  const sql = spineSql({ from: table, source: plan.source, label, labelTime, fields, ...range });
  await workspace.execute(`CREATE TABLE spine AS SELECT * FROM (${sql}) s ORDER BY row_id`);
  return (await count(workspace, "SELECT COUNT(*) FROM spine")) ?? 0;
}

/** Event time from which the last rows, `share` of all or a few more of equal time, are kept for tests. */
function testFrom(workspace: OfflineWorkspace, share: number, rows: number): Promise<number | undefined> {
  const kept = Math.ceil(rows * share);
  if (kept === 0) return Promise.resolve(undefined);
  return count(workspace, `SELECT event_us FROM spine WHERE row_id = ${rows - kept + 1}`);
}

/** The one number that a query answers. */
async function count(workspace: OfflineWorkspace, sql: string): Promise<number | undefined> {
  let answer: number | undefined;
  for await (const { columns } of workspace.query(sql, [{ name: "answer", type: "count" }])) {
    answer = Number(columns[0]?.[0]);
  }
  return answer;
}

/** Writes a window view's features at every row of the spine to a table. Answers rows done, now and then. */
async function* replayWindows(
  workspace: OfflineWorkspace,
  { view, features }: JoinedView,
  history: HistoryQuery,
  table: string,
): AsyncGenerator<number> {
  const reading = view.createReading(features);
  const source = new RowReader(view, fieldsRead(view));
  const writer = await workspace.createTable(table, [
    { name: "row_id", type: "count" },
    ...reading.features.map(({ type }, index) => ({ name: `v${index}`, type })),
  ]);
  const events = new RowCursor(
    workspace.query(eventsSql(history), [
      { name: "key_id", type: "count" },
      { name: "event_us", type: "count" },
      { name: "created_us", type: "count" },
      { name: "known_us", type: "count" },
      ...fieldsRead(view),
    ]),
  );
  try {
    let more = await events.next();
    let key = -1;
    let state: ViewState | undefined;
    let rows = 0;
    const reads = workspace.query(readsSql(history.keys), [
      { name: "key_id", type: "count" },
      { name: "event_us", type: "count" },
      { name: "row_id", type: "count" },
    ]);
    for await (const batch of reads) {
      const [keys = [], times = [], ids = []] = batch.columns as readonly (readonly number[])[];
      const values = reading.features.map(() => new Array<Value>(batch.count).fill(null));
      for (let row = 0; row < batch.count; row++) {
        const time = times[row] ?? 0;
        if (keys[row] !== key) {
          key = keys[row] ?? 0;
          state = undefined;
        }
        while (more) {
          const eventKey = events.number(0);
          if (eventKey > key || (eventKey === key && events.number(3) > time)) break;
          if (eventKey === key) {
            state ??= view.emptyState();
            state.apply({
              eventTimeUs: events.number(1),
              createdTimeUs: events.number(2),
              values: source.values(events.batch.columns, 4, events.row),
            });
          }
          more = events.step() || (await events.next());
        }
        view.read(state, time, reading);
        for (let index = 0; index < values.length; index++) (values[index] ?? [])[row] = reading.value(index);
      }
      writer.write(batch.count, [ids, ...values]);
      rows += batch.count;
      yield rows;
    }
  } finally {
    await events.close();
    writer.close();
  }
}

/** Joins everything to the spine, runs the transforms, and fills the table `result`. */
async function* writeRows(
  workspace: OfflineWorkspace,
  plan: TrainingSetPlan,
  joins: readonly Join[],
  progress: (rows: number) => TrainingSetProgress,
  rowsTotal: number,
): AsyncGenerator<TrainingSetProgress, Omit<TrainingSetResult, "path" | "testFromUs">> {
  const select = new Selection("spine");
  const eventTime = select.add("spine", "event_us", "count");
  for (const { table, keys } of joins) select.join(table, keys);
  const label = select.add("spine", "label", "float64");
  const columns = new Map<FeatureReference, (batch: ColumnBatch) => readonly Value[]>();
  for (const { name, type } of plan.requestFields) {
    const place = select.add("spine", fieldColumn(plan.source, name), fieldType(plan.source, name));
    columns.set(`request:${name}`, (batch) => (batch.columns[place] ?? []).map((value) => requestValue(value, type)));
  }
  const fieldReaders: FieldReader[] = [];
  for (const join of joins) {
    if (join.view.kind === "fields") {
      fieldReaders.push(fieldReader(join, select, eventTime));
      continue;
    }
    for (const [at, { name, type }] of join.view.createReading(join.features).features.entries()) {
      const place = select.add(join.table, `v${at}`, type);
      columns.set(`${join.view.name}:${name}`, (batch) => batch.columns[place] ?? []);
    }
  }
  const extra = plan.extra.map((name) => {
    const type = fieldType(plan.source, name);
    return { name, type, index: select.add("spine", fieldColumn(plan.source, name), type) };
  });
  const features = plan.features.filter((reference) => isNumeric(typeOfFeature(plan, reference)));
  const specs: ColumnSpec[] = [
    { name: "event_time", type: "count" },
    { name: "label", type: "float64" },
    ...features.map((name): ColumnSpec => ({ name, type: "float32" })),
    ...extra.map(({ name, type }) => ({ name, type })),
  ];
  const hash = new ContentHash(specs);
  const writer = await workspace.createTable("result", specs);
  let rows = 0;
  try {
    for await (const batch of select.read(workspace)) {
      const computed = new Map<FeatureReference, readonly Value[]>();
      for (const [reference, column] of columns) computed.set(reference, column(batch));
      for (const read of fieldReaders) read(batch, computed);
      for (const transform of plan.transforms) addTransformColumns(transform, batch.count, computed);
      const values: ArrayLike<Value>[] = [
        batch.columns[eventTime] ?? [],
        batch.columns[label] ?? [],
        ...features.map((reference) => toFloats(computed.get(reference) ?? [], batch.count)),
        ...extra.map(({ index }) => batch.columns[index] ?? []),
      ];
      hash.update(batch.count, values);
      writer.write(batch.count, values);
      rows += batch.count;
      if (rows < rowsTotal) yield progress(rows);
    }
  } finally {
    writer.close();
  }
  return { contentHash: hash.digest(), rows, columns: specs.map(({ name }) => name) };
}

interface JoinedBatch extends ColumnBatch {
  /** For each table joined, the row that stands for each row of the batch. */
  readonly readIds: ReadonlyMap<string, readonly number[]>;
}

interface Table {
  readonly specs: ColumnSpec[];
  readonly places: number[];
}

/**
 * Columns of the spine and of tables joined to it, side by side. Every table is in the order of the spine's rows, so that
 * reading them side by side needs no join in memory; null where a table has no row.
 */
class Selection {
  readonly #spine: string;
  readonly #tables = new Map<string, Table>();
  readonly #keys = new Map<string, string>();
  #count = 0;

  constructor(spine: string) {
    this.#spine = spine;
    this.#tables.set(spine, { specs: [], places: [] });
  }

  /** Joins a table, by the table that names the row that stands for each row of the spine. */
  join(table: string, keys: string): void {
    this.#tables.set(table, { specs: [], places: [] });
    this.#keys.set(table, keys);
  }

  /** Adds a column of the spine or of a table joined; answers its place in what `read` gives. */
  add(table: string, name: string, type: ColumnSpec["type"]): number {
    const { specs, places } = this.#tables.get(table) ?? { specs: [], places: [] };
    specs.push({ name, type });
    places.push(this.#count);
    return this.#count++;
  }

  async *read(workspace: OfflineWorkspace): AsyncGenerator<JoinedBatch> {
    const open: RowCursor[] = [];
    const cursorOf = (table: string, specs: readonly ColumnSpec[]) => {
      const all: ColumnSpec[] = [{ name: "row_id", type: "count" }, ...specs];
      const sql = `SELECT ${all.map(({ name }) => name).join(", ")} FROM ${table}`;
      const cursor = new RowCursor(workspace.query(sql, all));
      open.push(cursor);
      return cursor;
    };
    const { specs, places } = this.#tables.get(this.#spine) ?? { specs: [], places: [] };
    const spine = cursorOf(this.#spine, [{ name: "event_us", type: "count" }, ...specs]);
    const keys = new Map<string, RowCursor>();
    for (const table of new Set(this.#keys.values())) {
      keys.set(table, cursorOf(table, [{ name: "read_id", type: "count" }]));
    }
    const joined = [...this.#keys].map(([table, by]) => ({
      table,
      by,
      places: this.#tables.get(table)?.places ?? [],
      rows: new SharedRows(cursorOf(table, this.#tables.get(table)?.specs ?? [])),
    }));
    try {
      for (const cursor of open) if (cursor !== spine) await cursor.next();
      while (await spine.next()) {
        const { batch } = spine;
        const [ids = [], times = []] = batch.columns as readonly (readonly number[])[];
        const columns = new Array<readonly Value[]>(this.#count);
        for (const [index, place] of places.entries()) columns[place] = batch.columns[index + 2] ?? [];
        const readIdsBy = new Map<string, readonly number[]>();
        for (const [table, cursor] of keys) readIdsBy.set(table, await readIdsOf(cursor, ids));
        const readIds = new Map<string, readonly number[]>();
        for (const { table, by, places: own, rows } of joined) {
          const reads = readIdsBy.get(by) ?? [];
          readIds.set(table, reads);
          const values = await rows.take(reads, times, own.length);
          for (const [index, place] of own.entries()) columns[place] = values[index] ?? [];
        }
        yield { count: batch.count, columns, readIds };
      }
      for (const cursor of open) if (!cursor.ended) throw new Error("a table is not in the order of the spine");
    } finally {
      for (const cursor of open) await cursor.close();
    }
  }
}

/** The row that stands for each of the spine's rows. */
async function readIdsOf(cursor: RowCursor, ids: readonly number[]): Promise<number[]> {
  const reads: number[] = [];
  for (const id of ids) {
    if (cursor.ended || cursor.number(0) !== id) throw new Error("a table of keys is not in the order of the spine");
    reads.push(cursor.number(1));
    if (!cursor.step()) await cursor.next();
  }
  return reads;
}

/** Hands a table's rows to every row of the spine that they stand for; those all have one event time. */
class SharedRows {
  readonly #cursor: RowCursor;
  readonly #recent = new Map<number, readonly Value[] | undefined>();
  #timeUs = Number.NaN;

  constructor(cursor: RowCursor) {
    this.#cursor = cursor;
  }

  async take(readIds: readonly number[], times: readonly number[], width: number): Promise<Value[][]> {
    const columns = Array.from({ length: width }, () => new Array<Value>(readIds.length).fill(null));
    for (let at = 0; at < readIds.length; at++) {
      const id = readIds[at] ?? 0;
      if (times[at] !== this.#timeUs) {
        this.#timeUs = times[at] ?? Number.NaN;
        this.#recent.clear();
      }
      let row = this.#recent.get(id);
      if (row === undefined && !this.#recent.has(id)) {
        const cursor = this.#cursor;
        if (!cursor.ended && cursor.number(0) === id) {
          row = cursor.batch.columns.map((column) => column[cursor.row] ?? null);
          if (!cursor.step()) await cursor.next();
        }
        this.#recent.set(id, row);
      }
      if (row === undefined) continue;
      for (let index = 0; index < width; index++) (columns[index] ?? [])[at] = row[index + 1] ?? null;
    }
    return columns;
  }
}

type FieldReader = (batch: JoinedBatch, computed: Map<FeatureReference, readonly Value[]>) => void;

/** Puts a field view's row, as of each row of the spine, through the view's own reading: TTL, ladder and types. */
function fieldReader({ view, features, table }: Join, select: Selection, asOf: number): FieldReader {
  const eventTime = select.add(table, "event_us", "count");
  const createdTime = select.add(table, "created_us", "count");
  const first = createdTime + 1;
  for (const { name, type } of fieldsRead(view)) select.add(table, fieldColumn(view.view.source, name), type);
  const rows = new RowReader(view, fieldsRead(view));
  const reading = view.createReading(features);
  return (batch, computed) => {
    const readIds = batch.readIds.get(table) ?? [];
    const values = reading.features.map(() => new Array<Value>(batch.count).fill(null));
    for (let row = 0; row < batch.count; row++) {
      if (row > 0 && readIds[row] === readIds[row - 1]) {
        for (const column of values) column[row] = column[row - 1] ?? null;
        continue;
      }
      const eventTimeUs = batch.columns[eventTime]?.[row] ?? null;
      let state: ViewState | undefined;
      if (eventTimeUs !== null) {
        state = view.emptyState();
        state.apply({
          eventTimeUs: eventTimeUs as number,
          createdTimeUs: batch.columns[createdTime]?.[row] as number,
          values: rows.values(batch.columns, first, row),
        });
      }
      view.read(state, batch.columns[asOf]?.[row] as number, reading);
      for (let index = 0; index < values.length; index++) (values[index] ?? [])[row] = reading.value(index);
    }
    for (const [index, { name }] of reading.features.entries()) {
      computed.set(`${view.name}:${name}`, values[index] ?? []);
    }
  };
}
