import type { FeatureReference, Scenario, Value, ValueType } from "@weft/scenario";
import type { Faults } from "./faults.ts";
import type { RequestValue } from "./inputs.ts";
import type { ItemFilter } from "./peers.ts";

/** Filters a request may bring. */
const filtersMax = 32;
/** Values of one filter. */
const valuesMax = 1_000;

/** A filter as a request carries it. */
export interface RequestFilter {
  readonly attribute: string;
  readonly anyOf: readonly RequestValue[];
  readonly atLeast?: number | undefined;
  readonly atMost?: number | undefined;
}

/** Type of a feature that a view holds or a transform makes; undefined where there is none of that name. */
export function featureType(scenario: Scenario, reference: FeatureReference): ValueType | undefined {
  const colon = reference.indexOf(":");
  const owner = reference.slice(0, colon);
  const name = reference.slice(colon + 1);
  const transform = scenario.transforms.find((candidate) => candidate.name === owner);
  if (transform !== undefined) return transform.outputs[name];
  const view = scenario.views.find((candidate) => candidate.name === owner);
  const field = view?.features[name];
  if (field !== undefined) return field.type;
  for (const [aggregate, { function: kind, windows }] of Object.entries(view?.aggregates ?? {}))
    if (kind !== "recent" && kind !== "top" && windows.some((window) => name === `${aggregate}_${window}`))
      return "float64";
  return undefined;
}

/** Filters of a request, with their values in the attributes' own types. */
export function readFilters(
  given: readonly RequestFilter[],
  attributes: ReadonlyMap<FeatureReference, ValueType>,
  faults: Faults,
): readonly ItemFilter[] {
  if (given.length > filtersMax) {
    faults.add("filters", `must be at most ${filtersMax}`);
    return [];
  }
  return given.map((filter, index) => readFilter(filter, `filters[${index}]`, attributes, faults));
}

function readFilter(
  { attribute, anyOf, atLeast, atMost }: RequestFilter,
  path: string,
  attributes: ReadonlyMap<FeatureReference, ValueType>,
  faults: Faults,
): ItemFilter {
  const filter = { attribute, anyOf: [] as (number | bigint | string | boolean)[], atLeast, atMost };
  const type = attributes.get(attribute);
  if (type === undefined) {
    const known = [...attributes.keys()].join(", ");
    faults.add(
      `${path}.attribute`,
      known === "" ? "is unknown: no index carries attributes" : `must be one of ${known}`,
    );
    return filter;
  }
  if (anyOf.length === 0 && atLeast === undefined && atMost === undefined)
    faults.add(path, "must have any_of, at_least or at_most");
  if (anyOf.length > valuesMax) {
    faults.add(`${path}.any_of`, `must be at most ${valuesMax} values`);
    return filter;
  }
  const numeric = type === "float32" || type === "float64" || type === "int64";
  for (const [name, bound] of [
    ["at_least", atLeast],
    ["at_most", atMost],
  ] as const) {
    if (bound === undefined) continue;
    if (!numeric) faults.add(`${path}.${name}`, `cannot bound ${attribute}, which is no number`);
    else if (!Number.isFinite(bound)) faults.add(`${path}.${name}`, "must be finite");
  }
  for (const [index, { kind }] of anyOf.entries()) {
    const value = attributeValue(kind, type);
    if (value === undefined)
      faults.add(`${path}.any_of[${index}]`, `must have the attribute's type, ${typeName(type)}`);
    else filter.anyOf.push(value);
  }
  return filter;
}

function attributeValue(kind: RequestValue["kind"], type: ValueType): number | bigint | string | boolean | undefined {
  if (kind.case === undefined) return undefined;
  switch (type) {
    case "float32":
    case "float64": {
      if (kind.case !== "number" && kind.case !== "integer") return undefined;
      // In the attribute's own precision, so that 0.1 equals the 0.1 that a float32 holds.
      const value = type === "float32" ? Math.fround(Number(kind.value)) : Number(kind.value);
      return Number.isFinite(value) ? value : undefined;
    }
    case "int64":
      if (kind.case === "integer") return kind.value;
      return kind.case === "number" && Number.isSafeInteger(kind.value) ? BigInt(kind.value) : undefined;
    case "bool":
      return kind.case === "flag" ? kind.value : undefined;
    case "string":
      return kind.case === "text" ? kind.value : undefined;
    default:
      return undefined;
  }
}

function typeName(type: ValueType): string {
  return typeof type === "string" ? type : "vector" in type ? "vector" : "keys";
}

/** Whether an item passes all filters. An attribute without a value passes none. */
export function passesFilters(
  attributes: Readonly<Record<FeatureReference, Value>>,
  filters: readonly ItemFilter[],
): boolean {
  return filters.every(({ attribute, anyOf, atLeast, atMost }) => {
    const value = attributes[attribute];
    if (value === undefined || value === null || typeof value === "object") return false;
    if (anyOf.length > 0 && !anyOf.includes(value)) return false;
    if (atLeast === undefined && atMost === undefined) return true;
    if (typeof value !== "number" && typeof value !== "bigint") return false;
    return (atLeast === undefined || value >= atLeast) && (atMost === undefined || value <= atMost);
  });
}
