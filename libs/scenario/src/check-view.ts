import type { Aggregate, AggregateFunction, FeatureView, Source } from "./definitions.ts";
import { parseDurationMs } from "./duration.ts";
import { expectationFaults } from "./expectations.ts";
import type { Fault } from "./fault.ts";
import { aggregateType, sessionSlideMs, slideMsOf } from "./features.ts";
import { describeType, isKeys, isScalarOf, isVector, matrixTypes, scalarTypes } from "./value-types.ts";

/** What field each function reads: none needed, a number, a key, or any value that can be told apart. */
const functionFields = {
  count: "any",
  sum: "number",
  mean: "number",
  min: "number",
  max: "number",
  std: "number",
  quantile: "number",
  last: "number or key",
  distinct: "scalar",
  approx_distinct: "scalar",
  recent: "key",
  top: "key",
} as const satisfies Record<AggregateFunction, string>;
const windowKinds = new Set(["sliding", "tumbling", "session"]);
const bounds = { windows: 20, slides: 2_048 } as const;

/** Checks a source. */
export function checkSource(source: Source, fault: Fault): void {
  if (!/^[A-Za-z0-9_.-]+\.(csv|parquet)$/.test(source.file))
    fault(source.at, `source "${source.name}": file "${source.file}" must be a plain name ending in .csv or .parquet`);
  for (const text of expectationFaults(source)) fault(source.at, `source "${source.name}": ${text}`);
  const refreshMs = source.refresh === undefined ? 0 : parseDurationMs(source.refresh);
  if (refreshMs === undefined || (refreshMs > 0 && refreshMs < 1_000))
    fault(source.at, `source "${source.name}": refresh "${source.refresh}" is not "0s" or a duration of at least 1s`);
  if (source.topic !== undefined && !/^[A-Za-z0-9._-]{1,249}$/.test(source.topic))
    fault(source.at, `source "${source.name}": topic "${source.topic}" is no name of a Kafka topic`);
  for (const [field, type] of Object.entries(source.fields)) {
    const known = typeof type === "string" ? scalarTypes.has(type) : isVector(type) || isKeys(type);
    if (!known)
      fault(source.at, `source "${source.name}": field "${field}" has the unknown type ${JSON.stringify(type)}`);
  }
  for (const time of [source.eventTime, source.createdTime])
    if (time !== undefined && time in source.fields)
      fault(
        source.at,
        `source "${source.name}": time field "${time}" is int64 microseconds and must not be listed in fields`,
      );
}

/** Checks a view with its source and its aggregates. `name` checks the name of an entity. */
export function checkView(
  view: FeatureView,
  fault: Fault,
  name: (definition: FeatureView["entities"][number]["entity"]) => void,
): void {
  const source = view.source;
  if (source?.kind !== "source") {
    fault(view.at, `view "${view.name}" has no source`);
    return;
  }
  checkSource(source, fault);
  for (const { entity, field } of view.entities) {
    name(entity);
    const type = source.fields[field];
    if (type === undefined)
      fault(
        view.at,
        `view "${view.name}": source "${source.name}" has no field "${field}" for entity "${entity.name}"`,
      );
    else if (type !== entity.key)
      fault(
        view.at,
        `view "${view.name}": field "${field}" is ${JSON.stringify(type)} but entity "${entity.name}" has ${entity.key} keys`,
      );
  }
  if (parseDurationMs(view.ttl) === undefined)
    fault(view.at, `view "${view.name}": ttl "${view.ttl}" is not a duration such as "30d" or "0s"`);
  else if (Object.keys(view.aggregates).length > 0 && parseDurationMs(view.ttl) !== 0)
    fault(view.at, `view "${view.name}": a view of windows has no ttl, as its windows bound the age`);
  const fields = Object.entries(view.features);
  const aggregates = Object.entries(view.aggregates);
  if ((fields.length === 0) === (aggregates.length === 0))
    fault(view.at, `view "${view.name}" needs either features or aggregates`);
  for (const [feature, definition] of fields) {
    const field = definition.field ?? feature;
    const type = source.fields[field];
    if (type === undefined)
      fault(
        view.at,
        `view "${view.name}": feature "${feature}" reads field "${field}", which source "${source.name}" lacks`,
      );
    else if (definition.type === undefined)
      fault(view.at, `view "${view.name}": feature "${feature}" needs a type, here ${JSON.stringify(type)}`);
    else if (JSON.stringify(type) !== JSON.stringify(definition.type))
      fault(
        view.at,
        `view "${view.name}": feature "${feature}" is ${JSON.stringify(definition.type)} but the field is ${JSON.stringify(type)}`,
      );
    else if (definition.default !== undefined && !isScalarOf(type, definition.default))
      fault(
        view.at,
        `view "${view.name}": feature "${feature}" is ${describeType(type)}, and ${describeDefault(definition.default)} cannot stand in for it`,
      );
  }
  for (const [own, aggregate] of aggregates) checkAggregate(view, own, aggregate, fault);
  const entities = view.entities.map(({ entity }) => entity.name);
  if (new Set(entities).size !== entities.length) fault(view.at, `view "${view.name}" names an entity twice`);
  for (const step of view.ladder)
    if (step !== "stale" && step !== "default")
      fault(view.at, `view "${view.name}": ladder step "${step}" must be stale or default`);
  if (view.ladder.length > 1 && view.ladder.join() !== "stale,default")
    fault(view.at, `view "${view.name}": a ladder of two steps is stale, then default`);
}

function checkAggregate(view: FeatureView, own: string, aggregate: Aggregate, fault: Fault): void {
  const where = `view "${view.name}": aggregate "${own}"`;
  checkAggregateField(view, where, aggregate, fault);
  checkCondition(view, where, aggregate, fault);
  checkAggregateDefault(view, where, aggregate, fault);
  checkWindows(view, where, aggregate, fault);
  const { function: name, quantile } = aggregate;
  if (name === "quantile" && !(typeof quantile === "number" && quantile >= 0 && quantile <= 1))
    fault(view.at, `${where} needs a quantile from 0 to 1`);
  if (name !== "quantile" && quantile !== undefined) fault(view.at, `${where}: ${name} takes no quantile`);
  const limit = aggregate.limit ?? 100;
  if (!Number.isInteger(limit) || limit < 1 || limit > 10_000) fault(view.at, `${where}: limit must be 1 to 10000`);
}

function checkCondition(view: FeatureView, where: string, { where: condition }: Aggregate, fault: Fault): void {
  if (condition === undefined) return;
  const type = view.source.fields[condition.field];
  const { equals } = condition;
  if (type === undefined)
    fault(view.at, `${where} is filtered by field "${condition.field}", which source "${view.source.name}" lacks`);
  else if (!isScalarOf(type, type === "int64" && Number.isSafeInteger(equals) ? BigInt(equals) : equals))
    fault(
      view.at,
      `${where} is filtered by ${describeDefault(equals)}, which a field of ${describeType(type)} never equals`,
    );
}

function checkAggregateDefault(view: FeatureView, where: string, aggregate: Aggregate, fault: Fault): void {
  if (aggregate.default === undefined) return;
  const type = aggregateType(aggregate, view.source.fields[aggregate.field ?? ""]);
  const isNumber = matrixTypes.has(String(type)) && Number.isFinite(aggregate.default);
  if (!isNumber || (type === "int64" && !Number.isSafeInteger(aggregate.default)))
    fault(
      view.at,
      `${where} is ${describeType(type)}, and ${describeDefault(aggregate.default)} cannot stand in for it`,
    );
}

function describeDefault(value: number | bigint | boolean | string): string {
  if (typeof value === "string") return `the text "${value.slice(0, 64)}"`;
  return typeof value === "bigint" ? `${value}n` : `${value}`;
}

function checkAggregateField(view: FeatureView, where: string, aggregate: Aggregate, fault: Fault): void {
  const { function: name, field } = aggregate;
  const wanted: string | undefined = Object.hasOwn(functionFields, name) ? functionFields[name] : undefined;
  if (wanted === undefined) {
    fault(view.at, `${where} has the unknown function "${name}"`);
    return;
  }
  const type = field === undefined ? undefined : view.source.fields[field];
  const isKey = type === "int64" || type === "string";
  if (type === undefined) {
    if (field !== undefined || wanted !== "any")
      fault(view.at, `${where} reads field "${field}", which source "${view.source.name}" lacks`);
  } else if (wanted === "key" && !isKey) fault(view.at, `${where}: ${name} needs an int64 or string field`);
  else if (wanted === "number" && !matrixTypes.has(String(type)))
    fault(view.at, `${where}: ${name} needs a number field`);
  else if (wanted === "number or key" && !isKey && !matrixTypes.has(String(type)))
    fault(view.at, `${where}: ${name} needs a number, int64 or string field`);
  else if (wanted === "scalar" && (!scalarTypes.has(String(type)) || type === "bytes"))
    fault(view.at, `${where}: ${name} cannot tell values of ${JSON.stringify(type)} apart`);
}

function checkWindows(view: FeatureView, where: string, aggregate: Aggregate, fault: Fault): void {
  const { windows, kind = "sliding", slide, longest } = aggregate;
  if (!windowKinds.has(kind)) {
    fault(view.at, `${where}: kind "${kind}" must be sliding, tumbling or session`);
    return;
  }
  if (windows.length === 0 || windows.length > bounds.windows)
    fault(view.at, `${where} needs 1 to ${bounds.windows} windows`);
  if (slide !== undefined && kind !== "sliding") fault(view.at, `${where}: a ${kind} window has no slide`);
  if (longest !== undefined && kind !== "session") fault(view.at, `${where}: only a session has a longest span`);
  for (const window of windows) {
    const ms = parseDurationMs(window);
    if (ms === undefined || ms < 1000) {
      fault(view.at, `${where}: window "${window}" is not a duration of at least 1s`);
      continue;
    }
    const stepMs = kind === "tumbling" ? ms : kind === "session" ? sessionSlideMs(ms) : slideMs(window, slide);
    const spanMs = kind === "session" && longest !== undefined ? parseDurationMs(longest) : ms;
    if (stepMs === undefined) fault(view.at, `${where}: slide "${slide}" is not a duration`);
    else if (spanMs === undefined) fault(view.at, `${where}: longest "${longest}" is not a duration`);
    else if (stepMs > ms) fault(view.at, `${where}: slide "${slide}" is longer than window "${window}"`);
    else if (spanMs < ms) fault(view.at, `${where}: longest "${longest}" is shorter than the gap "${window}"`);
    else if (spanMs / stepMs > bounds.slides)
      fault(
        view.at,
        `${where}: ${kind === "session" ? `longest "${longest}"` : `window "${window}"`} is more than ${bounds.slides} slides of ${stepMs / 1000} s`,
      );
  }
}

/** Milliseconds of a sliding window's slide; undefined where the declared one is no duration or 0. */
function slideMs(window: string, declared: string | undefined): number | undefined {
  if (declared !== undefined && !((parseDurationMs(declared) ?? 0) > 0)) return undefined;
  return slideMsOf(window, declared);
}
