import { checkSource, checkView } from "./check-view.ts";
import type {
  Example,
  FeatureReference,
  FeatureService,
  FeatureView,
  Model,
  Scenario,
  ValueType,
} from "./definitions.ts";
import type { Fault, ScenarioFault } from "./fault.ts";
import { featureNamesOf } from "./features.ts";
import type { Site } from "./site.ts";
import { describeType, isKeys, matrixTypes, scalarTypes } from "./value-types.ts";

/** Names of scenarios, entities, views, models and the like. */
const namePattern = /^[a-z][a-z0-9_]{0,62}$/;
const outputTypes: ReadonlySet<string> = new Set(["float32", "float64", "int64", "bool", "string"]);
const bounds = {
  views: 200,
  features: 2_000,
  models: 50,
  transforms: 200,
  examples: 100,
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
  unique(scenario.views.flatMap((view) => view.entities.map(({ entity }) => entity)));
  unique([
    ...scenario.views.flatMap(({ source }) => source ?? []),
    ...scenario.models.flatMap(({ trainingSet }) => trainingSet?.source ?? []),
  ]);
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
    for (const [output, type] of Object.entries(transform.outputs))
      if (!outputTypes.has(type))
        fault(
          transform.at,
          `transform "${transform.name}": output "${output}" has the unknown type ${JSON.stringify(type)}`,
        );
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
    checkTrainingKeys(scenario, model, fault);
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
  else if (!matrixTypes.has(String(set.source.fields[set.label])))
    fault(set.at, `training set "${set.name}": label "${set.label}" is no number or truth value`);
  if (set.labelTime !== undefined && set.labelTime !== set.source.eventTime && set.labelTime !== set.source.createdTime)
    if (set.source.fields[set.labelTime] !== "int64")
      fault(
        set.at,
        `training set "${set.name}": source "${set.source.name}" has no int64 field "${set.labelTime}" with the label's time`,
      );
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

/** A training set must have a key for every view that its model reads, by way of transforms too. */
function checkTrainingKeys(scenario: Scenario, model: Model, fault: Fault): void {
  const set = model.trainingSet;
  if (set?.kind !== "training-set") return;
  const seen = new Set<string>();
  const missing = new Set<string>();
  const visit = (reference: FeatureReference) => {
    const owner = reference.split(":", 1)[0] ?? "";
    if (seen.has(owner)) return;
    seen.add(owner);
    const transform = scenario.transforms.find(({ name }) => name === owner);
    if (transform !== undefined) for (const input of Object.values(transform.inputs)) visit(input);
    for (const { entity } of scenario.views.find(({ name }) => name === owner)?.entities ?? []) {
      const field = set.entities[entity.name];
      const type = field === undefined ? undefined : set.source.fields[field];
      if (field === undefined) {
        if (!missing.has(entity.name))
          fault(
            set.at,
            `training set "${set.name}" names no field for entity "${entity.name}", by which model "${model.name}" reads view "${owner}"`,
          );
        missing.add(entity.name);
      } else if (type !== undefined && type !== entity.key)
        fault(
          set.at,
          `training set "${set.name}": field "${field}" is ${describeType(type)} but entity "${entity.name}" has ${entity.key} keys`,
        );
    }
  };
  model.features.forEach(visit);
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
