import type { Entity, FeatureReference, KeyType, Scenario, Value, ValueType } from "@weft/scenario";
import type { Faults } from "./faults.ts";
import type { EntityInput, FeatureRead, FieldInput, Key } from "./peers.ts";

/** Greatest length of a text key, in bytes of UTF-8. */
const keyBytesMax = 512;
/** Greatest length of a text value, in bytes of UTF-8. */
const textBytesMax = 65_536;

/** A key as a request carries it. */
export interface RequestKey {
  readonly kind:
    | { readonly case: "text"; readonly value: string }
    | { readonly case: "integer"; readonly value: bigint }
    | { readonly case: undefined; readonly value?: undefined };
}

/** A value as a request carries it; unset means null. */
export interface RequestValue {
  readonly kind:
    | { readonly case: "number"; readonly value: number }
    | { readonly case: "integer"; readonly value: bigint }
    | { readonly case: "text"; readonly value: string }
    | { readonly case: "flag"; readonly value: boolean }
    | { readonly case: undefined; readonly value?: undefined };
}

/** A time as a request carries it. */
export interface RequestTime {
  readonly seconds: bigint;
  readonly nanos: number;
}

/** What a request of a scenario brings: its entities and fields, compiled once a release. */
export class RequestInputs {
  readonly entities: readonly EntityInput[];
  readonly fields: readonly FieldInput[];
  readonly #scenario: Scenario;
  readonly #entityNames: ReadonlySet<string>;

  constructor(scenario: Scenario, entities: readonly Entity[]) {
    this.#scenario = scenario;
    this.entities = entities.map(({ name, key }, position) => ({ name, key, position }));
    this.fields = Object.entries(scenario.request).map(([name, type], position) => ({ name, type, position }));
    this.#entityNames = new Set(entities.map(({ name }) => name));
  }

  /** Keys in the order of the entities, each as a column of one. */
  keys(given: Readonly<Record<string, RequestKey>>, path: string, faults: Faults): readonly (readonly Key[])[] {
    const keys: (readonly Key[])[] = [];
    let found = 0;
    for (const entity of this.entities) {
      const key = given[entity.name];
      if (key === undefined) {
        faults.add(`${path}.${entity.name}`, "is missing");
        continue;
      }
      found += 1;
      const value = readKey(key, entity.key);
      if (typeof value === "object") faults.add(`${path}.${entity.name}`, value.fault);
      else keys.push([value]);
    }
    let names = 0;
    for (const _ in given) names += 1;
    if (names !== found)
      for (const name of Object.keys(given))
        if (!this.#entityNames.has(name)) faults.add(`${path}.${name}`, "is no entity of this pipeline");
    return keys;
  }

  /** Values in the order of the fields. */
  values(given: Readonly<Record<string, RequestValue>>, path: string, faults: Faults): readonly Value[] {
    const values: Value[] = [];
    let found = 0;
    for (const field of this.fields) {
      const value = given[field.name];
      if (value === undefined) {
        faults.add(`${path}.${field.name}`, "is missing; an unset value says that it is not known");
        continue;
      }
      found += 1;
      values.push(readValue(value, field.type, path, field.name, faults));
    }
    let names = 0;
    for (const _ in given) names += 1;
    if (names !== found)
      for (const name of Object.keys(given))
        if (!Object.hasOwn(this.#scenario.request, name))
          faults.add(`${path}.${name}`, "is no request field of this scenario");
    return values;
  }

  /** The read of some references, with the entities and fields that they need and no others. */
  read(references: readonly FeatureReference[], featureService = ""): FeatureRead {
    const needs: Needs = { entities: new Set(), fields: new Set(), visited: new Set() };
    for (const reference of references) addNeeds(this.#scenario, reference, needs);
    return {
      scenario: this.#scenario.name,
      featureService,
      references,
      stale: references.map((reference) => {
        const view = this.#scenario.views.find(({ name }) => name === reference.slice(0, reference.indexOf(":")));
        return view?.ladder.includes("stale") ?? false;
      }),
      entities: this.entities.filter(({ name }) => needs.entities.has(name)),
      fields: this.fields.filter(({ name }) => needs.fields.has(name)),
    };
  }
}

interface Needs {
  readonly entities: Set<string>;
  readonly fields: Set<string>;
  readonly visited: Set<FeatureReference>;
}

function addNeeds(scenario: Scenario, reference: FeatureReference, needs: Needs): void {
  if (needs.visited.has(reference)) return;
  needs.visited.add(reference);
  const colon = reference.indexOf(":");
  const owner = reference.slice(0, colon);
  if (owner === "request") {
    needs.fields.add(reference.slice(colon + 1));
    return;
  }
  const view = scenario.views.find(({ name }) => name === owner);
  for (const { entity } of view?.entities ?? []) needs.entities.add(entity.name);
  const transform = scenario.transforms.find(({ name }) => name === owner);
  for (const input of Object.values(transform?.inputs ?? {})) addNeeds(scenario, input, needs);
}

/** The key, or what is wrong with it. */
export function readKey(key: RequestKey, type: KeyType): Key | { readonly fault: string } {
  const { kind } = key;
  if (type === "int64") return kind.case === "integer" ? kind.value : { fault: "must be an integer key" };
  if (kind.case !== "text") return { fault: "must be a text key" };
  if (kind.value === "") return { fault: "must not be empty" };
  if (kind.value.length * 3 > keyBytesMax && Buffer.byteLength(kind.value) > keyBytesMax)
    return { fault: `must be at most ${keyBytesMax} bytes` };
  return kind.value;
}

function readValue({ kind }: RequestValue, type: ValueType, path: string, name: string, faults: Faults): Value {
  if (kind.case === undefined) return null;
  const fault = (description: string): null => {
    faults.add(`${path}.${name}`, description);
    return null;
  };
  switch (type) {
    case "float32":
    case "float64": {
      const value = kind.case === "number" ? kind.value : kind.case === "integer" ? Number(kind.value) : undefined;
      if (value === undefined) return fault("must be a number");
      if (!Number.isFinite(value)) return fault("must be finite; leave the value unset where it is not known");
      if (type === "float32" && !Number.isFinite(Math.fround(value))) return fault("is out of the range of float32");
      return value;
    }
    case "int64":
      return kind.case === "integer" ? kind.value : fault("must be an integer");
    case "bool":
      return kind.case === "flag" ? kind.value : fault("must be a flag (true or false)");
    case "string":
      if (kind.case !== "text") return fault("must be a text");
      if (kind.value.length * 3 > textBytesMax && Buffer.byteLength(kind.value) > textBytesMax)
        return fault(`must be at most ${textBytesMax} bytes`);
      return kind.value;
    default:
      return fault("has a type that a request cannot carry");
  }
}

/** Microseconds since 1970 of a request's event time; `nowMs` where it brings none. */
export function readEventTimeUs(
  time: RequestTime | undefined,
  nowMs: number,
  aheadMaxMs: number,
  faults: Faults,
): number {
  if (time === undefined) return Math.floor(nowMs * 1_000);
  const seconds = Number(time.seconds);
  if (!Number.isInteger(time.nanos) || time.nanos < 0 || time.nanos > 999_999_999) {
    faults.add("event_time", "must have nanos from 0 to 999,999,999");
    return 0;
  }
  const timeMs = seconds * 1_000 + time.nanos / 1_000_000;
  if (timeMs < 0.001) faults.add("event_time", "must be after the beginning of 1970");
  else if (timeMs > nowMs + aheadMaxMs)
    faults.add("event_time", `must be at most ${aheadMaxMs / 1_000} s ahead of the gateway's clock`);
  return seconds * 1_000_000 + Math.floor(time.nanos / 1_000);
}
