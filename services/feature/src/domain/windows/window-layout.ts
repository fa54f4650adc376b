import { type Aggregate, aggregateType, type FeatureView, type Value, type ValueType } from "@weft/scenario";
import type { SourceField, ViewFeature } from "../views/view-state.ts";
import { type DictionaryKind, dictionaryKind } from "./dictionary.ts";
import { DistinctSketch } from "./distinct-sketch.ts";
import { QuantileSketch } from "./quantile-sketch.ts";
import type { Sketch } from "./sketch.ts";
import { isSameWindow, TileLevels, type WindowSpec, windowSpec } from "./window.ts";

/** Words (doubles) before the tiles: tag, newest event time, tiles, words of tiles, raw events, values not kept. */
export const Header = { Tag: 0, Newest: 1, Tiles: 2, TileWords: 3, Raw: 4, Overflow: 5, Words: 6 } as const;

/** Words of a tile before its accumulators: start, width, first and last event time, words of the whole tile. */
export const Tile = { Start: 0, Width: 1, First: 2, Last: 3, Size: 4, Words: 5 } as const;

/** What an accumulator gathers. Words: count 1; sum 3 (terms, pair); squares 2; min 1; max 1; last 3 (time, created, value). */
export const Gather = { Count: 0, Sum: 1, Squares: 2, Min: 3, Max: 4, Last: 5 } as const;

/** An accumulator over one column of the events that pass a condition. */
export interface Slot {
  readonly gather: number;
  /** Word of the column inside a raw event, NaN where the field is null; -1 for none (counts every event). */
  readonly column: number;
  /** First word among the accumulators. */
  readonly at: number;
  /** Bit of the condition in a raw event's mask; 0 for none. */
  readonly where: number;
}

/** The different values of one column over the events that pass a condition, with what is needed of each. */
export interface ValueSet {
  readonly column: number;
  readonly dictionary: number;
  readonly where: number;
  /** Newest values to keep in tiles, where only those are ever answered; 0 = all. */
  readonly newestMax: number;
}

/** What a sketch summarizes. */
export type SketchKind = "distinct" | "quantile";

/** A sketch of one column over the events that pass a condition. */
export interface SketchSlot {
  readonly kind: SketchKind;
  readonly column: number;
  readonly where: number;
}

/** An empty sketch. */
export function createSketch(kind: SketchKind): Sketch {
  return kind === "distinct" ? new DistinctSketch() : new QuantileSketch();
}

/** Words of an entry of a value set: code, events, event time and created time of the newest. */
export const setEntryWords = 4;

/** One feature: a function over a window. */
export interface WindowOutput {
  readonly feature: ViewFeature;
  readonly aggregate: Aggregate;
  /** Index into `windows`. */
  readonly window: number;
  /** Accumulators it reads, by number; -1 for none. */
  readonly slot: number;
  /** Second accumulator: squares of std. */
  readonly squares: number;
  /** Value set it reads; -1 for none. */
  readonly set: number;
  /** Sketch it reads; -1 for none. */
  readonly sketch: number;
  readonly limit: number;
}

/** A column of raw events: from which field, and how it is kept. */
export interface RawColumn {
  /** Index into a row's values. */
  readonly field: number;
  readonly type: ValueType;
  /** Index of the dictionary; -1 where the column holds numbers, or 1 for any value that is no number. */
  readonly dictionary: number;
  /** Set where the column holds the codes of a sketch. */
  readonly sketch: SketchKind | undefined;
}

/** A condition on a row. */
export interface Condition {
  readonly field: number;
  readonly equals: Value;
}

/** Most conditions (`where`) of a view: the bits of a mask. */
const conditionsMax = 30;

/** Bounds of a state. */
export interface WindowBounds {
  /** Newest events kept as they came, so that the right edge of a read in the past is exact; 2 or more. */
  readonly rawMax: number;
  /** Different values of one field that a state tells apart; further ones are not counted by distinct, recent and top. */
  readonly valuesMax: number;
  /** How far before its newest event a state can be read with every window exact, in microseconds. */
  readonly hindsightUs: number;
}

/** Bounds unless given: 64 events, 10,000 values, 5 minutes. */
export const defaultWindowBounds: WindowBounds = { rawMax: 64, valuesMax: 10_000, hindsightUs: 300_000_000 };

/** Where everything lies in the packed state of a window view. */
export interface WindowLayout {
  readonly outputs: readonly WindowOutput[];
  readonly windows: readonly WindowSpec[];
  readonly levels: TileLevels;
  readonly slots: readonly Slot[];
  readonly sets: readonly ValueSet[];
  readonly sketches: readonly SketchSlot[];
  readonly columns: readonly RawColumn[];
  readonly conditions: readonly Condition[];
  readonly dictionaries: readonly DictionaryKind[];
  /** Word of the created time in a raw event; -1 where the source has none. */
  readonly createdAt: number;
  /** Word of the mask in a raw event; -1 where there are no conditions. */
  readonly maskAt: number;
  /** First column's word in a raw event. */
  readonly columnsAt: number;
  /** Words of a raw event. */
  readonly stride: number;
  /** Accumulators before the first event. */
  readonly zeros: Float64Array;
  readonly bounds: WindowBounds;
  /** Identifies the layout; a whole number below 2^48. */
  readonly tag: number;
}

const numericTypes = new Set<ValueType>(["float32", "float64", "int64", "bool"]);

function describe(type: ValueType): string {
  return typeof type === "string" ? type : JSON.stringify(type);
}

function isDefaultFor(type: ValueType, value: number): boolean {
  if (type === "bool") return value === 0 || value === 1;
  return type === "int64" ? Number.isSafeInteger(value) : type === "float32" || type === "float64";
}

/** Finds or adds; answers the index. */
function intern<T>(list: T[], item: T, same: (other: T) => boolean): number {
  const found = list.findIndex(same);
  if (found >= 0) return found;
  list.push(item);
  return list.length - 1;
}

/** Lays out a window view. RangeError on an aggregate that makes no sense. */
export function layoutWindows(
  view: FeatureView,
  fields: readonly SourceField[],
  tag: number,
  bounds: WindowBounds = defaultWindowBounds,
): WindowLayout {
  const specs: WindowSpec[] = [];
  for (const aggregate of Object.values(view.aggregates))
    for (const window of aggregate.windows) {
      const spec = windowSpec(window, aggregate);
      intern(specs, spec, (other) => isSameWindow(other, spec));
    }
  const windows = specs.sort((a, b) => a.windowUs - b.windowUs || a.slideUs - b.slideUs);

  const hasCreated = view.source.createdTime !== undefined;
  const conditions: Condition[] = [];
  const columns: RawColumn[] = [];
  const dictionaries: DictionaryKind[] = [];
  const slots: Omit<Slot, "column">[] = [];
  const slotColumns: number[] = [];
  const sets: { column: number; where: number; newestMax: number }[] = [];
  const sketches: SketchSlot[] = [];
  const outputs: WindowOutput[] = [];
  let accumulatorWords = 0;

  const fieldIndex = (name: string, what: string): number => {
    const index = fields.findIndex((field) => field.name === name);
    if (index < 0) throw new RangeError(`${what} names a field "${name}" that source "${view.source.name}" has not`);
    return index;
  };
  const addSlot = (gather: number, column: number, where: number): number => {
    const found = slots.findIndex((s, i) => s.gather === gather && slotColumns[i] === column && s.where === where);
    if (found >= 0) return found;
    slots.push({ gather, at: accumulatorWords, where });
    slotColumns.push(column);
    accumulatorWords += gather === Gather.Sum || gather === Gather.Last ? 3 : gather === Gather.Squares ? 2 : 1;
    return slots.length - 1;
  };
  const addColumn = (field: number, coded: boolean, sketch?: SketchKind): number => {
    const type = fields[field]?.type ?? "float64";
    const same = (other: RawColumn) =>
      other.field === field && other.dictionary >= 0 === coded && other.sketch === sketch;
    const found = columns.findIndex(same);
    if (found >= 0) return found;
    const kind = coded ? dictionaryKind(type) : undefined;
    columns.push({ field, type, dictionary: kind === undefined ? -1 : dictionaries.push(kind) - 1, sketch });
    return columns.length - 1;
  };
  const addSketch = (kind: SketchKind, field: number, where: number): number => {
    const sketch = { kind, column: addColumn(field, false, kind), where };
    return intern(sketches, sketch, (other) => other.column === sketch.column && other.where === where);
  };
  const addSet = (column: number, where: number, newestMax: number): number => {
    const index = intern(sets, { column, where, newestMax }, (s) => s.column === column && s.where === where);
    const set = sets[index];
    if (set !== undefined)
      set.newestMax = newestMax === 0 || set.newestMax === 0 ? 0 : Math.max(set.newestMax, newestMax);
    return index;
  };

  for (const [name, aggregate] of Object.entries(view.aggregates)) {
    const what = `aggregate "${name}" of view "${view.name}"`;
    const field = aggregate.field === undefined ? -1 : fieldIndex(aggregate.field, what);
    const type = fields[field]?.type;
    const where = aggregate.where === undefined ? 0 : addCondition(aggregate.where, what);
    const limit = aggregate.limit ?? 100;
    if (aggregate.function !== "count" && type === undefined) throw new RangeError(`${what} needs a field`);
    if (!Number.isInteger(limit) || limit < 1 || limit > 10_000)
      throw new RangeError(`${what}: limit must be a whole number from 1 to 10000`);
    if (aggregate.windows.length === 0) throw new RangeError(`${what} has no window`);
    const checkNumber = () => {
      if (type === undefined || !numericTypes.has(type))
        throw new RangeError(
          `${what}: ${aggregate.function} needs a number, and "${aggregate.field}" is ${describe(type ?? "bytes")}`,
        );
    };
    const needsNumber = () => {
      checkNumber();
      return addColumn(field, false);
    };
    const checkDistinguishable = () => {
      if (type === undefined || dictionaryKind(type) === undefined)
        throw new RangeError(`${what}: ${aggregate.function} cannot tell values of ${describe(type ?? "bytes")} apart`);
    };
    const needsKeys = () => {
      if (type !== "int64" && type !== "string")
        throw new RangeError(`${what}: ${aggregate.function} needs an int64 or string field`);
      return addColumn(field, true);
    };
    // A tumbling window ends before the newest events, which says nothing about what is newest inside it.
    const newestMax = (count: number) => (aggregate.kind === "tumbling" ? 0 : count);
    const answer = aggregateType(aggregate, type);
    if (aggregate.default !== undefined && !isDefaultFor(answer, aggregate.default))
      throw new RangeError(`${what}: default ${aggregate.default} is not of type ${describe(answer)}`);
    let slot = -1;
    let squares = -1;
    let set = -1;
    let sketch = -1;
    switch (aggregate.function) {
      case "count":
        slot = addSlot(Gather.Count, field < 0 ? -1 : addColumn(field, false), where);
        break;
      case "sum":
      case "mean":
        slot = addSlot(Gather.Sum, needsNumber(), where);
        break;
      case "std":
        slot = addSlot(Gather.Sum, needsNumber(), where);
        squares = addSlot(Gather.Squares, needsNumber(), where);
        break;
      case "min":
        slot = addSlot(Gather.Min, needsNumber(), where);
        break;
      case "max":
        slot = addSlot(Gather.Max, needsNumber(), where);
        break;
      case "last":
        // An int64 is kept whole, and a text cannot be a number: both go through a dictionary.
        if (type === "int64" || type === "string") set = addSet(needsKeys(), where, newestMax(1));
        else slot = addSlot(Gather.Last, needsNumber(), where);
        break;
      case "distinct":
        checkDistinguishable();
        set = addSet(addColumn(field, true), where, 0);
        break;
      case "approx_distinct":
        checkDistinguishable();
        sketch = addSketch("distinct", field, where);
        break;
      case "quantile":
        checkNumber();
        if (aggregate.quantile === undefined || !(aggregate.quantile >= 0 && aggregate.quantile <= 1))
          throw new RangeError(`${what}: quantile must be a number from 0 to 1`);
        sketch = addSketch("quantile", field, where);
        break;
      case "recent":
        set = addSet(needsKeys(), where, newestMax(limit));
        break;
      case "top":
        set = addSet(needsKeys(), where, 0);
        break;
    }
    for (const text of aggregate.windows) {
      const spec = windowSpec(text, aggregate);
      const window = windows.findIndex((other) => isSameWindow(other, spec));
      const fallback = view.ladder.includes("default") ? aggregate.default : undefined;
      const feature = { name: `${name}_${text}`, type: answer, default: fallback };
      outputs.push({ feature, aggregate, window, slot, squares, set, sketch, limit });
    }
  }

  function addCondition(where: NonNullable<Aggregate["where"]>, what: string): number {
    const field = fieldIndex(where.field, what);
    const type = fields[field]?.type;
    const equals = type === "int64" && typeof where.equals === "number" ? BigInt(where.equals) : where.equals;
    const bit = intern(conditions, { field, equals }, (other) => other.field === field && other.equals === equals);
    if (bit >= conditionsMax) throw new RangeError(`view "${view.name}" has more than ${conditionsMax} conditions`);
    return 1 << bit;
  }

  const maskAt = conditions.length > 0 ? (hasCreated ? 2 : 1) : -1;
  const columnsAt = 1 + (hasCreated ? 1 : 0) + (maskAt < 0 ? 0 : 1);
  const zeros = new Float64Array(accumulatorWords);
  for (const { gather, at } of slots) {
    if (gather === Gather.Min) zeros[at] = Number.POSITIVE_INFINITY;
    else if (gather === Gather.Max) zeros[at] = Number.NEGATIVE_INFINITY;
    else if (gather === Gather.Last) zeros.set([Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN], at);
  }
  return {
    outputs,
    windows,
    levels: new TileLevels(windows),
    slots: slots.map((slot, index) => {
      const column = slotColumns[index] ?? -1;
      return { ...slot, column: column < 0 ? -1 : columnsAt + column };
    }),
    sets: sets.map((set) => ({
      ...set,
      column: columnsAt + set.column,
      dictionary: columns[set.column]?.dictionary ?? -1,
    })),
    sketches: sketches.map((sketch) => ({ ...sketch, column: columnsAt + sketch.column })),
    columns,
    conditions,
    dictionaries,
    createdAt: hasCreated ? 1 : -1,
    maskAt,
    columnsAt,
    stride: columnsAt + columns.length,
    zeros,
    bounds,
    tag,
  };
}
