import { createHash } from "node:crypto";
import { durationMs, expectationText, type FeatureView, quarantineOf, type Source, type Value } from "@weft/scenario";
import { defaultWindowBounds, layoutWindows, type WindowBounds } from "../windows/window-layout.ts";
import { WindowReading, WindowState } from "../windows/window-state.ts";
import { type EntityKey, joinKeys } from "./entity-key.ts";
import { type PackedPlace, RowPacking, rowCreatedTimeUs, rowEventTimeUs } from "./packed-row.ts";
import {
  type CompiledView,
  type SourceRow,
  Status,
  sourceFields,
  type ViewFeature,
  type ViewReading,
  type ViewState,
  withholdNumbers,
} from "./view-state.ts";

/** Goes up when the packed form changes, so that what an older version stored is not read. */
const formatVersion = 1;

/** Compiles a view. RangeError, with the place in the view, on a definition that makes no sense. */
export function compileView(view: FeatureView, bounds: WindowBounds = defaultWindowBounds): CompiledView {
  const fields = sourceFields(view.source);
  const keyFields = view.entities.map(({ entity, field }) => {
    const index = fields.findIndex((candidate) => candidate.name === field);
    if (fields[index]?.type !== entity.key)
      throw new RangeError(
        `view "${view.name}" reads keys of entity "${entity.name}" from field "${field}" of source "${view.source.name}", which must be there with type ${entity.key}`,
      );
    return index;
  });
  const digest = digestOf(view, bounds);
  const isWindows = Object.keys(view.aggregates).length > 0;
  if (isWindows === Object.keys(view.features).length > 0)
    throw new RangeError(`view "${view.name}" must have either features or aggregates`);
  const keyed = {
    view,
    name: view.name,
    digest,
    fields,
    ttlUs: isWindows ? 0 : durationMs(view.ttl) * 1_000,
    keyOf: (row: SourceRow): EntityKey | undefined => {
      if (keyFields.length === 1) return asKey(row.values[keyFields[0] ?? 0]);
      const parts: EntityKey[] = [];
      for (const index of keyFields) {
        const part = asKey(row.values[index]);
        if (part === undefined) return undefined;
        parts.push(part);
      }
      return joinKeys(parts);
    },
  };
  return isWindows ? compileWindows(keyed, bounds) : compileFields(keyed);
}

type Keyed = Pick<CompiledView, "view" | "name" | "digest" | "fields" | "ttlUs" | "keyOf">;

function asKey(value: Value | undefined): EntityKey | undefined {
  return typeof value === "bigint" || (typeof value === "string" && value !== "") ? value : undefined;
}

function digestOf(view: FeatureView, bounds: WindowBounds): string {
  // What only decides how a value is read (TTL, ladder, defaults, texts) is left out: it shares the stored state.
  const stored = {
    formatVersion,
    entities: view.entities.map(({ entity, field }) => [entity.name, entity.key, field]),
    source: {
      name: view.source.name,
      file: view.source.file,
      eventTime: view.source.eventTime,
      createdTime: view.source.createdTime ?? null,
      ...setAsideBy(view.source),
    },
    fields: Object.entries(view.source.fields).sort(([a], [b]) => (a < b ? -1 : 1)),
    features: Object.entries(view.features).map(([name, { type, field }]) => [name, type, field ?? name]),
    aggregates: Object.entries(view.aggregates).map(([name, a]) => [
      name,
      a.function,
      a.field ?? null,
      a.windows,
      a.where === undefined ? null : [a.where.field, typeof a.where.equals, String(a.where.equals)],
      a.limit ?? null,
      a.slide ?? null,
      // Named only where they are set, so that what was stored before they existed is still read.
      ...(a.kind === undefined || a.kind === "sliding" ? [] : [{ kind: a.kind, longest: a.longest ?? null }]),
    ]),
    bounds: Object.keys(view.aggregates).length > 0 ? bounds : null,
  };
  return createHash("sha256").update(JSON.stringify(stored)).digest("hex");
}

/** Which rows are set aside decides what is stored; nothing where none are, so that the digest stays. */
function setAsideBy(source: Source): { readonly quarantine?: readonly string[] } {
  const quarantine = quarantineOf(source).map(expectationText);
  return quarantine.length === 0 ? {} : { quarantine };
}

function selected<T extends { readonly name: string }>(
  all: readonly T[],
  names: readonly string[] | undefined,
  view: string,
) {
  if (names === undefined) return all.map((_, index) => index);
  return names.map((name) => {
    const index = all.findIndex((feature) => feature.name === name);
    if (index < 0) throw new RangeError(`view "${view}" has no feature "${name}"`);
    return index;
  });
}

function compileWindows(keyed: Keyed, bounds: WindowBounds): CompiledView {
  const layout = layoutWindows(keyed.view, keyed.fields, Number.parseInt(keyed.digest.slice(0, 12), 16), bounds);
  const features = layout.outputs.map((output) => output.feature);
  const empty = WindowState.empty(layout);
  return {
    ...keyed,
    kind: "windows",
    features,
    emptyState: () => WindowState.empty(layout),
    decode: (bytes) => WindowState.decode(layout, bytes),
    createReading: (names) =>
      new WindowReading(
        layout,
        selected(features, names, keyed.name).flatMap((index) => layout.outputs[index] ?? []),
      ),
    read(state, asOfUs, reading) {
      if (!(reading instanceof WindowReading)) throw new RangeError("the reading is of another view");
      const found = state instanceof WindowState;
      (found ? state : empty).read(asOfUs, reading);
      reading.found = found;
      const { features: wanted, numbers, others, statuses } = reading;
      for (let i = 0; i < wanted.length; i++) {
        if (!Number.isNaN(numbers[i]) || others[i] !== null) {
          statuses[i] = Status.Present;
          continue;
        }
        const fallback = wanted[i]?.default;
        if (fallback === undefined) {
          statuses[i] = found ? Status.Null : Status.NotFound;
          continue;
        }
        statuses[i] = Status.Defaulted;
        numbers[i] = Number(fallback);
      }
    },
  };
}

/** The newest row of one key. */
class RowState implements ViewState {
  readonly #packing: RowPacking;
  readonly #fields: readonly number[];
  bytes: Uint8Array | undefined;
  row: DataView | undefined;

  constructor(packing: RowPacking, fields: readonly number[], bytes?: Uint8Array) {
    this.#packing = packing;
    this.#fields = fields;
    this.bytes = bytes;
    this.row = bytes === undefined ? undefined : packing.open(bytes);
  }

  apply(row: SourceRow): boolean {
    const stored = this.row;
    const values = this.#fields.map((field) => row.values[field] ?? null);
    if (stored !== undefined) {
      const order =
        row.eventTimeUs - rowEventTimeUs(stored) ||
        row.createdTimeUs - rowCreatedTimeUs(stored) ||
        this.#compare(values, stored);
      if (order <= 0) return false;
    }
    this.bytes = this.#packing.encode(row.eventTimeUs, row.createdTimeUs, values);
    this.row = this.#packing.open(this.bytes);
    return true;
  }

  encode(): Uint8Array {
    if (this.bytes === undefined) throw new RangeError("no row has been applied");
    return this.bytes.slice();
  }

  /** Rows of equal times: the greater values win, field by field, null least, so that the order of arrival never matters. */
  #compare(values: readonly Value[], stored: DataView): number {
    for (let i = 0; i < values.length; i++) {
      const place = this.#packing.places[i];
      if (place === undefined) continue;
      const type = place.type;
      const value = values[i] ?? null;
      const order = compareValues(
        type === "float32" && typeof value === "number" ? Math.fround(value) : value,
        this.#packing.value(stored, place),
      );
      if (order !== 0) return order;
    }
    return 0;
  }
}

/** Orders values of one type: null first, lists element by element, NaN as null. */
export function compareValues(a: Value, b: Value): number {
  const aNull = a === null || Number.isNaN(a);
  const bNull = b === null || Number.isNaN(b);
  if (aNull || bNull) return aNull === bNull ? 0 : aNull ? -1 : 1;
  if (typeof a === "object" && typeof b === "object") {
    const length = Math.min(a.length, b.length);
    for (let i = 0; i < length; i++) {
      const x = a[i] ?? 0;
      const y = b[i] ?? 0;
      if (x !== y) return x < y ? -1 : 1;
    }
    return a.length - b.length;
  }
  return a === b ? 0 : a < b ? -1 : 1;
}

class RowReading implements ViewReading {
  readonly features: readonly ViewFeature[];
  readonly numbers: Float64Array;
  readonly statuses: Uint8Array;
  readonly places: readonly PackedPlace[];
  eventTimeUs = Number.NaN;
  found = false;
  row: DataView | undefined;
  readonly #packing: RowPacking;

  constructor(packing: RowPacking, features: readonly ViewFeature[], places: readonly PackedPlace[]) {
    this.#packing = packing;
    this.features = features;
    this.places = places;
    this.numbers = new Float64Array(features.length);
    this.statuses = new Uint8Array(features.length);
  }

  value(index: number): Value {
    const status = this.statuses[index];
    if (status === Status.Defaulted) return this.features[index]?.default ?? null;
    const place = this.places[index];
    // OutsideMaxAge leaves a row here only where the ladder lets stale values out.
    if (place === undefined || this.row === undefined) return null;
    return status === Status.Present || status === Status.OutsideMaxAge ? this.#packing.value(this.row, place) : null;
  }

  withhold(): void {
    this.found = false;
    this.eventTimeUs = Number.NaN;
    this.row = undefined;
    withholdNumbers(this);
  }
}

function compileFields(keyed: Keyed): CompiledView {
  const { view, ttlUs } = keyed;
  const limitUs = ttlUs > 0 ? ttlUs : Number.POSITIVE_INFINITY;
  const mayBeStale = view.ladder.includes("stale");
  const mayDefault = view.ladder.includes("default");
  const entries = Object.entries(view.features);
  const indices = entries.map(([name, feature]) => {
    const index = keyed.fields.findIndex((field) => field.name === (feature.field ?? name));
    const type = keyed.fields[index]?.type;
    if (type === undefined || JSON.stringify(type) !== JSON.stringify(feature.type))
      throw new RangeError(
        `feature "${name}" of view "${view.name}" reads field "${feature.field ?? name}", which source "${view.source.name}" must have with the same type`,
      );
    return index;
  });
  const features = entries.map(([name, feature]) => ({
    name,
    type: feature.type,
    default: mayDefault ? feature.default : undefined,
  }));
  const packing = new RowPacking(features, Number.parseInt(keyed.digest.slice(0, 8), 16));
  return {
    ...keyed,
    kind: "fields",
    features,
    emptyState: () => new RowState(packing, indices),
    decode: (bytes) => new RowState(packing, indices, bytes),
    createReading: (names) => {
      const chosen = selected(features, names, keyed.name);
      return new RowReading(
        packing,
        chosen.flatMap((index) => features[index] ?? []),
        chosen.flatMap((index) => packing.places[index] ?? []),
      );
    },
    read(state, asOfUs, reading, maxAgeUs = Number.POSITIVE_INFINITY) {
      if (!(reading instanceof RowReading)) throw new RangeError("the reading is of another view");
      const stored = state instanceof RowState ? state.row : undefined;
      const eventTimeUs = stored === undefined ? Number.NaN : rowEventTimeUs(stored);
      // Also false for NaN.
      const row =
        eventTimeUs <= asOfUs && stored !== undefined && rowCreatedTimeUs(stored) <= asOfUs ? stored : undefined;
      const isStale = row !== undefined && eventTimeUs < asOfUs - Math.min(limitUs, maxAgeUs);
      const isReadable = row !== undefined && (!isStale || mayBeStale);
      reading.found = row !== undefined;
      reading.eventTimeUs = row === undefined ? Number.NaN : eventTimeUs;
      reading.row = isReadable ? row : undefined;
      const { features: wanted, numbers, statuses, places } = reading;
      for (let i = 0; i < wanted.length; i++) {
        const place = places[i];
        if (isReadable && place !== undefined && !packing.isNull(row, place)) {
          numbers[i] = packing.number(row, place);
          statuses[i] = isStale ? Status.OutsideMaxAge : Status.Present;
          continue;
        }
        const fallback = wanted[i]?.default;
        if (fallback !== undefined) {
          numbers[i] = typeof fallback === "string" ? Number.NaN : Number(fallback);
          statuses[i] = Status.Defaulted;
          continue;
        }
        numbers[i] = Number.NaN;
        statuses[i] = row === undefined ? Status.NotFound : isStale ? Status.OutsideMaxAge : Status.Null;
      }
    },
  };
}
