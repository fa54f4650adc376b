import type { MessageInitShape } from "@bufbuild/protobuf";
import { feastServing, type feastTypes, feature } from "@weft/contracts";
import type { Value, ValueType } from "@weft/scenario";
import { writeColumn } from "./columns.ts";

type FeastValue = MessageInitShape<typeof feastTypes.ValueSchema>;

/** A value as Feast's contract carries it; without a kind where it is null. */
export function feastValue(value: Value, type: "float32" | "other"): FeastValue {
  switch (typeof value) {
    case "number":
      return { val: type === "float32" ? { case: "floatVal", value } : { case: "doubleVal", value } };
    case "bigint":
      return { val: { case: "int64Val", value } };
    case "boolean":
      return { val: { case: "boolVal", value } };
    case "string":
      return { val: { case: "stringVal", value } };
    default:
      break;
  }
  if (value === null) return {};
  if (value instanceof Uint8Array) return { val: { case: "bytesVal", value } };
  if (value instanceof Float32Array) return { val: { case: "floatListVal", value: { val: Array.from(value) } } };
  const integers = value.filter((key) => typeof key === "bigint");
  return integers.length === value.length
    ? { val: { case: "int64ListVal", value: { val: integers } } }
    : { val: { case: "stringListVal", value: { val: value.filter((key) => typeof key === "string") } } };
}

/**
 * What a read found, in Feast's words. A default that stands in is NOT_FOUND, with the default as its value; where the
 * store could not be read nothing is known, which is INVALID.
 */
export function feastStatus(status: feature.FeatureStatus): feastServing.FieldStatus {
  switch (status) {
    case feature.FeatureStatus.PRESENT:
      return feastServing.FieldStatus.PRESENT;
    case feature.FeatureStatus.NULL:
      return feastServing.FieldStatus.NULL_VALUE;
    case feature.FeatureStatus.OUTSIDE_MAX_AGE:
      return feastServing.FieldStatus.OUTSIDE_MAX_AGE;
    case feature.FeatureStatus.UNAVAILABLE:
      return feastServing.FieldStatus.INVALID;
    default:
      return feastServing.FieldStatus.NOT_FOUND;
  }
}

/** The values of a column of an answer, one a row, whatever their statuses. */
export function columnValues({ values }: feature.Column): readonly Value[] {
  switch (values.case) {
    case undefined:
      return [];
    case "vectors": {
      const { dimension, values: bytes } = values.value;
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      return Array.from({ length: Math.floor(bytes.length / Math.max(1, 4 * dimension)) }, (_, row) =>
        Float32Array.from({ length: dimension }, (_, i) => view.getFloat32(4 * (row * dimension + i), true)),
      );
    }
    case "keyLists":
      return values.value.values.map(({ integers, texts }) => (texts.length > 0 ? texts : integers));
    default:
      return values.value.values;
  }
}

/** Request values as a column of the service's own contract; `fault` names what is wrong with one. */
export function requestColumn(
  name: string,
  type: ValueType,
  values: readonly feastTypes.Value[],
  fault: (text: string) => Error,
) {
  const read = values.map(({ val }, row): Value => {
    if (val.case === undefined || val.case === "nullVal") return null;
    const value = requestValue(type, val);
    if (value === undefined) throw fault(`row ${row} is ${kindText(val.case)}`);
    return value;
  });
  const { NULL, PRESENT } = feature.FeatureStatus;
  return { ...writeColumn(name, type, read), statuses: read.map((value) => (value === null ? NULL : PRESENT)) };
}

/** The value as its type holds it; undefined where it is of another. */
function requestValue(type: ValueType, val: feastTypes.Value["val"]): Value | undefined {
  switch (val.case) {
    case "floatVal":
    case "doubleVal":
      return type === "float32" || type === "float64" ? val.value : undefined;
    case "int32Val":
    case "int64Val":
    case "unixTimestampVal":
      if (type === "int64") return BigInt(val.value);
      return type === "float32" || type === "float64" ? Number(val.value) : undefined;
    case "boolVal":
      return type === "bool" ? val.value : undefined;
    case "stringVal":
      return type === "string" ? val.value : undefined;
    case "bytesVal":
      return type === "bytes" ? val.value : undefined;
    default:
      return undefined;
  }
}

/** Name of a value's kind as the contract writes it. */
export function kindText(kind: feastTypes.Value["val"]["case"]): string {
  return kind === undefined ? "without a kind" : kind.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
