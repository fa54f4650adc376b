import { feature } from "@weft/contracts";
import type { Value, ValueType } from "@weft/scenario";
import type { ColumnTarget } from "./domain/views/read-plan.ts";
import { errors } from "./errors.ts";

type Values = feature.Column["values"];

/** What columns of an input may hold. */
export interface ColumnBounds {
  /** Size of one text, byte string or list, in bytes. */
  readonly valueBytesMax: number;
}

const cases = {
  float32: "float32s",
  float64: "float64s",
  int64: "int64s",
  bool: "bools",
  string: "strings",
  bytes: "bytes",
} as const;

/** Oneof case that holds values of a type. */
function caseOf(type: ValueType): Values["case"] {
  if (typeof type === "string") return cases[type];
  return "vector" in type ? "vectors" : "keyLists";
}

/** Values that a column holds; undefined where it is empty. */
export function columnLength(column: feature.Column): number {
  const { values } = column;
  if (values.case === undefined) return 0;
  if (values.case !== "vectors") return values.value.values.length;
  const { dimension, values: bytes } = values.value;
  return dimension > 0 ? Math.floor(bytes.length / (4 * dimension)) : 0;
}

/**
 * Reads a column of an input into values of a type. A float type takes 32- and 64-bit floats. Refuses another type, NaN
 * and infinities, a value above the bound, a vector of another dimension and a status other than NULL, through `fault`.
 */
export function readColumn(
  column: feature.Column,
  type: ValueType,
  bounds: ColumnBounds,
  fault: (text: string) => Error,
): Value[] {
  const count = columnLength(column);
  const { statuses, values } = column;
  if (statuses.length !== 0 && statuses.length !== count)
    throw fault(`${statuses.length} statuses for ${count} values`);
  const isFloat = type === "float32" || type === "float64";
  const given = values.case;
  if (given !== caseOf(type) && !(isFloat && (given === "float32s" || given === "float64s")))
    throw fault(`wants ${caseOf(type)}, got ${given ?? "no values"}`);
  const read = new Array<Value>(count);
  for (let row = 0; row < count; row++) {
    const status = statuses[row] ?? feature.FeatureStatus.UNSPECIFIED;
    if (status === feature.FeatureStatus.NULL) {
      read[row] = null;
      continue;
    }
    if (status !== feature.FeatureStatus.UNSPECIFIED && status !== feature.FeatureStatus.PRESENT)
      throw fault(`row ${row} has a status other than NULL`);
    read[row] = readValue(values, type, row, bounds, fault);
  }
  return read;
}

function readValue(
  values: Values,
  type: ValueType,
  row: number,
  bounds: ColumnBounds,
  fault: (text: string) => Error,
): Value {
  switch (values.case) {
    case "float32s":
    case "float64s": {
      const value = values.value.values[row] ?? Number.NaN;
      if (!Number.isFinite(value)) throw fault(`row ${row} is ${value}; send NULL for no value`);
      return type === "float32" ? Math.fround(value) : value;
    }
    case "int64s":
      return values.value.values[row] ?? null;
    case "bools":
      return values.value.values[row] ?? null;
    case "strings": {
      const text = values.value.values[row] ?? "";
      if (text.length * 3 > bounds.valueBytesMax && Buffer.byteLength(text) > bounds.valueBytesMax)
        throw fault(`row ${row} is longer than ${bounds.valueBytesMax} bytes`);
      return text;
    }
    case "bytes": {
      const bytes = values.value.values[row] ?? new Uint8Array(0);
      if (bytes.length > bounds.valueBytesMax) throw fault(`row ${row} is longer than ${bounds.valueBytesMax} bytes`);
      return bytes;
    }
    case "vectors": {
      const { dimension, values: bytes } = values.value;
      const wanted = typeof type === "object" && "vector" in type ? type.vector : 0;
      if (dimension !== wanted) throw fault(`vectors have dimension ${dimension}, not ${wanted}`);
      const view = new DataView(bytes.buffer, bytes.byteOffset + row * 4 * dimension, 4 * dimension);
      const vector = new Float32Array(dimension);
      for (let i = 0; i < dimension; i++) vector[i] = view.getFloat32(4 * i, true);
      if (!vector.every(Number.isFinite)) throw fault(`row ${row} holds a number that is not finite`);
      return vector;
    }
    case "keyLists": {
      const list = values.value.values[row];
      const isInteger = typeof type === "object" && "keys" in type && type.keys === "int64";
      const keys = (isInteger ? list?.integers : list?.texts) ?? [];
      const others = (isInteger ? list?.texts : list?.integers) ?? [];
      if (others.length > 0) throw fault(`row ${row} wants ${isInteger ? "integers" : "texts"}`);
      if (keys.length * 8 > bounds.valueBytesMax) throw fault(`row ${row} has more than ${bounds.valueBytesMax} bytes`);
      return keys;
    }
    default:
      return null;
  }
}

/** A column of an answer to be filled, so laid out that it goes into the message as it is. */
export function columnTarget(type: ValueType, rows: number, withEventTimes: boolean): ColumnTarget {
  return {
    held:
      type === "float32" || type === "float64"
        ? { kind: "floats", list: new Array<number>(rows).fill(0) }
        : type === "bool"
          ? { kind: "bools", list: new Array<boolean>(rows).fill(false) }
          : { kind: "values", list: new Array<Value>(rows).fill(null) },
    statuses: new Array<number>(rows).fill(0),
    eventTimesUs: withEventTimes ? new Array<bigint>(rows).fill(0n) : undefined,
  };
}

/** The column of an answer that has been filled. */
export function filledColumn(name: string, type: ValueType, { held, statuses, eventTimesUs = [] }: ColumnTarget) {
  return { name, values: filledValues(type, held), statuses, eventTimesUs };
}

function filledValues(type: ValueType, held: ColumnTarget["held"]) {
  switch (held.kind) {
    case "floats":
      return { case: type === "float32" ? "float32s" : "float64s", value: { values: held.list } } as const;
    case "bools":
      return { case: "bools", value: { values: held.list } } as const;
    default:
      return writeValues(type, held.list);
  }
}

/** Makes a column of an answer out of values, one a row; null reads as the zero of the type. */
export function writeColumn(name: string, type: ValueType, values: readonly Value[]) {
  return { name, values: writeValues(type, values) };
}

function writeValues(type: ValueType, values: readonly Value[]) {
  switch (type) {
    case "float32":
      return { case: "float32s", value: { values: values.map((value) => Number(value ?? 0)) } } as const;
    case "float64":
      return { case: "float64s", value: { values: values.map((value) => Number(value ?? 0)) } } as const;
    case "int64":
      return {
        case: "int64s",
        value: {
          values: values.map((value) => (typeof value === "bigint" ? value : BigInt(Math.trunc(Number(value ?? 0))))),
        },
      } as const;
    case "bool":
      return { case: "bools", value: { values: values.map((value) => value === true || value === 1) } } as const;
    case "string":
      return { case: "strings", value: { values: values.map((value) => String(value ?? "")) } } as const;
    case "bytes":
      return {
        case: "bytes",
        value: { values: values.map((value) => (value instanceof Uint8Array ? value : new Uint8Array(0))) },
      } as const;
    default:
      return "vector" in type ? writeVectors(type.vector, values) : writeKeys(type.keys, values);
  }
}

function writeVectors(dimension: number, values: readonly Value[]) {
  const bytes = new Uint8Array(4 * dimension * values.length);
  const view = new DataView(bytes.buffer);
  values.forEach((value, row) => {
    if (!(value instanceof Float32Array)) return;
    for (let i = 0; i < dimension; i++) view.setFloat32(4 * (row * dimension + i), value[i] ?? 0, true);
  });
  return { case: "vectors", value: { dimension, values: bytes } } as const;
}

function writeKeys(keys: "int64" | "string", values: readonly Value[]) {
  return {
    case: "keyLists",
    value: {
      values: values.map((value) => {
        const list: readonly (bigint | string)[] = Array.isArray(value) ? value : [];
        return keys === "int64"
          ? { integers: list.filter((key) => typeof key === "bigint") }
          : { texts: list.filter((key) => typeof key === "string") };
      }),
    },
  } as const;
}

/** Faults of a push's column. */
export function columnFault(column: string): (fault: string) => Error {
  return (fault) => errors.COLUMN_INVALID({ column, fault });
}

/** Faults of a request feature. */
export function fieldFault(field: string): (fault: string) => Error {
  return (fault) => errors.REQUEST_FEATURE_INVALID({ field, fault });
}
