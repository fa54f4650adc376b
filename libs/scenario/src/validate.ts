import type {
  Aggregate,
  AggregateFunction,
  Example,
  FeatureReference,
  FeatureService,
  FeatureView,
  Model,
  Scenario,
  Source,
  ValueType,
} from "./definitions.ts";
import { parseDurationMs } from "./duration.ts";
import { expectationFaults } from "./expectations.ts";
import { featureNamesOf, sessionSlideMs, slideMsOf } from "./features.ts";
import type { Site } from "./site.ts";

/** One thing that is wrong with a scenario. */
export interface ScenarioFault {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly message: string;
}

/** Names of scenarios, entities, views, models and the like. */
const namePattern = /^[a-z][a-z0-9_]{0,62}$/;
const scalarTypes = new Set(["float32", "float64", "int64", "bool", "string", "bytes"]);
const matrixTypes = new Set(["float32", "float64", "int64", "bool"]);
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
const bounds = {
  views: 200,
  features: 2_000,
  models: 50,
  transforms: 200,
  examples: 100,
  windows: 20,
  slides: 2_048,
  featureServices: 200,
  tags: 32,
  textCharacters: 4_096,
  tagCharacters: 128,
} as const;

/** Every fault of a scenario, each with the place of its definition; empty when there is none. */
export function validateScenario(scenario: Scenario): ScenarioFault[] {
  const faults: ScenarioFault[] = [];
  const fault = (at: Site | undefined, message: string) =>
    faults.push({ file: at?.file ?? scenario.at.file, line: at?.line ?? scenario.at.line, message });
  const name = (definition: { readonly kind: string; readonly name: string; readonly at: Site }) => {
    if (typeof definition.name !== "string" || !namePattern.test(definition.name))
      fault(definition.at, `${definition.kind} name "${definition.name}" must match ${namePattern.source}`);
  };
  const unique = (definitions: readonly { readonly kind: string; readonly name: string; readonly at: Site }[]) => {
    const seen = new Map<string, unknown>();
    for (const definition of definitions) {
      if (seen.has(definition.name) && seen.get(definition.name) !== definition)
        fault(definition.at, `two definitions of ${definition.kind} "${definition.name}"`);
      seen.set(definition.name, definition);
    }
  };
  const bounded = (what: string, count: number, max: number) => {
    if (count > max) fault(scenario.at, `${count} ${what}; at most ${max}`);
  };

  name(scenario);
  bounded("views", scenario.views.length, bounds.views);
  bounded("models", scenario.models.length, bounds.models);
  bounded("transforms", scenario.transforms.length, bounds.transforms);
  bounded("examples", scenario.examples.length, bounds.examples);
  unique([...scenario.views, ...scenario.transforms]);
  const services = scenario.featureServices ?? [];
  bounded("feature services", services.length, bounds.featureServices);
  unique([...scenario.models, ...services]);
  unique(scenario.indexes);
  for (const [field, type] of Object.entries(scenario.request)) {
    if (!scalarTypes.has(String(type))) fault(scenario.at, `request field "${field}" must be a scalar type`);
  }

  for (const view of scenario.views) {
    name(view);
    checkView(view, fault, name);
    checkTexts(view, fault);
  }
  const types = referenceTypes(scenario);
  for (const transform of scenario.transforms) {
    name(transform);
    if (Object.keys(transform.outputs).length === 0)
      fault(transform.at, `transform "${transform.name}" has no outputs`);
    if (typeof transform.compute !== "function")
      fault(transform.at, `transform "${transform.name}" has no compute function`);
    for (const reference of Object.values(transform.inputs))
      if (!types.has(reference))
        fault(transform.at, `transform "${transform.name}" reads "${reference}", which is not defined`);
  }
  for (const cycle of transformCycles(scenario))
    fault(scenario.transforms.find(({ name: own }) => own === cycle)?.at, `transform "${cycle}" reads its own output`);

  for (const service of services) {
    name(service);
    checkFeatureService(service, types, fault);
  }
  const requestFields = new Set(Object.keys(scenario.request));
  for (const model of scenario.models) {
    name(model);
    checkModel(model, types, requestFields, fault);
  }
  for (const index of scenario.indexes) {
    name(index);
    name(index.item);
    if (!scenario.models.includes(index.model))
      fault(index.at, `model "${index.model?.name}" is not among the scenario's models`);
    if (!scenario.views.includes(index.catalog))
      fault(index.at, `view "${index.catalog?.name}" is not among the scenario's views`);
    else if (index.catalog.entities.length !== 1 || index.catalog.entities[0]?.entity !== index.item)
      fault(index.at, `catalog view "${index.catalog.name}" must have the one entity "${index.item.name}"`);
    for (const reference of index.attributes)
      if (!types.has(reference)) fault(index.at, `attribute "${reference}" is not defined`);
  }
  if (scenario.evaluation?.trainingSet !== undefined) checkSource(scenario.evaluation.trainingSet.source, fault);
  checkPipeline(scenario, types, fault, name);
  for (const [index, example] of scenario.examples.entries())
    checkExample(scenario, example, `example ${index + 1}`, fault);
  if (scenario.examples.length === 0) fault(scenario.at, "needs at least one example, to warm up with and to paste");
  return faults;
}

type Fault = (at: Site | undefined, message: string) => void;

function checkExample(scenario: Scenario, example: Example, where: string, fault: Fault): void {
  const { pipeline } = scenario;
  const entities = pipeline.type === "score" ? pipeline.entities : [pipeline.user];
  for (const { name, key } of entities) {
    const value = example.entities[name];
    const wanted = key === "int64" ? "bigint" : "string";
    if (value === undefined) fault(scenario.at, `${where} has no key for entity "${name}"`);
    else if (typeof value !== wanted)
      fault(scenario.at, `${where}: the key of entity "${name}" is ${key}, in code a ${wanted}, not a ${typeof value}`);
  }
  for (const name of Object.keys(example.entities))
    if (!entities.some((entity) => entity.name === name))
      fault(scenario.at, `${where}: the pipeline has no entity "${name}"`);
  const request = example.request ?? {};
  for (const [field, type] of Object.entries(scenario.request)) {
    const value = request[field];
    const wanted = type === "int64" ? "bigint" : type === "bool" ? "boolean" : type === "string" ? "string" : "number";
    if (value === undefined) fault(scenario.at, `${where} has no request field "${field}"`);
    else if (value !== null && (typeof value !== wanted || Number.isNaN(value)))
      fault(scenario.at, `${where}: request field "${field}" is ${String(type)}, in code a ${wanted}`);
  }
  for (const field of Object.keys(request))
    if (!(field in scenario.request)) fault(scenario.at, `${where}: the scenario has no request field "${field}"`);
  if (typeof example.eventTimeUs !== "bigint") fault(scenario.at, `${where}: eventTimeUs must be a bigint`);
}

function checkSource(source: Source, fault: Fault): void {
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

function isVector(type: ValueType): boolean {
  return (
    typeof type === "object" &&
    "vector" in type &&
    Number.isInteger(type.vector) &&
    type.vector >= 1 &&
    type.vector <= 4096
  );
}

function isKeys(type: ValueType): boolean {
  return typeof type === "object" && "keys" in type && (type.keys === "int64" || type.keys === "string");
}

function checkView(
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
  }
  for (const [own, aggregate] of aggregates) checkAggregate(view, own, aggregate, fault);
  for (const step of view.ladder)
    if (step !== "stale" && step !== "default")
      fault(view.at, `view "${view.name}": ladder step "${step}" must be stale or default`);
}

function checkAggregate(view: FeatureView, own: string, aggregate: Aggregate, fault: Fault): void {
  const where = `view "${view.name}": aggregate "${own}"`;
  checkAggregateField(view, where, aggregate, fault);
  if (aggregate.where !== undefined && view.source.fields[aggregate.where.field] === undefined)
    fault(
      view.at,
      `${where} is filtered by field "${aggregate.where.field}", which source "${view.source.name}" lacks`,
    );
  checkWindows(view, where, aggregate, fault);
  const { function: name, quantile } = aggregate;
  if (name === "quantile" && !(typeof quantile === "number" && quantile >= 0 && quantile <= 1))
    fault(view.at, `${where} needs a quantile from 0 to 1`);
  if (name !== "quantile" && quantile !== undefined) fault(view.at, `${where}: ${name} takes no quantile`);
  const limit = aggregate.limit ?? 100;
  if (!Number.isInteger(limit) || limit < 1 || limit > 10_000) fault(view.at, `${where}: limit must be 1 to 10000`);
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

function checkFeatureService(
  service: FeatureService,
  types: ReadonlyMap<FeatureReference, ValueType>,
  fault: Fault,
): void {
  const where = `feature service "${service.name}"`;
  if (service.features.length === 0 || service.features.length > bounds.features)
    fault(service.at, `${where} needs 1 to ${bounds.features} features`);
  if (new Set(service.features).size !== service.features.length) fault(service.at, `${where} lists a feature twice`);
  for (const reference of service.features)
    if (!types.has(reference)) fault(service.at, `${where} reads "${reference}", which is not defined`);
  checkTexts(service, fault);
}

/** Checks what says who answers for a definition, and what it is for. */
function checkTexts({ kind, name, at, owner, description, tags }: FeatureView | FeatureService, fault: Fault): void {
  for (const [what, text] of Object.entries({ owner, description }))
    if (text !== undefined && (typeof text !== "string" || text.length > bounds.textCharacters))
      fault(at, `${kind} "${name}": ${what} must be a text of at most ${bounds.textCharacters} characters`);
  const entries = Object.entries(tags ?? {});
  if (entries.length > bounds.tags) fault(at, `${kind} "${name}" has more than ${bounds.tags} tags`);
  for (const [tag, text] of entries)
    if (tag === "" || typeof text !== "string" || Math.max(tag.length, text.length) > bounds.tagCharacters)
      fault(
        at,
        `${kind} "${name}": tag "${tag.slice(0, 128)}" must be a text of at most ${bounds.tagCharacters} characters`,
      );
}

function checkModel(
  model: Model,
  types: ReadonlyMap<FeatureReference, ValueType>,
  request: ReadonlySet<string>,
  fault: Fault,
): void {
  if (model.features.length === 0 || model.features.length > bounds.features)
    fault(model.at, `model "${model.name}" needs 1 to ${bounds.features} features`);
  if (new Set(model.features).size !== model.features.length)
    fault(model.at, `model "${model.name}" lists a feature twice`);
  for (const reference of model.features) {
    const type = types.get(reference);
    if (type === undefined) fault(model.at, `model "${model.name}" reads "${reference}", which is not defined`);
    else if (!matrixTypes.has(String(type)))
      fault(model.at, `model "${model.name}" reads "${reference}", which is no number or truth value`);
  }
  const set = model.trainingSet;
  if (set?.kind !== "training-set") {
    fault(model.at, `model "${model.name}" has no training set`);
    return;
  }
  checkSource(set.source, fault);
  if (set.source.fields[set.label] === undefined)
    fault(set.at, `training set "${set.name}": source "${set.source.name}" has no label field "${set.label}"`);
  for (const [entity, field] of Object.entries(set.entities))
    if (set.source.fields[field] === undefined)
      fault(
        set.at,
        `training set "${set.name}": source "${set.source.name}" has no field "${field}" for entity "${entity}"`,
      );
  for (const field of set.extra ?? [])
    if (set.source.fields[field] === undefined)
      fault(set.at, `training set "${set.name}": source "${set.source.name}" has no extra field "${field}"`);
  if (!(set.testShare >= 0 && set.testShare <= 0.5))
    fault(set.at, `training set "${set.name}": testShare must be 0 to 0.5`);
  for (const reference of model.features) {
    const [view = "", field = ""] = reference.split(":", 2);
    if (view === "request" && request.has(field) && set.source.fields[field] === undefined)
      fault(
        set.at,
        `training set "${set.name}": source "${set.source.name}" lacks the request field "${field}" that model "${model.name}" reads`,
      );
  }
  for (const gate of model.gates)
    if (gate.atLeast === undefined && gate.atMost === undefined)
      fault(model.at, `model "${model.name}": gate on "${gate.metric}" has no bound`);
}

function checkPipeline(
  scenario: Scenario,
  types: ReadonlyMap<FeatureReference, ValueType>,
  fault: Fault,
  name: (definition: { readonly kind: string; readonly name: string; readonly at: Site }) => void,
): void {
  const { pipeline } = scenario;
  name(pipeline);
  const model = (used: Model | undefined) => {
    if (used === undefined || !scenario.models.includes(used))
      fault(pipeline.at, `pipeline uses model "${used?.name}", which is not among the scenario's models`);
  };
  const budget = (stage: string, ms: number) => {
    if (!(ms > 0) || ms > pipeline.deadlineMs)
      fault(pipeline.at, `stage "${stage}": budgetMs must be above 0 and at most the pipeline's deadlineMs`);
  };
  if (!(pipeline.deadlineMs >= 1 && pipeline.deadlineMs <= 60_000)) fault(pipeline.at, "deadlineMs must be 1 to 60000");
  if (pipeline.type === "score") {
    model(pipeline.stages.scoring.model);
    pipeline.shadows.forEach(model);
    budget("features", pipeline.stages.features.budgetMs);
    budget("scoring", pipeline.stages.scoring.budgetMs);
    const thresholds = pipeline.decisions.map(({ atLeast }) => atLeast);
    if (thresholds.length === 0 || thresholds.at(-1) !== 0) fault(pipeline.at, "decisions must end with atLeast 0");
    if (thresholds.some((value, index) => index > 0 && value >= (thresholds[index - 1] ?? 0)))
      fault(pipeline.at, "decisions must go from the greatest threshold down");
    if (typeof pipeline.fallback?.rules !== "function") fault(pipeline.at, "fallback.rules must be a function");
    return;
  }
  const { retrieval, filtering, scoring, ordering } = pipeline.stages;
  budget("retrieval", retrieval.budgetMs);
  budget("filtering", filtering.budgetMs);
  budget("scoring", scoring.budgetMs);
  model(scoring.model);
  if (retrieval.sources.length === 0 || retrieval.sources.length > 16)
    fault(pipeline.at, "retrieval needs 1 to 16 sources");
  for (const source of retrieval.sources) {
    model(source.queryModel);
    if (!scenario.indexes.includes(source.index))
      fault(
        pipeline.at,
        `source "${source.name}" uses index "${source.index?.name}", which is not among the scenario's indexes`,
      );
    if (!Number.isInteger(source.count) || source.count < 1 || source.count > 10_000)
      fault(pipeline.at, `source "${source.name}": count must be 1 to 10000`);
  }
  const list = (reference: FeatureReference, what: string) => {
    const type = types.get(reference);
    if (type === undefined) fault(pipeline.at, `${what} "${reference}" is not defined`);
    else if (!isKeys(type)) fault(pipeline.at, `${what} "${reference}" must be a list of keys`);
  };
  if (filtering.seen !== undefined) list(filtering.seen, "seen list");
  list(pipeline.fallback.list, "fallback list");
  for (const reference of ordering.display)
    if (!types.has(reference)) fault(pipeline.at, `display feature "${reference}" is not defined`);
}

/** The type of every reference that a scenario defines: views', transforms' and the request's. */
export function referenceTypes(scenario: Scenario): ReadonlyMap<FeatureReference, ValueType> {
  const types = new Map<FeatureReference, ValueType>();
  for (const view of scenario.views)
    for (const { name, type } of featureNamesOf(view)) types.set(`${view.name}:${name}`, type);
  for (const transform of scenario.transforms)
    for (const [output, type] of Object.entries(transform.outputs)) types.set(`${transform.name}:${output}`, type);
  for (const [field, type] of Object.entries(scenario.request)) types.set(`request:${field}`, type);
  return types;
}

/** Names of transforms that depend on themselves. */
function transformCycles(scenario: Scenario): string[] {
  const byName = new Map(scenario.transforms.map((transform) => [transform.name, transform]));
  const state = new Map<string, "open" | "done">();
  const cycles: string[] = [];
  const visit = (name: string) => {
    if (state.get(name) === "done") return;
    if (state.get(name) === "open") {
      cycles.push(name);
      return;
    }
    state.set(name, "open");
    for (const reference of Object.values(byName.get(name)?.inputs ?? {})) {
      const view = reference.split(":", 1)[0] ?? "";
      if (byName.has(view)) visit(view);
    }
    state.set(name, "done");
  };
  for (const name of byName.keys()) visit(name);
  return cycles;
}
