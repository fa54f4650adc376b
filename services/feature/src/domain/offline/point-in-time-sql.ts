import type { Source } from "@weft/scenario";
import { fieldColumn } from "./offline-store.ts";

/*
 * The point-in-time join as SQL that DuckDB and Spark both run: window functions, no ASOF join, no functions of one
 * dialect, no quoted names. Tables: a source is `event_us BIGINT, created_us BIGINT` and a column a field; the spine is
 * `row_id BIGINT, event_us BIGINT, label DOUBLE` and a column a field.
 */

/** What a training set takes from its source. */
export interface SpineQuery {
  /** Table of the loaded source. */
  readonly from: string;
  readonly source: Source;
  readonly label: string;
  /** Field with the time at which the label was known. */
  readonly labelTime?: string | undefined;
  /** Every other field that the training set reads: keys, request fields, extra columns. */
  readonly fields: readonly string[];
  /** First event time, inclusive. */
  readonly startUs?: number | undefined;
  /** End of the event times, exclusive; labels that became known after it are left out too. */
  readonly endUs?: number | undefined;
}

/**
 * The spine: one row a label, numbered from 1 in an order that the content alone decides (event time, then every
 * column), so that the same rows make the same file whatever order they are stored in. Rows without a label are left
 * out.
 */
export function spineSql(query: SpineQuery): string {
  const label = fieldColumn(query.source, query.label);
  const columns = [...new Set(query.fields)].map((field) => fieldColumn(query.source, field));
  const order = [...new Set(["event_us", ...columns, label])].map((column) => `${column} NULLS FIRST`);
  const conditions = [`${label} IS NOT NULL`];
  if (query.startUs !== undefined) conditions.push(`event_us >= ${query.startUs}`);
  if (query.endUs !== undefined) {
    conditions.push(`event_us < ${query.endUs}`);
    if (query.labelTime !== undefined) {
      const known = fieldColumn(query.source, query.labelTime);
      conditions.push(`(${known} IS NULL OR ${known} <= ${query.endUs})`);
    }
  }
  return [
    `SELECT ROW_NUMBER() OVER (ORDER BY ${order.join(", ")}) AS row_id, event_us, CAST(${label} AS DOUBLE) AS label`,
    ...columns.filter((column) => column !== "event_us").map((column) => `  , ${column}`),
    `FROM ${query.from}`,
    `WHERE ${conditions.join(" AND ")}`,
  ].join("\n");
}

/**
 * Keys of the spine's rows: `row_id, read_id, event_us, key_id, k0, k1, ...`. Equal keys have one `key_id`, from 1; a row
 * that lacks a key (null or an empty text) has 0. Without columns every row has the same key. Rows of one key and time
 * read the same: `read_id` is the first such row, and the only one that is looked up.
 */
export function keysSql(spine: string, columns: readonly string[]): string {
  const missing = columns.map((column) => `${column} IS NULL OR CAST(${column} AS VARCHAR(512)) = ''`).join(" OR ");
  const keyId =
    columns.length === 0
      ? "CAST(1 AS BIGINT)"
      : `CASE WHEN ${missing} THEN 0 ELSE DENSE_RANK() OVER (ORDER BY ${columns.map((column) => `${column} NULLS FIRST`).join(", ")}) END`;
  return [
    `SELECT row_id, MIN(row_id) OVER (PARTITION BY ${[...columns, "event_us"].join(", ")}) AS read_id`,
    `  , event_us, ${keyId} AS key_id`,
    ...columns.map((column, index) => `  , ${column} AS k${index}`),
    `FROM ${spine}`,
  ].join("\n");
}

/** Where a view's rows are and how they are keyed. */
export interface HistoryQuery {
  /** Table of the view's source. */
  readonly from: string;
  /** Table made by `keysSql`. */
  readonly keys: string;
  /** Columns of the source that hold the view's keys, in the order of k0, k1, .... */
  readonly keyColumns: readonly string[];
  /** Further columns to read. */
  readonly columns: readonly string[];
}

function keyedRows(query: HistoryQuery): string {
  const { keyColumns } = query;
  if (keyColumns.length === 0) return `${query.from} e CROSS JOIN (SELECT DISTINCT key_id FROM ${query.keys}) k`;
  const named = keyColumns.map((_, index) => `k${index}`).join(", ");
  const on = keyColumns.map((column, index) => `e.${column} = k.k${index}`).join(" AND ");
  return `${query.from} e JOIN (SELECT DISTINCT key_id, ${named} FROM ${query.keys} WHERE key_id > 0) k ON ${on}`;
}

/**
 * The field view's row as of each row of the spine that is looked up: `row_id, event_us, created_us` and the columns; none
 * where there is no row. A row is known from the later of its two times on; of the rows known at t the one with the greatest
 * (event time, created time) counts, and among full ties the greatest values. The TTL is for the reader to apply: where
 * the newest row is too old, every other is too.
 */
export function asOfSql(query: HistoryQuery): string {
  const listed = query.columns.map((column) => `, ${column}`).join("");
  const prefixed = query.columns.map((column) => `, e.${column}`).join("");
  const ties = query.columns.map((column) => `, e.${column} NULLS FIRST`).join("");
  return `WITH history AS (
  SELECT k.key_id, e.event_us, e.created_us${prefixed}
    , ROW_NUMBER() OVER (PARTITION BY k.key_id ORDER BY e.event_us, e.created_us${ties}) AS place
  FROM ${keyedRows(query)}
), timeline AS (
  SELECT key_id, CASE WHEN event_us > created_us THEN event_us ELSE created_us END AS known_us, 0 AS asks
    , place, CAST(NULL AS BIGINT) AS row_id
  FROM history
  UNION ALL
  SELECT key_id, event_us AS known_us, 1 AS asks, CAST(NULL AS BIGINT) AS place, row_id
  FROM ${query.keys}
  WHERE row_id = read_id
), answers AS (
  SELECT key_id, asks, row_id
    , MAX(place) OVER (PARTITION BY key_id ORDER BY known_us, asks
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS place
  FROM timeline
)
SELECT a.row_id, h.event_us, h.created_us${listed.replaceAll(", ", ", h.")}
FROM answers a JOIN history h ON h.key_id = a.key_id AND h.place = a.place
WHERE a.asks = 1`;
}

/**
 * The rows of a view's keys, key by key: `key_id, event_us, created_us, known_us` and the columns. A row counts from
 * `known_us` on, which is the order of the rows: the later of its two times; windows are open on the right, so that an
 * event counts in them from the microsecond after it.
 */
export function eventsSql(query: HistoryQuery, kind: "fields" | "windows" = "windows"): string {
  const columns = query.columns.map((column) => `, e.${column}`).join("");
  const ties = query.columns.map((column) => `, e.${column} NULLS FIRST`).join("");
  const event = kind === "windows" ? "e.event_us + 1" : "e.event_us";
  return `SELECT k.key_id, e.event_us, e.created_us
  , CASE WHEN e.created_us > e.event_us THEN e.created_us ELSE ${event} END AS known_us${columns}
FROM ${keyedRows(query)}
ORDER BY k.key_id, known_us, e.event_us, e.created_us${ties}`;
}

/** The spine's rows that are looked up, key by key in the order of their times. */
export function readsSql(keys: string): string {
  return `SELECT key_id, event_us, row_id FROM ${keys} WHERE row_id = read_id ORDER BY key_id, event_us, row_id`;
}

/** A view's rows for materialization. */
export interface RowsQuery {
  /** Table of the view's source. */
  readonly from: string;
  /** Columns with the view's keys; rows where one is null are left out. */
  readonly keyColumns: readonly string[];
  /** Further columns to read. */
  readonly columns: readonly string[];
  /** Only rows known by this time, inclusive. */
  readonly endUs?: number | undefined;
  /** Only rows that became known after this time. */
  readonly afterUs?: number | undefined;
}

function known({ keyColumns, endUs, afterUs }: RowsQuery): string {
  const conditions = keyColumns.map((column) => `${column} IS NOT NULL`);
  if (endUs !== undefined) conditions.push(`created_us <= ${endUs}`);
  if (afterUs !== undefined) conditions.push(`created_us > ${afterUs}`);
  return conditions.length === 0 ? "" : `\nWHERE ${conditions.join(" AND ")}`;
}

/** The newest row of each key, in key order. */
export function newestSql(query: RowsQuery): string {
  const columns = [...new Set(["event_us", "created_us", ...query.columns])];
  const listed = [...new Set([...columns, ...query.keyColumns])].join(", ");
  const partition = query.keyColumns.length === 0 ? "" : `PARTITION BY ${query.keyColumns.join(", ")} `;
  const order = columns.map((column) => `${column} DESC NULLS LAST`).join(", ");
  const sorted = query.keyColumns.length === 0 ? "" : `\nORDER BY ${query.keyColumns.join(", ")}`;
  return `SELECT ${["event_us", "created_us", ...query.columns].join(", ")}
FROM (
  SELECT ${listed}, ROW_NUMBER() OVER (${partition}ORDER BY ${order}) AS place
  FROM ${query.from}${known(query)}
) ranked
WHERE place = 1${sorted}`;
}

/** Every row, key by key in time order. */
export function orderedSql(query: RowsQuery): string {
  const order = [...query.keyColumns, "event_us", "created_us", ...query.columns].map((name) => `${name} NULLS FIRST`);
  return `SELECT ${["event_us", "created_us", ...query.columns].join(", ")}
FROM ${query.from}${known(query)}
ORDER BY ${[...new Set(order)].join(", ")}`;
}
