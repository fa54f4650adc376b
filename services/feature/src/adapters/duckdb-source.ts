import { open, stat } from "node:fs/promises";
import { resolve, sep } from "node:path";
import type { DuckDBConnection } from "@duckdb/node-api";
import type { Source, ValueType } from "@weft/scenario";
import { fieldColumn } from "../domain/offline/offline-store.ts";
import { sourceFields } from "../domain/views/view-state.ts";
import { offlineErrors } from "../offline-errors.ts";
import { duckDbColumn } from "./duckdb-columns.ts";

const headerBytesMax = 1 << 20;

/** Types that a Parquet column may have where a field is declared so; wider ones would lose bits. */
const parquetTypes: Readonly<Record<string, readonly string[]>> = {
  float32: ["FLOAT", "DOUBLE", "TINYINT", "SMALLINT", "UTINYINT", "USMALLINT"],
  float64: ["DOUBLE", "FLOAT", "TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER"],
  int64: ["BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UINTEGER", "USMALLINT", "UTINYINT"],
  bool: ["BOOLEAN"],
  string: ["VARCHAR"],
  bytes: ["BLOB"],
};

/** A text as a SQL literal. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** A name as a SQL identifier. */
export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A value type as a user writes it. */
export function typeText(type: ValueType): string {
  if (typeof type === "string") return type;
  return "vector" in type ? `vector of ${type.vector}` : `keys of ${type.keys}`;
}

/** The source's file, which must be inside the folder. Throws SOURCE_FILE_MISSING, SOURCE_FILE_INVALID. */
export async function sourceFile(directory: string, source: Source): Promise<string> {
  const facts = { source: source.name, file: source.file };
  const root = resolve(directory);
  const path = resolve(root, source.file);
  if (!path.startsWith(root + sep)) {
    throw offlineErrors.SOURCE_FILE_INVALID({ ...facts, fault: "the file must be inside the scenario's folder" });
  }
  if (/[*?[\]]/.test(path)) {
    throw offlineErrors.SOURCE_FILE_INVALID({ ...facts, fault: "a path must not hold any of * ? [ ]" });
  }
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) throw offlineErrors.SOURCE_FILE_MISSING({ source: source.name, file: path });
  if (!found.isFile()) throw offlineErrors.SOURCE_FILE_INVALID({ ...facts, fault: "it is not a file" });
  return path;
}

/**
 * A query over the source's file: `event_us`, `created_us`, then a column a declared field, each of its declared type.
 * Throws SOURCE_COLUMN_MISSING, SOURCE_COLUMN_TYPE, SOURCE_FILE_INVALID.
 */
export async function sourceQuery(connection: DuckDBConnection, source: Source, path: string): Promise<string> {
  const csv = source.file.endsWith(".csv");
  if (!csv && !source.file.endsWith(".parquet")) {
    const fault = "the file's name must end in .csv or .parquet";
    throw offlineErrors.SOURCE_FILE_INVALID({ source: source.name, file: source.file, fault });
  }
  const declared: Record<string, ValueType> = { [source.eventTime]: "int64" };
  if (source.createdTime !== undefined) declared[source.createdTime] = "int64";
  for (const { name, type } of sourceFields(source)) declared[name] = type;
  const from = csv ? await csvTable(source, path, declared) : await parquetTable(connection, source, path, declared);
  const event = `CAST(${identifier(source.eventTime)} AS BIGINT)`;
  const created =
    source.createdTime === undefined ? event : `COALESCE(CAST(${identifier(source.createdTime)} AS BIGINT), ${event})`;
  const fields = sourceFields(source).map(({ name, type }) => {
    const value = `CAST(${identifier(name)} AS ${duckDbColumn(type).sql})`;
    // Serving knows no NaN and no infinity: they are values that are not there.
    const finite = type === "float32" || type === "float64" ? `CASE WHEN isfinite(${value}) THEN ${value} END` : value;
    return `${finite} AS ${fieldColumn(source, name)}`;
  });
  return `SELECT ${[`${event} AS event_us`, `${created} AS created_us`, ...fields].join(", ")} FROM ${from}`;
}

async function csvTable(source: Source, path: string, declared: Readonly<Record<string, ValueType>>): Promise<string> {
  const header = await csvHeader(source, path);
  checkColumns(source, declared, header);
  const columns = header.map((name) => {
    const type = declared[name];
    return `${literal(name)}: ${literal(type === undefined ? "VARCHAR" : duckDbColumn(type).sql)}`;
  });
  return (
    `read_csv(${literal(path)}, header = true, auto_detect = false, delim = ',', quote = '"', escape = '"', ` +
    `nullstr = '', allow_quoted_nulls = false, columns = {${columns.join(", ")}})`
  );
}

/** Names in the first line of a CSV file. */
async function csvHeader(source: Source, path: string): Promise<string[]> {
  const file = await open(path, "r");
  let text: string;
  try {
    const buffer = new Uint8Array(headerBytesMax);
    const { bytesRead } = await file.read(buffer, 0, headerBytesMax, 0);
    text = new TextDecoder().decode(buffer.subarray(0, bytesRead)); // Drops a byte order mark.
  } finally {
    await file.close();
  }
  const names: string[] = [];
  const cell = /"((?:[^"]|"")*)"|([^",\r\n]*)/y;
  for (;;) {
    const match = cell.exec(text);
    if (match === null) break;
    names.push(match[1] === undefined ? (match[2] ?? "") : match[1].replaceAll('""', '"'));
    if (text[cell.lastIndex] !== ",") break;
    cell.lastIndex++;
  }
  const repeated = names.find((name, index) => names.indexOf(name) !== index);
  const fault =
    text.length === 0
      ? "the file is empty; its first line must name the columns"
      : repeated === undefined
        ? undefined
        : `two columns are named "${repeated}"`;
  if (fault !== undefined) {
    throw offlineErrors.SOURCE_FILE_INVALID({ source: source.name, file: source.file, fault });
  }
  return names;
}

async function parquetTable(
  connection: DuckDBConnection,
  source: Source,
  path: string,
  declared: Readonly<Record<string, ValueType>>,
): Promise<string> {
  const from = `read_parquet(${literal(path)})`;
  const rows = await connection
    .runAndReadAll(`DESCRIBE SELECT * FROM ${from}`)
    .then((result) => result.getRows())
    .catch((cause: unknown) => {
      const fault = cause instanceof Error ? (cause.message.split("\n")[0] ?? "") : String(cause);
      throw offlineErrors.SOURCE_FILE_INVALID({ source: source.name, file: source.file, fault }, { cause });
    });
  const found = new Map(rows.map((row) => [String(row[0]), String(row[1])]));
  checkColumns(source, declared, [...found.keys()]);
  for (const [column, type] of Object.entries(declared)) {
    const sql = found.get(column) ?? "";
    if (readable(type, sql)) continue;
    throw offlineErrors.SOURCE_COLUMN_TYPE({
      source: source.name,
      file: source.file,
      column,
      declared: typeText(type),
      found: sql,
    });
  }
  return from;
}

function readable(type: ValueType, sql: string): boolean {
  if (typeof type === "string") return parquetTypes[type]?.includes(sql) ?? false;
  const list = /^([A-Z]+)\[(\d*)\]$/.exec(sql);
  if (list === null) return false;
  const [, element = "", size = ""] = list;
  if ("vector" in type) {
    return (element === "FLOAT" || element === "DOUBLE") && (size === "" || Number(size) === type.vector);
  }
  return parquetTypes[type.keys]?.includes(element) ?? false;
}

function checkColumns(source: Source, declared: Readonly<Record<string, ValueType>>, present: readonly string[]): void {
  const missing = Object.keys(declared).filter((column) => !present.includes(column));
  if (missing.length === 0) return;
  throw offlineErrors.SOURCE_COLUMN_MISSING({
    source: source.name,
    file: source.file,
    columns: missing.map((column) => `"${column}"`).join(", "),
    present: present.map((column) => `"${column}"`).join(", "),
  });
}

/** What DuckDB said of a row, with the line and column it names. */
export function rowFault(source: Source, cause: unknown): Error {
  const message = cause instanceof Error ? cause.message : String(cause);
  const line = Number(/CSV Error on Line: (\d+)/.exec(message)?.[1] ?? 0);
  const column = /(?:converting column|source column) "?([^"\n]+?)"?[.\n]/.exec(`${message}\n`)?.[1] ?? "";
  const fault =
    /Could not convert [^\n]*/.exec(message)?.[0] ??
    /Expected Number of Columns: [^\n]*/.exec(message)?.[0] ??
    message.split("\n")[0] ??
    "";
  return offlineErrors.SOURCE_ROW_INVALID(
    { source: source.name, file: source.file, line, column, fault: fault.replace(/\. ?$/, "") },
    { cause },
  );
}
