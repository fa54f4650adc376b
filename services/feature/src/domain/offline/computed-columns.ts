import type { FeatureReference, Transform, Value, ValueType } from "@weft/scenario";
import { computeTransform } from "../views/transform.ts";
import type { FeatureNeeds } from "./feature-needs.ts";

/** Type of a feature that is among what is needed. */
export function typeOfFeature(needs: FeatureNeeds, reference: FeatureReference): ValueType {
  const [owner, name = ""] = reference.split(":");
  const request = owner === "request" ? needs.requestFields.find((field) => field.name === name) : undefined;
  const transform = needs.transforms.find((candidate) => candidate.name === owner);
  const view = needs.views.find((candidate) => candidate.view.name === owner)?.view;
  return (
    request?.type ??
    transform?.outputs[name] ??
    view?.features.find((feature) => feature.name === name)?.type ??
    "string"
  );
}

/** Whether a matrix can hold values of a type. */
export function isNumeric(type: ValueType): boolean {
  return type === "float32" || type === "float64" || type === "int64" || type === "bool";
}

/** Values as a matrix holds them: NaN where there is none, truth as 0 or 1. */
export function toFloats(values: readonly Value[], count: number): Float32Array {
  const floats = new Float32Array(count);
  for (let row = 0; row < count; row++) {
    const value = values[row] ?? null;
    floats[row] = value === null ? Number.NaN : Number(value);
  }
  return floats;
}

/** Adds the outputs of a transform, run on every row; rows that hand it the same values share its answer, because it is pure. */
export function addTransformColumns(
  transform: Transform,
  count: number,
  computed: Map<FeatureReference, readonly Value[]>,
): void {
  const inputs = Object.entries(transform.inputs).map(([name, reference]) => ({
    name,
    column: computed.get(reference) ?? [],
  }));
  const outputs = Object.keys(transform.outputs).map((name) => ({ name, column: new Array<Value>(count).fill(null) }));
  const values: Record<string, Value> = Object.fromEntries(inputs.map(({ name }) => [name, null]));
  for (let row = 0; row < count; row++) {
    let isNew = row === 0;
    for (const { name, column } of inputs) {
      const value = column[row] ?? null;
      if (values[name] === value) continue;
      values[name] = value;
      isNew = true;
    }
    if (!isNew) {
      for (const { column } of outputs) column[row] = column[row - 1] ?? null;
      continue;
    }
    const answers = computeTransform(transform, values);
    for (const { name, column } of outputs) column[row] = answers[name] ?? null;
  }
  for (const { name, column } of outputs) computed.set(`${transform.name}:${name}`, column);
}

/** A value as a request field of a type holds it. */
export function requestValue(value: Value, type: ValueType): Value {
  if (typeof value === "number" || typeof value === "bigint" || typeof value === "boolean") {
    if (type === "float32") return Math.fround(Number(value));
    if (type === "float64") return Number(value);
    if (type === "int64" && Number.isInteger(Number(value))) return BigInt(value);
    if (type === "bool") return Number(value) !== 0;
  }
  return value;
}
