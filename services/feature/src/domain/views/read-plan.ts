import type { FeatureReference, Scenario, Transform, Value, ValueType } from "@weft/scenario";
import { errors } from "../../errors.ts";
import { type OnlineStore, ReadBatch, type StoredValue, type ViewHandle } from "../online/online-store.ts";
import { type EntityKey, joinKeys } from "./entity-key.ts";
import { checkedOutput } from "./transform.ts";
import { type CompiledView, Status, type ViewReading } from "./view-state.ts";

/** A view of a release, where its states are, and the version that the registry gave it. */
export interface PlannedView {
  readonly compiled: CompiledView;
  readonly handle: ViewHandle;
  readonly version: string;
}

/** What a plan is compiled from. */
export interface PlanSources {
  readonly scenario: Scenario;
  /** By view name. */
  readonly views: ReadonlyMap<string, PlannedView>;
}

/** An entity whose keys a plan needs. */
export interface PlanEntity {
  readonly name: string;
  readonly key: "string" | "int64";
}

/** A request field that a plan needs. */
export interface PlanField {
  readonly name: string;
  readonly type: ValueType;
}

/** A column of the answer. */
export interface PlanColumn {
  readonly reference: FeatureReference;
  readonly type: ValueType;
}

/** Summary of what was read from one view. */
export interface ViewSummary {
  readonly view: string;
  readonly version: string;
  /** Values that were not PRESENT, over all rows. */
  missingCount: number;
  /** Values that a default stood in for. */
  defaultedCount: number;
  /** Values older than the TTL or the request's budget that no default stood in for. */
  outsideMaxAgeCount: number;
  /** Greatest age of a value at read time in microseconds; -1 where no value was found. */
  maxAgeUs: number;
}

/** A column to fill, one place a row. A float or bool that has no value is 0 or false, any other null. */
export interface ColumnTarget {
  readonly held:
    | { readonly kind: "floats"; readonly list: number[] }
    | { readonly kind: "bools"; readonly list: boolean[] }
    | { readonly kind: "values"; readonly list: Value[] };
  readonly statuses: number[];
  /** Event times in microseconds, 0 where there is none; undefined where nobody asked. */
  readonly eventTimesUs: bigint[] | undefined;
}

/** Takes the values of an evaluated step for one row, or for all rows where they are the same. */
interface Sink {
  write(step: Step, firstRow: number, endRow: number): void;
}

/** A step of a plan: it gives values at positions; `outputs` says which of them are columns. */
interface Step {
  readonly numbers: Float64Array;
  readonly statuses: Uint8Array;
  readonly types: readonly ValueType[];
  /** Event time of the values in microseconds; NaN where there is none. */
  readonly eventTimeUs: number;
  /** Inputs of the request (entities, then fields, then the time of the read) that the step's values depend on. */
  readonly inputs: readonly number[];
  /** Pairs of position and column. */
  outputs: Int32Array;
  /** The exact value at a position. */
  value(position: number): Value;
}

class ViewStep implements Step {
  readonly view: PlannedView;
  readonly inputs: readonly number[];
  /** The inputs that are its entities. */
  readonly entities: readonly number[];
  readonly reading: ViewReading;
  readonly numbers: Float64Array;
  readonly statuses: Uint8Array;
  readonly types: readonly ValueType[];
  outputs = new Int32Array(0);

  /** `time`: the input that is the time of the read. */
  constructor(view: PlannedView, entities: readonly number[], time: number, features: readonly string[]) {
    this.view = view;
    this.entities = entities;
    this.inputs = [...entities, time];
    this.reading = view.compiled.createReading(features);
    this.numbers = this.reading.numbers;
    this.statuses = this.reading.statuses;
    this.types = this.reading.features.map(({ type }) => type);
  }

  get eventTimeUs(): number {
    return this.reading.eventTimeUs;
  }

  value(position: number): Value {
    return this.reading.value(position);
  }

  /**
   * Reads one place of a batch. A place that the store could not be asked for goes down the view's ladder: the last
   * value known where it has "stale", else the default where it has "default", else nothing.
   */
  read(batch: ReadBatch, place: number, asOfUs: number, maxAgeUs: number | undefined): void {
    const stored = batch.values[place];
    if (batch.unread === undefined || !batch.unread.has(place)) this.#read(stored, asOfUs, maxAgeUs);
    else if (stored === undefined || !this.view.compiled.view.ladder.includes("stale")) this.reading.withhold();
    else {
      this.#read(stored, asOfUs, maxAgeUs);
      for (let i = 0; i < this.statuses.length; i++)
        if (this.statuses[i] === Status.Present) this.statuses[i] = Status.OutsideMaxAge;
    }
  }

  #read(stored: StoredValue | undefined, asOfUs: number, maxAgeUs: number | undefined): void {
    const { compiled } = this.view;
    let state = stored?.decoded;
    if (stored !== undefined && state === undefined) {
      try {
        state = compiled.decode(stored.bytes);
      } catch (cause) {
        throw errors.STATE_CORRUPT({ view: compiled.name }, { cause });
      }
      stored.decoded = state;
    }
    compiled.read(state, asOfUs, this.reading, maxAgeUs);
  }
}

/** Values that come one by one: of a request field, or of a transform. */
abstract class ValueStep implements Step {
  readonly numbers: Float64Array;
  readonly statuses: Uint8Array;
  readonly types: readonly ValueType[];
  readonly inputs: readonly number[];
  readonly eventTimeUs = Number.NaN;
  outputs = new Int32Array(0);
  readonly #values: Value[];

  constructor(types: readonly ValueType[], inputs: readonly number[]) {
    this.types = types;
    this.inputs = inputs;
    this.numbers = new Float64Array(types.length);
    this.statuses = new Uint8Array(types.length);
    this.#values = types.map(() => null);
  }

  value(position: number): Value {
    return this.#values[position] ?? null;
  }

  protected set(position: number, value: Value): void {
    this.#values[position] = value;
    this.statuses[position] = value === null ? Status.Null : Status.Present;
    this.numbers[position] =
      typeof value === "number"
        ? value
        : typeof value === "bigint" || typeof value === "boolean"
          ? Number(value)
          : Number.NaN;
  }
}

class FieldStep extends ValueStep {
  readonly field: number;
  constructor(field: number, input: number, type: ValueType) {
    super([type], [input]);
    this.field = field;
  }

  take(values: readonly Value[], row: number): void {
    this.set(0, values[values.length === 1 ? 0 : row] ?? null);
  }
}

interface TransformInput {
  readonly name: string;
  readonly step: Step;
  readonly position: number;
  readonly type: ValueType | undefined;
}

class TransformStep extends ValueStep {
  readonly #transform: Transform;
  readonly #outputNames: readonly string[];
  readonly sources: readonly TransformInput[];
  /** Handed to every call; inputs that are the same for all rows are set once. */
  readonly #arguments: Record<string, Value>;

  constructor(transform: Transform, outputs: readonly string[], sources: readonly TransformInput[]) {
    super(
      outputs.map((name) => transform.outputs[name] ?? "float64"),
      [...new Set(sources.flatMap(({ step }) => step.inputs))],
    );
    this.#transform = transform;
    this.#outputNames = outputs;
    this.sources = sources;
    this.#arguments = Object.fromEntries(sources.map(({ name }) => [name, null]));
  }

  load(source: TransformInput): void {
    const { name, step, position } = source;
    switch (source.type) {
      case "float32":
      case "float64": {
        const number = step.numbers[position] ?? Number.NaN;
        this.#arguments[name] = Number.isNaN(number) ? null : number;
        return;
      }
      case "bool": {
        const number = step.numbers[position] ?? Number.NaN;
        this.#arguments[name] = Number.isNaN(number) ? null : number !== 0;
        return;
      }
      default:
        this.#arguments[name] = step.value(position);
    }
  }

  compute(): void {
    let answers: Readonly<Record<string, Value | undefined>>;
    try {
      answers = this.#transform.compute(this.#arguments as Readonly<Record<string, never>>);
    } catch (cause) {
      throw errors.TRANSFORM_FAILED({ transform: this.#transform.name }, { cause });
    }
    const names = this.#outputNames;
    for (let i = 0; i < names.length; i++) {
      const name = names[i] ?? "";
      this.set(i, checkedOutput(this.#transform, name, answers[name] ?? null));
    }
  }
}

/** One execution of a plan; reused. */
export class PlanRun {
  rows = 1;
  /** Keys of each entity of the plan: one, or one a row. */
  readonly keys: (readonly EntityKey[])[] = [];
  /** Values of each request field of the plan: one, or one a row. */
  readonly fields: (readonly Value[])[] = [];
  /** Times to read the rows as of, in microseconds, where they differ; empty: all rows as of one time. */
  asOfsUs: readonly number[] = [];
  /** Greatest age of a row in microseconds, by view of the plan; empty where only the TTLs hold. */
  maxAgesUs: readonly number[] = [];
  readonly batch = new ReadBatch();
  /** First place of each view step in the batch. */
  readonly starts: number[] = [];
  /** Of each input: whether it differs from row to row. */
  readonly varies: boolean[] = [];
}

const numericTypes = new Set<ValueType>(["float32", "float64", "int64", "bool"]);

/**
 * Reads a list of features: compiled once for a release, then run for each request. Steps are in an order in which what
 * they need comes first. A step whose inputs are the same for all rows is evaluated once.
 */
export class ReadPlan {
  readonly columns: readonly PlanColumn[];
  /** Names of a matrix's columns: a vector has one an element. */
  readonly matrixNames: readonly string[];
  readonly entities: readonly PlanEntity[];
  readonly fields: readonly PlanField[];
  /** The first column that no matrix can hold; undefined where a matrix can hold all. */
  readonly notNumeric: FeatureReference | undefined;
  readonly #steps: readonly (ViewStep | FieldStep | TransformStep)[];
  readonly #viewSteps: readonly ViewStep[];
  /** First column of each reference in a matrix, and elements of a vector; 0 for what is none. */
  readonly #matrixPlaces: readonly { readonly at: number; readonly size: number }[];
  readonly #hasVectors: boolean;
  readonly #runs: PlanRun[] = [];

  /** Throws FEATURE_UNKNOWN and DEFINITION_INVALID (transforms that read each other in a circle). */
  constructor(sources: PlanSources, references: readonly FeatureReference[]) {
    const builder = new PlanBuilder(sources);
    const places = references.map((reference) => builder.need(reference));
    const { steps, entities, fields } = builder.build();
    this.entities = entities;
    this.fields = fields;
    this.#steps = steps;
    this.#viewSteps = steps.filter((step) => step instanceof ViewStep);
    const outputs = new Map<Step, number[]>();
    this.columns = references.map((reference, column) => {
      const { step: of, position } = places[column]?.() ?? {};
      const type = of?.types[position ?? 0];
      if (of === undefined || position === undefined || type === undefined)
        throw errors.FEATURE_UNKNOWN({ feature: reference, scenario: sources.scenario.name });
      const pairs = outputs.get(of) ?? [];
      pairs.push(position, column);
      outputs.set(of, pairs);
      return { reference, type };
    });
    for (const [step, pairs] of outputs) step.outputs = Int32Array.from(pairs);
    this.matrixNames = this.columns.flatMap(({ reference, type }) => {
      const size = vectorSize(type);
      return size === 0 ? reference : Array.from({ length: size }, (_, index) => `${reference}[${index}]`);
    });
    let width = 0;
    this.#matrixPlaces = this.columns.map(({ type }) => {
      const size = vectorSize(type);
      const at = width;
      width += Math.max(1, size);
      return { at, size };
    });
    this.#hasVectors = width > this.columns.length || this.columns.some(({ type }) => vectorSize(type) > 0);
    this.notNumeric = this.columns.find(({ type }) => !numericTypes.has(type) && vectorSize(type) === 0)?.reference;
  }

  /** Views that the plan reads. */
  get views(): readonly PlannedView[] {
    return this.#viewSteps.map(({ view }) => view);
  }

  /** A run to fill with keys, fields and rows; give it back with `release`. */
  acquire(): PlanRun {
    return this.#runs.pop() ?? new PlanRun();
  }

  release(run: PlanRun): void {
    // As many as requests have been in flight at once, which the store bounds; a plan of a synchronous store needs one.
    if (this.#runs.length < 16) this.#runs.push(run);
  }

  /** Looks up every key of a run in the store. Answers undefined where the store has answered already. */
  fetch(run: PlanRun, store: OnlineStore): undefined | Promise<void> {
    const { batch, rows, varies } = run;
    const entityCount = this.entities.length;
    for (let i = 0; i < entityCount; i++) varies[i] = (run.keys[i]?.length ?? 1) > 1;
    for (let i = 0; i < this.fields.length; i++) varies[entityCount + i] = (run.fields[i]?.length ?? 1) > 1;
    varies[entityCount + this.fields.length] = run.asOfsUs.length > 0;
    batch.clear();
    for (let s = 0; s < this.#viewSteps.length; s++) {
      const step = this.#viewSteps[s];
      if (step === undefined) continue;
      run.starts[s] = batch.size;
      const count = variesIn(step, run) ? rows : 1;
      const { entities } = step;
      if (entities.length === 1) {
        const keys = run.keys[entities[0] ?? 0] ?? [];
        for (let row = 0; row < count; row++) batch.add(step.view.handle, keyAt(keys, row));
      } else {
        for (let row = 0; row < count; row++) {
          const parts: EntityKey[] = [];
          for (const entity of entities) parts.push(keyAt(run.keys[entity] ?? [], row));
          batch.add(step.view.handle, joinKeys(parts));
        }
      }
    }
    return store.get(batch);
  }

  /** True where the store could not be asked and no view's ladder has anything that stands in: there is no answer. */
  isUnanswered({ batch, starts }: PlanRun): boolean {
    const { unread } = batch;
    if (unread === undefined || unread.size < batch.size) return false;
    return this.#viewSteps.every(({ reading, view }, s) => {
      if (reading.features.some((feature) => feature.default !== undefined)) return false;
      if (!view.compiled.view.ladder.includes("stale")) return true;
      const end = starts[s + 1] ?? batch.size;
      return batch.values.slice(starts[s], Math.min(end, batch.size)).every((value) => value === undefined);
    });
  }

  /**
   * Evaluates a fetched run into `values` and `statuses` (row-major, one place a row and column; NaN where there is no
   * value). Answers a summary a view.
   */
  toMatrix(run: PlanRun, asOfUs: number, values: Float32Array, statuses: Uint8Array): ViewSummary[] {
    const width = this.matrixNames.length;
    if (this.#hasVectors) return this.#evaluate(run, asOfUs, this.#vectorSink(width, values, statuses));
    return this.#evaluate(run, asOfUs, {
      write({ numbers, statuses: found, outputs }, firstRow, endRow) {
        for (let row = firstRow; row < endRow; row++) {
          const base = row * width;
          for (let i = 0; i < outputs.length; i += 2) {
            const position = outputs[i] ?? 0;
            const place = base + (outputs[i + 1] ?? 0);
            values[place] = numbers[position] ?? Number.NaN;
            statuses[place] = found[position] ?? 0;
          }
        }
      },
    });
  }

  /** Writes a matrix in which vectors lie beside numbers. */
  #vectorSink(width: number, values: Float32Array, statuses: Uint8Array): Sink {
    const places = this.#matrixPlaces;
    return {
      write(step, firstRow, endRow) {
        const { outputs } = step;
        for (let i = 0; i < outputs.length; i += 2) {
          const position = outputs[i] ?? 0;
          const { at = 0, size = 0 } = places[outputs[i + 1] ?? 0] ?? {};
          const status = step.statuses[position] ?? 0;
          const vector = size > 0 ? step.value(position) : null;
          for (let row = firstRow; row < endRow; row++) {
            const place = row * width + at;
            if (size === 0) values[place] = step.numbers[position] ?? Number.NaN;
            else if (vector instanceof Float32Array) values.set(vector, place);
            else values.fill(Number.NaN, place, place + size);
            statuses.fill(status, place, place + Math.max(1, size));
          }
        }
      },
    };
  }

  /** Evaluates a fetched run into a column a reference, in their order, each of the run's rows. Answers a summary a view. */
  toColumns(run: PlanRun, asOfUs: number, columns: readonly ColumnTarget[]): ViewSummary[] {
    return this.#evaluate(run, asOfUs, {
      write(step, firstRow, endRow) {
        const { outputs } = step;
        const time = step.eventTimeUs;
        const eventTimeUs = Number.isNaN(time) ? 0n : BigInt(time);
        for (let i = 0; i < outputs.length; i += 2) {
          const position = outputs[i] ?? 0;
          const column = columns[outputs[i + 1] ?? 0];
          if (column === undefined) continue;
          const { held, statuses, eventTimesUs } = column;
          const status = step.statuses[position] ?? 0;
          const number = step.numbers[position] ?? Number.NaN;
          const value = held.kind === "values" ? step.value(position) : null;
          for (let row = firstRow; row < endRow; row++) {
            if (held.kind === "floats") held.list[row] = Number.isNaN(number) ? 0 : number;
            else if (held.kind === "bools") held.list[row] = number === 1;
            else held.list[row] = value;
            statuses[row] = status;
            if (eventTimesUs !== undefined) eventTimesUs[row] = eventTimeUs;
          }
        }
      },
    });
  }

  #evaluate(run: PlanRun, asOfUs: number, sink: Sink): ViewSummary[] {
    const { rows } = run;
    const summaries: ViewSummary[] = [];
    let varying = 0;
    let view = 0;
    for (let s = 0; s < this.#steps.length; s++) {
      const step = this.#steps[s];
      if (step === undefined) continue;
      const isVarying = variesIn(step, run);
      if (isVarying) varying++;
      if (step instanceof ViewStep) {
        const { compiled, version } = step.view;
        const summary: ViewSummary = {
          view: compiled.name,
          version,
          missingCount: 0,
          defaultedCount: 0,
          outsideMaxAgeCount: 0,
          maxAgeUs: -1,
        };
        summaries.push(summary);
        const start = run.starts[view] ?? 0;
        const maxAgeUs = run.maxAgesUs[view++];
        if (isVarying) continue;
        step.read(run.batch, start, asOfUs, maxAgeUs);
        summarize(summary, step, asOfUs, rows);
      } else if (step instanceof FieldStep) {
        if (isVarying) continue;
        step.take(run.fields[step.field] ?? [], 0);
      } else {
        // What is the same for all rows is handed over once, also to a transform that runs for each of them.
        for (const source of step.sources) if (!isVarying || !variesIn(source.step, run)) step.load(source);
        if (isVarying) continue;
        step.compute();
      }
      sink.write(step, 0, rows);
    }
    if (varying > 0) for (let row = 0; row < rows; row++) this.#evaluateRow(run, asOfUs, sink, row, summaries);
    return summaries;
  }

  #evaluateRow(run: PlanRun, asOfUs: number, sink: Sink, row: number, summaries: readonly ViewSummary[]): void {
    const rowAsOfUs = run.asOfsUs[row] ?? asOfUs;
    let view = 0;
    for (let s = 0; s < this.#steps.length; s++) {
      const step = this.#steps[s];
      if (step === undefined) continue;
      const isView = step instanceof ViewStep;
      const place = isView ? view++ : -1;
      if (!variesIn(step, run)) continue;
      if (isView) {
        step.read(run.batch, (run.starts[place] ?? 0) + row, rowAsOfUs, run.maxAgesUs[place]);
        const summary = summaries[place];
        if (summary !== undefined) summarize(summary, step, rowAsOfUs, 1);
      } else if (step instanceof FieldStep) {
        step.take(run.fields[step.field] ?? [], row);
      } else {
        for (const source of step.sources) if (variesIn(source.step, run)) step.load(source);
        step.compute();
      }
      sink.write(step, row, row + 1);
    }
  }
}

/** Elements of a vector; 0 for any other type. */
function vectorSize(type: ValueType): number {
  return typeof type === "object" && "vector" in type ? type.vector : 0;
}

/** The key of a row: its own, or the one that stands for all rows. */
function keyAt(keys: readonly EntityKey[], row: number): EntityKey {
  return keys[keys.length === 1 ? 0 : row] ?? "";
}

function variesIn(step: Step, run: PlanRun): boolean {
  const { inputs } = step;
  for (let i = 0; i < inputs.length; i++) if (run.varies[inputs[i] ?? 0] === true) return true;
  return false;
}

function summarize(summary: ViewSummary, step: ViewStep, asOfUs: number, rows: number): void {
  const { statuses } = step;
  for (let i = 0; i < statuses.length; i++) {
    const status = statuses[i];
    if (status === Status.Present) continue;
    summary.missingCount += rows;
    if (status === Status.Defaulted) summary.defaultedCount += rows;
    else if (status === Status.OutsideMaxAge) summary.outsideMaxAgeCount += rows;
  }
  const ageUs = asOfUs - step.eventTimeUs;
  if (ageUs > summary.maxAgeUs) summary.maxAgeUs = ageUs;
}

interface Place {
  readonly step: Step;
  readonly position: number;
}

/** Collects what is needed, then makes the steps in order. */
class PlanBuilder {
  readonly #sources: PlanSources;
  readonly #entities: PlanEntity[] = [];
  readonly #fields: PlanField[] = [];
  /** Names of the features needed, by view, transform or "request". */
  readonly #needed = new Map<string, string[]>();
  /** Views, transforms and request fields in an order in which what they need comes first. */
  readonly #order: string[] = [];
  readonly #open = new Set<string>();
  readonly #steps = new Map<string, ViewStep | FieldStep | TransformStep>();

  constructor(sources: PlanSources) {
    this.#sources = sources;
  }

  /** Notes a reference and what it needs; the answer gives its place once the plan is built. */
  need(reference: FeatureReference): () => Place | undefined {
    const colon = reference.indexOf(":");
    const owner = reference.slice(0, Math.max(0, colon));
    const name = reference.slice(colon + 1);
    const unknown = () => errors.FEATURE_UNKNOWN({ feature: reference, scenario: this.#sources.scenario.name });
    if (owner === "request") {
      const type = this.#sources.scenario.request[name];
      if (type === undefined) throw unknown();
      if (!this.#fields.some((field) => field.name === name)) {
        this.#fields.push({ name, type });
        this.#order.push(`request:${name}`);
      }
      return () => place(this.#steps.get(`request:${name}`), 0);
    }
    const view = this.#sources.views.get(owner);
    const transform = this.#sources.scenario.transforms.find((candidate) => candidate.name === owner);
    const isKnown =
      view === undefined
        ? transform !== undefined && Object.hasOwn(transform.outputs, name)
        : view.compiled.features.some((feature) => feature.name === name);
    if (!isKnown) throw unknown();
    const names = this.#needed.get(owner);
    if (names === undefined) {
      this.#needed.set(owner, [name]);
      if (view !== undefined) for (const { entity } of view.compiled.view.entities) this.#needEntity(entity);
      if (transform !== undefined) this.#needInputs(transform);
      this.#order.push(owner);
    } else if (this.#open.has(owner))
      throw errors.DEFINITION_INVALID({ fault: `transform "${owner}" reads its own output` });
    else if (!names.includes(name)) names.push(name);
    return () => place(this.#steps.get(owner), this.#needed.get(owner)?.indexOf(name) ?? -1);
  }

  build() {
    for (const owner of this.#order) this.#steps.set(owner, this.#stepOf(owner));
    return { steps: [...this.#steps.values()], entities: this.#entities, fields: this.#fields };
  }

  #needEntity({ name, key }: PlanEntity) {
    if (!this.#entities.some((entity) => entity.name === name)) this.#entities.push({ name, key });
  }

  #needInputs(transform: Transform) {
    this.#open.add(transform.name);
    for (const input of Object.values(transform.inputs)) this.need(input);
    this.#open.delete(transform.name);
  }

  #stepOf(owner: string): ViewStep | FieldStep | TransformStep {
    const names = this.#needed.get(owner) ?? [];
    const view = this.#sources.views.get(owner);
    if (view !== undefined) {
      const entities = view.compiled.view.entities.map(({ entity }) =>
        this.#entities.findIndex((known) => known.name === entity.name),
      );
      return new ViewStep(view, entities, this.#entities.length + this.#fields.length, names);
    }
    const transform = this.#sources.scenario.transforms.find((candidate) => candidate.name === owner);
    if (transform !== undefined) {
      const sources = Object.entries(transform.inputs).flatMap(([name, reference]): TransformInput[] => {
        const found = this.need(reference)();
        return found === undefined ? [] : [{ name, ...found, type: found.step.types[found.position] }];
      });
      return new TransformStep(transform, names, sources);
    }
    const field = this.#fields.findIndex(({ name }) => `request:${name}` === owner);
    return new FieldStep(field, this.#entities.length + field, this.#fields[field]?.type ?? "float64");
  }
}

function place(step: Step | undefined, position: number): Place | undefined {
  return step === undefined || position < 0 ? undefined : { step, position };
}
