import type { Transform, Value } from "@weft/scenario";
import { errors } from "../../errors.ts";

/**
 * Runs an on-demand transform on one row: the same code in serving and in training sets. Answers every output, null
 * where the function gives none; numbers that are not finite are null. Throws TRANSFORM_FAILED where the function throws
 * or answers a value of another type.
 */
export function computeTransform(transform: Transform, inputs: Readonly<Record<string, Value>>): Record<string, Value> {
  let answers: Readonly<Record<string, Value | undefined>>;
  try {
    answers = transform.compute(inputs as Readonly<Record<string, never>>);
  } catch (cause) {
    throw errors.TRANSFORM_FAILED({ transform: transform.name }, { cause });
  }
  const outputs: Record<string, Value> = {};
  for (const name in transform.outputs) outputs[name] = checkedOutput(transform, name, answers[name] ?? null);
  return outputs;
}

/** An output as its declared type holds it; throws TRANSFORM_FAILED where it is of another type. */
export function checkedOutput(transform: Transform, name: string, value: Value): Value {
  if (value === null) return null;
  const type = transform.outputs[name];
  switch (typeof value) {
    case "number":
      if (type === "float32" || type === "float64") {
        if (!Number.isFinite(value)) return null;
        return type === "float32" ? Math.fround(value) : value;
      }
      break;
    case "bigint":
      if (type === "int64" && BigInt.asIntN(64, value) === value) return value;
      break;
    case "boolean":
      if (type === "bool") return value;
      break;
    case "string":
      if (type === "string") return value;
      break;
  }
  const cause = new TypeError(`output "${name}" is declared ${type} and was answered with a ${typeof value}`);
  throw errors.TRANSFORM_FAILED({ transform: transform.name }, { cause });
}
