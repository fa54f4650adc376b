import type { Source, Value, ValueType } from "@weft/scenario";
import { type SourceRow, sourceFields } from "../views/view-state.ts";

/** Rows that were pushed online together. */
export interface PushedPart {
  readonly rows: readonly SourceRow[];
  /** When they came in, microseconds since 1970; 0 where that is not known. */
  readonly receivedUs: number;
}

/** What was pushed online under a source's name, in any order; each push once. */
export type PushedRows = (source: Source) => AsyncIterable<PushedPart>;

/**
 * Type of a column inside a workspace. `count` is a whole number below 2^53 in a `number`, used for times in
 * microseconds, row ids and key ids; the others are the value types of scenarios.
 */
export type ColumnType = ValueType | "count";

/** A column of a query's result or of a table to write. */
export interface ColumnSpec {
  readonly name: string;
  readonly type: ColumnType;
}

/** A part of a query's result: one list of values a column, in the order asked for. */
export interface ColumnBatch {
  readonly count: number;
  readonly columns: readonly (readonly Value[])[];
}

/** A source's rows as a table of a workspace. */
export interface LoadedSource {
  /**
   * Table with `event_us`, `created_us` (both BIGINT, never null) and a column a field, named by `fieldColumn`; with
   * `received_us` (BIGINT: when a pushed row came in; 0 for a row of the file) in a workspace with arrivals.
   */
  readonly table: string;
  readonly rowCount: number;
  /** Table of the same form with the rows that the source's expectations set aside; undefined where there are none. */
  readonly aside: string | undefined;
}

/** The rows of a source's file that were created by a time. */
export interface SourceExtent {
  readonly rowCount: number;
  /** The latest created time in microseconds; undefined where there is no row. */
  readonly newestUs: number | undefined;
  /** Changes when a row is added, removed or changed, and not with the order of the rows. */
  readonly fingerprint: string;
}

/** Appends rows to a table. */
export interface TableWriter {
  /** Appends `count` rows, one list of values a column. */
  write(count: number, columns: readonly ArrayLike<Value>[]): void;
  /** Makes the rows visible. */
  close(): void;
}

/**
 * Tables of one job, private to it and gone when it is closed. Statements are plain SQL (no dialect beyond window
 * functions), so that an engine with the same tables can run them too. Tables above the memory limit go to disk.
 */
export interface OfflineWorkspace {
  /**
   * Reads the source's file, once a workspace, with the rows pushed under its name.
   * Throws SOURCE_FILE_MISSING, SOURCE_COLUMN_MISSING, SOURCE_COLUMN_TYPE, SOURCE_ROW_INVALID.
   */
  load(source: Source): Promise<LoadedSource>;
  /** What the source's file holds of rows created by a time, inclusive, or of all; without what was pushed. */
  extent(source: Source, untilUs?: number): Promise<SourceExtent>;
  /** Runs one statement. */
  execute(sql: string): Promise<void>;
  /** Runs a query and hands its result over in parts; the columns are named and typed by the caller. */
  query(sql: string, columns: readonly ColumnSpec[]): AsyncIterable<ColumnBatch>;
  /** Creates a table and a writer to it. One writer a table. */
  createTable(table: string, columns: readonly ColumnSpec[]): Promise<TableWriter>;
  /** Writes a table, in the order its rows were appended, to a Parquet file that appears whole or not at all. */
  exportParquet(table: string, path: string): Promise<void>;
  close(): Promise<void>;
}

/** The offline store: a folder (or bucket) of source files a scenario. */
export interface OfflineStore {
  /** Opens a workspace over a scenario's sources. `pushed` adds what was pushed online, `arrivals` when it came in. */
  open(options: {
    readonly scenario: string;
    readonly pushed?: PushedRows | undefined;
    readonly arrivals?: boolean;
    readonly signal?: AbortSignal | undefined;
  }): Promise<OfflineWorkspace>;
}

/** Column of a loaded source that holds a field: plain in every SQL dialect, never a reserved word. */
export function fieldColumn(source: Source, field: string): string {
  if (field === source.eventTime) return "event_us";
  if (field === source.createdTime) return "created_us";
  if (/^[a-z0-9_]{1,100}$/.test(field)) return `f_${field}`;
  return `f${sourceFields(source).findIndex(({ name }) => name === field)}`;
}

/** Type of the column that holds a field of a source. */
export function fieldType(source: Source, field: string): ColumnType {
  if (field === source.eventTime || field === source.createdTime) return "count";
  const type = source.fields[field];
  if (type === undefined) throw new RangeError(`source "${source.name}" has no field "${field}"`);
  return type;
}
