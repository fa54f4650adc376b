import {
  ARRAY,
  BIGINT,
  BLOB,
  BOOLEAN,
  DOUBLE,
  DuckDBArrayValue,
  DuckDBBlobValue,
  type DuckDBDataChunk,
  DuckDBListValue,
  type DuckDBType,
  type DuckDBValue,
  FLOAT,
  LIST,
  VARCHAR,
} from "@duckdb/node-api";
import type { Value } from "@weft/scenario";
import type { ColumnType } from "../domain/offline/offline-store.ts";

/** A column type in DuckDB: its SQL name, its type object, and both directions of a value that is not null. */
export interface DuckDbColumn {
  readonly sql: string;
  readonly type: DuckDBType;
  readonly decode: (value: DuckDBValue) => Value;
  readonly encode: (value: Value) => DuckDBValue;
}

const same = (value: DuckDBValue): Value => value as Value;
const unchanged = (value: Value): DuckDBValue => value as DuckDBValue;

const plain: Readonly<Record<string, DuckDbColumn>> = {
  float32: { sql: "FLOAT", type: FLOAT, decode: same, encode: unchanged },
  float64: { sql: "DOUBLE", type: DOUBLE, decode: same, encode: unchanged },
  int64: { sql: "BIGINT", type: BIGINT, decode: same, encode: unchanged },
  bool: { sql: "BOOLEAN", type: BOOLEAN, decode: same, encode: unchanged },
  string: { sql: "VARCHAR", type: VARCHAR, decode: same, encode: unchanged },
  count: { sql: "BIGINT", type: BIGINT, decode: Number, encode: (value) => BigInt(value as number) },
  bytes: {
    sql: "BLOB",
    type: BLOB,
    decode: (value) => new Uint8Array((value as DuckDBBlobValue).bytes),
    encode: (value) => new DuckDBBlobValue(value as Uint8Array),
  },
};

/** How a column type is stored in DuckDB. */
export function duckDbColumn(type: ColumnType): DuckDbColumn {
  if (typeof type === "string") {
    const column = plain[type];
    if (column === undefined) throw new RangeError(`"${type}" is not a column type`);
    return column;
  }
  if ("vector" in type) {
    return {
      sql: `FLOAT[${type.vector}]`,
      type: ARRAY(FLOAT, type.vector),
      decode: (value) => Float32Array.from((value as DuckDBArrayValue).items as readonly number[]),
      encode: (value) => new DuckDBArrayValue([...(value as Float32Array)]),
    };
  }
  const element = type.keys === "int64" ? BIGINT : VARCHAR;
  return {
    sql: `${type.keys === "int64" ? "BIGINT" : "VARCHAR"}[]`,
    type: LIST(element),
    decode: (value) => (value as DuckDBListValue).items as readonly (bigint | string)[],
    encode: (value) => new DuckDBListValue(value as readonly (bigint | string)[]),
  };
}

/** One column of a chunk as values of scenarios, null where absent. */
export function decodeColumn(chunk: DuckDBDataChunk, index: number, column: DuckDbColumn): Value[] {
  const vector = chunk.getColumnVector(index);
  const count = chunk.rowCount;
  const { decode } = column;
  const values: Value[] = new Array(count);
  if (decode === same) {
    for (let row = 0; row < count; row++) values[row] = vector.getItem(row) as Value;
    return values;
  }
  for (let row = 0; row < count; row++) {
    const value = vector.getItem(row);
    values[row] = value === null ? null : decode(value);
  }
  return values;
}

/** Fills one column of a chunk with `values[start..start + rowCount)`. */
export function encodeColumn(
  chunk: DuckDBDataChunk,
  index: number,
  column: DuckDbColumn,
  values: ArrayLike<Value>,
  start: number,
): void {
  const vector = chunk.getColumnVector(index);
  const count = chunk.rowCount;
  const { encode } = column;
  for (let row = 0; row < count; row++) {
    const value = values[start + row] ?? null;
    vector.setItem(row, value === null ? null : encode(value));
  }
  vector.flush();
}
