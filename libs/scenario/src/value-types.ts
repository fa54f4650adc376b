import type { Value, ValueType } from "./definitions.ts";

/** Types that are one value, not several. */
export const scalarTypes: ReadonlySet<string> = new Set(["float32", "float64", "int64", "bool", "string", "bytes"]);

/** Types that a model's matrix holds. */
export const matrixTypes: ReadonlySet<string> = new Set(["float32", "float64", "int64", "bool"]);

/** Whether a type is a vector of 1 to 4,096 elements. */
export function isVector(type: ValueType): boolean {
  return (
    typeof type === "object" &&
    "vector" in type &&
    Number.isInteger(type.vector) &&
    type.vector >= 1 &&
    type.vector <= 4096
  );
}

/** Whether a type is a list of keys. */
export function isKeys(type: ValueType): boolean {
  return typeof type === "object" && "keys" in type && (type.keys === "int64" || type.keys === "string");
}

/** A type as a message names it. */
export function describeType(type: ValueType | undefined): string {
  return typeof type === "object" ? JSON.stringify(type) : String(type);
}

/** Whether a value is one of a scalar type as code holds it: int64 as bigint, floats finite. */
export function isScalarOf(type: ValueType, value: Value | undefined): boolean {
  switch (type) {
    case "float32":
    case "float64":
      return typeof value === "number" && Number.isFinite(value);
    case "int64":
      return typeof value === "bigint" && BigInt.asIntN(64, value) === value;
    case "bool":
      return typeof value === "boolean";
    case "string":
      return typeof value === "string";
    default:
      return false;
  }
}
