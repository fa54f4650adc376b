import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type DuckDBConnection, DuckDBDataChunk, DuckDBInstance, DuckDBVector } from "@duckdb/node-api";
import type { Source, Value } from "@weft/scenario";
import { quarantineSql } from "../domain/materialize/validation-sql.ts";
import {
  type ColumnBatch,
  type ColumnSpec,
  fieldColumn,
  type LoadedSource,
  type OfflineStore,
  type OfflineWorkspace,
  type PushedPart,
  type PushedRows,
  type SourceExtent,
  type TableWriter,
} from "../domain/offline/offline-store.ts";
import { sourceFields } from "../domain/views/view-state.ts";
import { offlineErrors } from "../offline-errors.ts";
import { decodeColumn, duckDbColumn, encodeColumn } from "./duckdb-columns.ts";
import { identifier, literal, rowFault, sourceFile, sourceQuery } from "./duckdb-source.ts";

export interface DuckDbOptions {
  /** Folder with a folder of source files a scenario. */
  readonly directory: string;
  /** Folder for this store alone that tables above the memory limit go to; emptied at the first use. */
  readonly temporaryDirectory: string;
  /** Memory of one workspace for its tables, from 256 MiB; what is above goes to disk. */
  readonly memoryBytesMax: number;
  /** Threads of one workspace, from 1. */
  readonly threads: number;
}

interface LoadedTable extends LoadedSource {
  /** Rows that came from the file, which are the first of the table. */
  readonly fileRows: number;
}

/** Columns of a part that are decoded before other work of the process may run. */
const columnsATurn = 8;
const vectorSize = DuckDBVector.standardSize();
let workspaces = 0;

/** Offline store over CSV and Parquet files, read by DuckDB in the process. Extensions are never loaded. */
export function createDuckDbStore(options: DuckDbOptions): OfflineStore {
  let cleared: Promise<unknown> | undefined;
  return {
    async open({ scenario, pushed, arrivals, signal }) {
      // What a killed process left.
      cleared ??= rm(options.temporaryDirectory, { recursive: true, force: true });
      await cleared;
      const temporaryDirectory = join(options.temporaryDirectory, String(workspaces++));
      await mkdir(temporaryDirectory, { recursive: true });
      const instance = await DuckDBInstance.create(":memory:", {
        threads: String(options.threads),
        memory_limit: `${Math.max(256, Math.floor(options.memoryBytesMax / 2 ** 20))}MiB`,
        temp_directory: temporaryDirectory,
        autoinstall_known_extensions: "false",
        autoload_known_extensions: "false",
        allow_community_extensions: "false",
        preserve_insertion_order: "true",
        lock_configuration: "true",
      });
      const directory = join(options.directory, scenario);
      return openWorkspace(instance, { directory, temporaryDirectory, pushed, arrivals: arrivals ?? false, signal });
    },
  };
}

interface WorkspaceOptions {
  readonly directory: string;
  readonly temporaryDirectory: string;
  readonly pushed: PushedRows | undefined;
  readonly arrivals: boolean;
  readonly signal: AbortSignal | undefined;
}

async function openWorkspace(
  instance: DuckDBInstance,
  { directory, temporaryDirectory, pushed, arrivals, signal }: WorkspaceOptions,
): Promise<OfflineWorkspace> {
  const connection = await instance.connect();
  const loaded = new Map<string, Promise<LoadedTable>>();
  let tables = 0;

  async function execute(sql: string): Promise<void> {
    await interruptible(connection, signal, () => connection.run(sql)).catch((cause: unknown) => {
      throw statementFault(sql, cause, signal);
    });
  }

  /** Each query has a connection of its own, because a connection holds one open result. */
  async function* query(sql: string, columns: readonly ColumnSpec[]): AsyncGenerator<ColumnBatch> {
    const decoders = columns.map((column) => duckDbColumn(column.type));
    const own = await instance.connect();
    try {
      const result = await interruptible(own, signal, () => own.stream(sql));
      for (;;) {
        const chunk = await interruptible(own, signal, () => result.fetchChunk());
        if (chunk === null || chunk.rowCount === 0) return;
        const decoded: Value[][] = [];
        for (const [index, column] of decoders.entries()) {
          // Many columns would hold this thread up for long.
          if (index > 0 && index % columnsATurn === 0) await new Promise((resolve) => setImmediate(resolve));
          decoded.push(decodeColumn(chunk, index, column));
        }
        yield { count: chunk.rowCount, columns: decoded };
      }
    } catch (cause) {
      throw statementFault(sql, cause, signal);
    } finally {
      own.closeSync();
    }
  }

  async function createTable(table: string, columns: readonly ColumnSpec[]): Promise<TableWriter> {
    const encoders = columns.map((column) => duckDbColumn(column.type));
    await execute(`CREATE TABLE ${table} (${columns.map((c, i) => `"${c.name}" ${encoders[i]?.sql}`).join(", ")})`);
    return openWriter(table, columns);
  }

  async function openWriter(table: string, columns: readonly ColumnSpec[]): Promise<TableWriter> {
    const encoders = columns.map((column) => duckDbColumn(column.type));
    const types = encoders.map((column) => column.type);
    const own = await instance.connect();
    const appender = await own.createAppender(table);
    return {
      write(count: number, values: readonly ArrayLike<Value>[]): void {
        signal?.throwIfAborted();
        for (let start = 0; start < count; start += vectorSize) {
          const chunk = DuckDBDataChunk.create(types, Math.min(vectorSize, count - start));
          for (const [index, column] of encoders.entries())
            encodeColumn(chunk, index, column, values[index] ?? [], start);
          appender.appendDataChunk(chunk);
        }
      },
      close(): void {
        try {
          appender.closeSync();
        } catch (cause) {
          throw statementFault(`append to ${table}`, cause, signal);
        } finally {
          own.closeSync();
        }
      },
    };
  }

  async function load(source: Source): Promise<LoadedTable> {
    const path = await sourceFile(directory, source);
    const select = await sourceQuery(connection, source, path);
    const table = `source_${tables++}`;
    const received = arrivals ? ", CAST(0 AS BIGINT) AS received_us" : "";
    const sql = `CREATE TABLE ${table} AS SELECT *${received} FROM (${select}) rows_of_file`;
    await interruptible(connection, signal, () => connection.run(sql)).catch((cause: unknown) => {
      throw signal?.aborted === true || noSpace(cause)
        ? statementFault(select, cause, signal)
        : rowFault(source, cause);
    });
    await checkTimes(source, table);
    // Row ids of a table that is only appended to count up from 0.
    const { count: fileRows } = await one(`SELECT COUNT(*) FROM ${table}`);
    if (pushed !== undefined) await append(source, table, pushed(source));
    const aside = await setAside(source, table);
    const { count } = await one(`SELECT COUNT(*) FROM ${table}`);
    return { table, rowCount: count, fileRows, aside };
  }

  /** Moves the rows that are to be set aside to a table of their own. */
  async function setAside(source: Source, table: string): Promise<string | undefined> {
    const condition = quarantineSql(source);
    if (condition === undefined) return undefined;
    await execute(`CREATE TABLE ${table}_aside AS SELECT * FROM ${table} WHERE ${condition}`);
    await execute(`DELETE FROM ${table} WHERE ${condition}`);
    return `${table}_aside`;
  }

  async function extent(source: Source, untilUs: number | undefined): Promise<SourceExtent> {
    const { table, fileRows } = await loadOnce(source);
    const columns = ["event_us", "created_us", ...sourceFields(source).map(({ name }) => fieldColumn(source, name))];
    const sql =
      `SELECT COUNT(*), MAX(created_us), CAST(SUM(hash(${columns.join(", ")})::HUGEINT) AS VARCHAR) FROM ${table} ` +
      `WHERE rowid < ${fileRows}${untilUs === undefined ? "" : ` AND created_us <= ${untilUs}`}`;
    const rows = await interruptible(connection, signal, () => connection.runAndReadAll(sql))
      .then((result) => result.getRows())
      .catch((cause: unknown) => {
        throw statementFault(sql, cause, signal);
      });
    const [count = 0, newest = null, fingerprint = null] = rows[0] ?? [];
    return {
      rowCount: Number(count),
      newestUs: newest === null ? undefined : Number(newest),
      fingerprint: String(fingerprint ?? ""),
    };
  }

  function loadOnce(source: Source): Promise<LoadedTable> {
    const known = loaded.get(source.name);
    if (known !== undefined) return known;
    const loading = load(source);
    loaded.set(source.name, loading);
    return loading;
  }

  async function append(source: Source, table: string, parts: AsyncIterable<PushedPart>): Promise<void> {
    const fields = sourceFields(source);
    const writer = await openWriter(table, [
      { name: "event_us", type: "count" },
      { name: "created_us", type: "count" },
      ...fields.map(({ name, type }) => ({ name: fieldColumn(source, name), type })),
      ...(arrivals ? [{ name: "received_us", type: "count" } as const] : []),
    ]);
    try {
      for await (const { rows, receivedUs } of parts) {
        writer.write(rows.length, [
          rows.map((row) => row.eventTimeUs),
          rows.map((row) => row.createdTimeUs),
          ...fields.map((_, index) => rows.map((row) => row.values[index] ?? null)),
          ...(arrivals ? [rows.map(() => receivedUs)] : []),
        ]);
      }
    } finally {
      writer.close();
    }
  }

  async function checkTimes(source: Source, table: string): Promise<void> {
    const { count: row, second: known } = await one(
      `SELECT COALESCE(MIN(rowid) + 1, 0), COALESCE(MIN_BY(event_us IS NOT NULL, rowid)::INTEGER, 0) FROM ${table} ` +
        `WHERE event_us IS NULL OR ABS(event_us::HUGEINT) >= 9007199254740992 OR ABS(created_us::HUGEINT) >= 9007199254740992`,
    );
    if (row === 0) return;
    throw offlineErrors.SOURCE_ROW_INVALID({
      source: source.name,
      file: source.file,
      line: source.file.endsWith(".csv") ? row + 1 : row,
      column: known === 1 ? (source.createdTime ?? source.eventTime) : source.eventTime,
      fault: known === 1 ? "a time must be microseconds since 1970 and below 2^53" : "the event time is missing",
    });
  }

  /** A table's rows with vectors as plain lists: Spark reads fixed-size arrays with nulls among them wrongly. */
  async function portable(table: string): Promise<string> {
    const described = await connection.runAndReadAll(`DESCRIBE ${table}`).then((result) => result.getRows());
    const columns = described.map(([name, type]) => {
      const column = identifier(String(name));
      const [, element] = /^(.+)\[\d+\]$/.exec(String(type)) ?? [];
      return element === undefined ? column : `CAST(${column} AS ${element}[]) AS ${column}`;
    });
    return `SELECT ${columns.join(", ")} FROM ${table}`;
  }

  async function one(sql: string): Promise<{ count: number; second: number }> {
    const rows = await connection.runAndReadAll(sql).then((result) => result.getRows());
    return { count: Number(rows[0]?.[0] ?? 0), second: Number(rows[0]?.[1] ?? 0) };
  }

  return {
    execute,
    query,
    createTable,
    load: loadOnce,
    extent,
    async exportParquet(table: string, path: string): Promise<void> {
      await mkdir(dirname(path), { recursive: true });
      const partial = `${path}.partial-${process.pid}-${workspaces++}`;
      try {
        await execute(`COPY (${await portable(table)}) TO ${literal(partial)} (FORMAT parquet, COMPRESSION zstd)`);
        await rename(partial, path);
      } catch (cause) {
        await rm(partial, { force: true });
        throw cause;
      }
    },
    async close(): Promise<void> {
      connection.closeSync();
      instance.closeSync();
      await rm(temporaryDirectory, { recursive: true, force: true });
    },
  };
}

const interruptAgainMs = 20;

/** Runs a statement, interrupted when the signal aborts; an interrupt that comes before it has started is lost, so it is repeated. */
async function interruptible<T>(
  connection: DuckDBConnection,
  signal: AbortSignal | undefined,
  run: () => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  if (signal === undefined) return run();
  let again: NodeJS.Timeout | undefined;
  const interrupt = () => {
    connection.interrupt();
    again = setTimeout(interrupt, interruptAgainMs);
  };
  signal.addEventListener("abort", interrupt, { once: true });
  try {
    return await run();
  } finally {
    signal.removeEventListener("abort", interrupt);
    clearTimeout(again);
  }
}

function noSpace(cause: unknown): boolean {
  return cause instanceof Error && /no space left|max_temp_directory_size|Out of Memory/i.test(cause.message);
}

function statementFault(sql: string, cause: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted === true) return signal.reason;
  if (noSpace(cause)) {
    const fault = cause instanceof Error ? (cause.message.split("\n")[0] ?? "") : "";
    return offlineErrors.OFFLINE_STORE_FULL({ fault }, { cause });
  }
  return offlineErrors.OFFLINE_QUERY_FAILED({ statement: sql.length > 200 ? `${sql.slice(0, 200)}…` : sql }, { cause });
}
