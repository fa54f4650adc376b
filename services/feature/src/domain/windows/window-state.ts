import type { Value } from "@weft/scenario";
import {
  type SourceRow,
  type ViewFeature,
  type ViewReading,
  type ViewState,
  withholdNumbers,
} from "../views/view-state.ts";
import { Dictionary, type Distinguishable } from "./dictionary.ts";
import { DistinctSketch, distinctCode } from "./distinct-sketch.ts";
import { addNumber, addPair, addSquare, standardDeviation } from "./exact-sum.ts";
import { QuantileSketch, quantileCode } from "./quantile-sketch.ts";
import { packedSketchWords, type Sketch } from "./sketch.ts";
import { floorTo, windowEndUs, windowStartUs } from "./window.ts";
import {
  createSketch,
  Gather,
  Header,
  type RawColumn,
  type SketchSlot,
  type Slot,
  setEntryWords,
  Tile,
  type ValueSet,
  type WindowLayout,
} from "./window-layout.ts";
import { WordSlab } from "./word-slab.ts";

/** Where states that are written to lie. */
const slab = new WordSlab();

const at = (words: Float64Array, index: number): number => words[index] ?? Number.NaN;

/** Events older than every window stay among the newest ones for this long, so that reads in the past find them. */
const rawHindsightUs = 86_400_000_000;

/** Adds a raw event to an accumulator. */
function gatherEvent(
  slot: Slot,
  into: Float64Array,
  base: number,
  words: Float64Array,
  event: number,
  createdAt: number,
) {
  const to = base + slot.at;
  if (slot.column < 0) {
    into[to] = at(into, to) + 1;
    return;
  }
  const value = at(words, event + slot.column);
  if (Number.isNaN(value)) return;
  switch (slot.gather) {
    case Gather.Count:
      into[to] = at(into, to) + 1;
      return;
    case Gather.Sum:
      into[to] = at(into, to) + 1;
      addNumber(into, to + 1, value);
      return;
    case Gather.Squares:
      addSquare(into, to, value);
      return;
    case Gather.Min:
      if (value < at(into, to)) into[to] = value;
      return;
    case Gather.Max:
      if (value > at(into, to)) into[to] = value;
      return;
    default: {
      const time = at(words, event);
      gatherLast(into, to, time, createdAt < 0 ? time : at(words, event + createdAt), value);
    }
  }
}

/** Keeps the newest value: by event time, then created time, then the greater value, so that order never matters. */
function gatherLast(into: Float64Array, to: number, time: number, created: number, value: number) {
  const order = time - at(into, to) || created - at(into, to + 1) || value - at(into, to + 2);
  if (order > 0) {
    into[to] = time;
    into[to + 1] = created;
    into[to + 2] = value;
  }
}

/** Adds a tile's accumulator to another. */
function gatherTile(slot: Slot, into: Float64Array, base: number, words: Float64Array, from: number) {
  const to = base + slot.at;
  const source = from + slot.at;
  switch (slot.gather) {
    case Gather.Count:
      into[to] = at(into, to) + at(words, source);
      return;
    case Gather.Sum:
      into[to] = at(into, to) + at(words, source);
      addPair(into, to + 1, at(words, source + 1), at(words, source + 2));
      return;
    case Gather.Squares:
      addPair(into, to, at(words, source), at(words, source + 1));
      return;
    case Gather.Min:
      if (at(words, source) < at(into, to)) into[to] = at(words, source);
      return;
    case Gather.Max:
      if (at(words, source) > at(into, to)) into[to] = at(words, source);
      return;
    default:
      if (at(words, source) > Number.NEGATIVE_INFINITY)
        gatherLast(into, to, at(words, source), at(words, source + 1), at(words, source + 2));
  }
}

/** The different values seen so far, by dictionary code, in the order they were first seen. Reused. */
class SeenValues {
  codes = new Int32Array(16);
  size = 0;
  #stamps = new Int32Array(0);
  #stamp = 0;
  counts = new Float64Array(0);
  times = new Float64Array(0);
  created = new Float64Array(0);

  clear(dictionarySize: number) {
    if (dictionarySize > this.#stamps.length) {
      const capacity = Math.max(64, 2 * dictionarySize);
      this.#stamps = new Int32Array(capacity);
      this.counts = new Float64Array(capacity);
      this.times = new Float64Array(capacity);
      this.created = new Float64Array(capacity);
      this.#stamp = 0;
    }
    if (this.#stamp === 0x7fff_ffff) {
      this.#stamps.fill(0);
      this.#stamp = 0;
    }
    this.#stamp++;
    this.size = 0;
  }

  add(code: number, count: number, time: number, created: number) {
    if (code < 0) return;
    if (this.#stamps[code] !== this.#stamp) {
      this.#stamps[code] = this.#stamp;
      if (this.size === this.codes.length) {
        const grown = new Int32Array(2 * this.size);
        grown.set(this.codes);
        this.codes = grown;
      }
      this.codes[this.size++] = code;
      this.counts[code] = count;
      this.times[code] = time;
      this.created[code] = created;
      return;
    }
    this.counts[code] = at(this.counts, code) + count;
    if (time > at(this.times, code) || (time === at(this.times, code) && created > at(this.created, code))) {
      this.times[code] = time;
      this.created[code] = created;
    }
  }

  /** Codes from newest to oldest; ties by smaller value. */
  newestFirst(dictionary: Dictionary): Int32Array {
    const codes = this.codes.subarray(0, this.size);
    const order = (a: number, b: number) =>
      at(this.times, b) - at(this.times, a) ||
      at(this.created, b) - at(this.created, a) ||
      compare(dictionary.value(a), dictionary.value(b));
    // Events are walked from the newest to the oldest, so that few are out of place, and near it.
    let shifts = 4 * codes.length;
    for (let i = 1; i < codes.length; i++) {
      const code = codes[i] ?? 0;
      let place = i;
      while (place > 0 && order(codes[place - 1] ?? 0, code) > 0) {
        codes[place] = codes[place - 1] ?? 0;
        place--;
        shifts--;
      }
      codes[place] = code;
      if (shifts < 0) return codes.sort(order);
    }
    return codes;
  }

  /** Codes from most to least frequent; ties by smaller value. */
  mostFrequentFirst(dictionary: Dictionary): Int32Array {
    return this.codes
      .slice(0, this.size)
      .sort((a, b) => at(this.counts, b) - at(this.counts, a) || compare(dictionary.value(a), dictionary.value(b)));
  }

  /** The code of the newest value; ties by greater value, as for numbers. -1 where there is none. */
  newest(dictionary: Dictionary): number {
    let best = -1;
    for (let i = 0; i < this.size; i++) {
      const code = this.codes[i] ?? 0;
      if (best < 0) {
        best = code;
        continue;
      }
      const order =
        at(this.times, code) - at(this.times, best) ||
        at(this.created, code) - at(this.created, best) ||
        compare(dictionary.value(code), dictionary.value(best));
      if (order > 0) best = code;
    }
    return best;
  }
}

function compare(a: Distinguishable, b: Distinguishable): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Code, then events, newest event time and its created time. */
type SetEntry = [number, [number, number, number]];

interface Cell {
  readonly start: number;
  readonly width: number;
  first: number;
  last: number;
  readonly accumulators: Float64Array;
  /** code → [events, newest event time, its created time], a set. */
  readonly sets: Map<number, [number, number, number]>[];
  readonly sketches: Sketch[];
}

/**
 * State of one key of a window view, packed in doubles: header, tiles (newest first), the newest events as they came
 * (oldest first), then the dictionaries. When there are more than `rawMax` raw events, the older half goes into tiles;
 * tiles grow coarser with age, as the windows that can still see them allow, and go when none can.
 *
 * Counts, min, max, last, distinct, recent and top do not depend on the order in which rows came; sums and what follows
 * from them do not either while the terms span at most 106 bits (see exact-sum.ts).
 */
export class WindowState implements ViewState {
  readonly #layout: WindowLayout;
  #words: Float64Array;
  /** Words in use. */
  #used: number;
  /** True while the words belong to packed bytes, which are never written to. */
  #shared: boolean;
  #dictionaries: Dictionary[] | undefined;
  #packed: Uint8Array | undefined;

  private constructor(layout: WindowLayout, words: Float64Array, used: number, packed?: Uint8Array) {
    this.#layout = layout;
    this.#words = words;
    this.#used = used;
    this.#shared = packed !== undefined;
    this.#packed = packed;
    if (packed === undefined) this.#dictionaries = layout.dictionaries.map((kind) => new Dictionary(kind));
  }

  static empty(layout: WindowLayout): WindowState {
    const words = new Float64Array(Header.Words + 4 * layout.stride);
    words[Header.Tag] = layout.tag;
    words[Header.Newest] = Number.NEGATIVE_INFINITY;
    return new WindowState(layout, words, Header.Words);
  }

  /** Reads packed bytes; RangeError where they are not of this layout. */
  static decode(layout: WindowLayout, bytes: Uint8Array): WindowState {
    const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
    const words = new Float64Array(aligned.buffer, aligned.byteOffset, aligned.length >>> 3);
    if (words.length < Header.Words || words[Header.Tag] !== layout.tag)
      throw new RangeError("the bytes are not a state of this view");
    const used = Header.Words + at(words, Header.TileWords) + at(words, Header.Raw) * layout.stride;
    if (!(used <= words.length)) throw new RangeError("the state is cut short");
    return new WindowState(layout, words, used, aligned);
  }

  /** Different values that the bound kept out of distinct, recent and top, counted once an event. */
  get overflowCount(): number {
    return at(this.#words, Header.Overflow);
  }

  /** Tiles held, for tests and measurements. */
  get tileCount(): number {
    return at(this.#words, Header.Tiles);
  }

  apply(row: SourceRow): boolean {
    const layout = this.#layout;
    const time = row.eventTimeUs;
    const newest = Math.max(at(this.#words, Header.Newest), time);
    const horizon = layout.levels.horizonUs(newest) - Math.max(rawHindsightUs, layout.bounds.hindsightUs);
    if (time < horizon) return false;
    this.#makeRoom();
    const words = this.#words;
    words[Header.Newest] = newest;
    const rawStart = Header.Words + at(words, Header.TileWords);
    this.#dropBefore(horizon, rawStart);

    let place = this.#used;
    const created = row.createdTimeUs;
    const { stride, createdAt } = layout;
    while (place > rawStart) {
      const other = place - stride;
      const order = at(words, other) - time || (createdAt < 0 ? 0 : at(words, other + createdAt) - created);
      if (order <= 0) break;
      place = other;
    }
    words.copyWithin(place + stride, place, this.#used);
    this.#used += stride;
    this.#writeEvent(place, row);
    const raw = at(words, Header.Raw) + 1;
    words[Header.Raw] = raw;
    if (raw > layout.bounds.rawMax) this.#fold(raw - (layout.bounds.rawMax >> 1));
    return true;
  }

  encode(): Uint8Array {
    if (this.#packed !== undefined && this.#shared) return this.#packed.slice();
    const wordBytes = this.#used * 8;
    if (this.#layout.dictionaries.length === 0) {
      // The words are the packed form, and are given away.
      const { buffer, byteOffset } = this.#words;
      this.#packed = new Uint8Array(buffer, byteOffset, wordBytes);
      this.#shared = true;
      return this.#packed;
    }
    const dictionaries = (this.#dictionaries ?? []).map((dictionary) => dictionary.encode());
    const byteCount = dictionaries.reduce((sum, part) => sum + part.length, wordBytes);
    const words = slab.take((byteCount + 7) >>> 3);
    words.set(this.#words.subarray(0, this.#used));
    const bytes = new Uint8Array(words.buffer, words.byteOffset, byteCount);
    let offset = wordBytes;
    for (const part of dictionaries) {
      bytes.set(part, offset);
      offset += part.length;
    }
    return bytes;
  }

  /** Reads as of t, into the reading's numbers and lists. */
  read(t: number, reading: WindowReading): void {
    reading.eventTimeUs = Number.NaN;
    reading.found = true;
    for (const group of reading.groups) this.#readGroup(t, group, reading);
  }

  /** Reads windows that end at one time: walks from the newest event to the oldest, once. */
  #readGroup(t: number, group: WindowGroup, reading: WindowReading): void {
    const layout = this.#layout;
    const words = this.#words;
    const { stride, createdAt, maskAt } = layout;
    const sums = reading.accumulators;
    sums.set(layout.zeros);
    const dictionaries = reading.sets.length > 0 ? this.#openDictionaries() : [];
    for (const set of reading.sets) set.seen.clear(dictionaries[set.set.dictionary]?.size ?? 0);
    for (const { sketch } of reading.sketches) sketch.clear();
    const windows = this.#openWindows(t, group, reading);
    const end = group.endUs(t);
    let window = 0;
    let edge = at(reading.edges, windows[0] ?? 0);

    const rawStart = Header.Words + at(words, Header.TileWords);
    let event = this.#used - stride;
    let tile: number = Header.Words;
    // The newest of what is left, event or tile, comes next; a window is answered once nothing left can be inside.
    while (true) {
      while (event >= rawStart && (at(words, event) >= end || (createdAt >= 0 && at(words, event + createdAt) > t)))
        event -= stride;
      while (tile < rawStart && at(words, tile + Tile.First) >= end) tile += at(words, tile + Tile.Size);
      const isEvent = event >= rawStart && (tile >= rawStart || at(words, event) >= at(words, tile + Tile.First));
      if (!isEvent && tile >= rawStart) break;
      const time = isEvent ? at(words, event) : at(words, tile + Tile.First);
      while (time < edge) {
        reading.answer(windows[window] ?? 0, dictionaries);
        window++;
        if (window === windows.length) return;
        edge = at(reading.edges, windows[window] ?? 0);
      }
      const newest = isEvent ? time : Math.min(end, at(words, tile + Tile.Last));
      if (!(reading.eventTimeUs >= newest)) reading.eventTimeUs = newest;
      if (isEvent) {
        const mask = maskAt < 0 ? 0 : at(words, event + maskAt);
        for (const slot of reading.slots)
          if (slot.where === 0 || (mask & slot.where) !== 0) gatherEvent(slot, sums, 0, words, event, createdAt);
        for (const { set, seen } of reading.sets)
          if (set.where === 0 || (mask & set.where) !== 0)
            seen.add(at(words, event + set.column), 1, time, createdAt < 0 ? time : at(words, event + createdAt));
        for (const { slot, sketch } of reading.sketches)
          if (slot.where === 0 || (mask & slot.where) !== 0) sketch.add(at(words, event + slot.column));
        event -= stride;
      } else {
        const from = tile + Tile.Words;
        for (const slot of reading.slots) gatherTile(slot, sums, 0, words, from);
        let part = from + layout.zeros.length;
        if (reading.sets.length > 0 || reading.sketches.length > 0)
          part = readSets(words, part, layout.sets.length, reading.seenBySet);
        if (reading.sketches.length > 0) readSketches(words, part, reading.sketchBySlot);
        tile += at(words, tile + Tile.Size);
      }
    }
    for (; window < windows.length; window++) reading.answer(windows[window] ?? 0, dictionaries);
  }

  /** Computes the left edges of a group's windows at t; answers the windows, the latest left edge first. */
  #openWindows(t: number, group: WindowGroup, reading: WindowReading): readonly number[] {
    const { windows } = group;
    const { edges } = reading;
    for (let i = 0; i < windows.length; i++) {
      const window = windows[i] ?? 0;
      const spec = this.#layout.windows[window];
      let edge = t;
      if (spec !== undefined)
        edge =
          spec.kind === "session"
            ? this.#sessionStartUs(t, spec.gapUs, windowStartUs(t, spec))
            : windowStartUs(t, spec);
      edges[window] = edge;
      // Longer windows nearly always start earlier; a coarse slide can change that.
      let place = i;
      while (place > 0 && at(edges, windows[place - 1] ?? 0) < edge) {
        windows[place] = windows[place - 1] ?? 0;
        place--;
      }
      windows[place] = window;
    }
    return windows;
  }

  /**
   * Event time of the first event of the session that runs at t, not before `earliest`; t where none runs. A tile is no
   * wider than the gap, so it is inside one session from its first event to its last.
   */
  #sessionStartUs(t: number, gapUs: number, earliest: number): number {
    const words = this.#words;
    const { stride, createdAt } = this.#layout;
    const rawStart = Header.Words + at(words, Header.TileWords);
    let start = t;
    let event = this.#used - stride;
    let tile: number = Header.Words;
    // What ends latest comes next, so that nothing that is left can reach over a gap.
    while (start > earliest) {
      while (event >= rawStart && (at(words, event) >= t || (createdAt >= 0 && at(words, event + createdAt) > t)))
        event -= stride;
      while (tile < rawStart && at(words, tile + Tile.First) >= t) tile += at(words, tile + Tile.Size);
      const eventTime = event >= rawStart ? at(words, event) : Number.NEGATIVE_INFINITY;
      const tileLast = tile < rawStart ? at(words, tile + Tile.Last) : Number.NEGATIVE_INFINITY;
      const isEvent = eventTime >= tileLast;
      if (!((isEvent ? eventTime : tileLast) >= start - gapUs)) break;
      start = Math.min(start, isEvent ? eventTime : at(words, tile + Tile.First));
      if (isEvent) event -= stride;
      else tile += at(words, tile + Tile.Size);
    }
    return Math.max(start, earliest);
  }

  #openDictionaries(): Dictionary[] {
    if (this.#dictionaries !== undefined) return this.#dictionaries;
    const bytes = this.#packed ?? new Uint8Array(0);
    let offset = this.#used * 8;
    this.#dictionaries = this.#layout.dictionaries.map((kind) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset + offset, bytes.length - offset);
      offset += Dictionary.packedBytes(view, 0);
      return new Dictionary(kind, { view, count: view.getUint32(0, true) });
    });
    return this.#dictionaries;
  }

  /** Makes the words writable, with room for one more event. */
  #makeRoom() {
    const needed = this.#used + this.#layout.stride;
    if (!this.#shared && needed <= this.#words.length) return;
    this.#openDictionaries();
    const grown = slab.take(Math.max(needed, this.#shared ? needed : this.#used + (this.#used >> 1)));
    grown.set(this.#words.subarray(0, this.#used));
    this.#words = grown;
    this.#shared = false;
  }

  #dropBefore(horizon: number, rawStart: number) {
    const words = this.#words;
    let keep = rawStart;
    while (keep < this.#used && at(words, keep) < horizon) keep += this.#layout.stride;
    if (keep === rawStart) return;
    words.copyWithin(rawStart, keep, this.#used);
    this.#used -= keep - rawStart;
    words[Header.Raw] = (this.#used - rawStart) / this.#layout.stride;
  }

  #writeEvent(place: number, row: SourceRow) {
    const { columns, columnsAt, conditions, createdAt, maskAt, bounds } = this.#layout;
    const words = this.#words;
    words[place] = row.eventTimeUs;
    if (createdAt >= 0) words[place + createdAt] = row.createdTimeUs;
    if (maskAt >= 0) {
      let mask = 0;
      for (let bit = 0; bit < conditions.length; bit++) {
        const condition = conditions[bit];
        if (condition !== undefined && row.values[condition.field] === condition.equals) mask |= 1 << bit;
      }
      words[place + maskAt] = mask;
    }
    for (let i = 0; i < columns.length; i++) {
      const column = columns[i];
      if (column === undefined) continue;
      const value = row.values[column.field] ?? null;
      let word = column.dictionary < 0 ? toNumber(value, column) : -1;
      const distinguishable = column.dictionary < 0 ? undefined : toDistinguishable(value, column.type === "float32");
      if (distinguishable !== undefined) {
        word = this.#openDictionaries()[column.dictionary]?.code(distinguishable, bounds.valuesMax) ?? -1;
        if (word < 0) words[Header.Overflow] = at(words, Header.Overflow) + 1;
      }
      words[place + columnsAt + i] = word;
    }
  }

  /** Moves the oldest `count` raw events into tiles, and makes old tiles coarser. */
  #fold(count: number) {
    const layout = this.#layout;
    const { stride, createdAt, maskAt, bounds } = layout;
    const words = this.#words;
    const readable = at(words, Header.Newest) - bounds.hindsightUs;
    const horizon = layout.levels.horizonUs(readable);
    const widthFor = layout.levels.widthsAt(readable);
    const cells = new Map<string, Cell>();
    const newest = at(words, Header.Newest);
    // What came at the newest time stays by itself, so that a read at that very time can leave it out, however much it is.
    const cellFor = (time: number, widthMin: number, first: number): Cell | undefined => {
      const width = Math.max(widthMin, widthFor(time));
      const start = floorTo(time, width);
      if (start + width <= horizon) return undefined;
      const id = `${start}/${width}/${first === newest}`;
      let cell = cells.get(id);
      if (cell === undefined) {
        cell = {
          start,
          width,
          first: Number.POSITIVE_INFINITY,
          last: Number.NEGATIVE_INFINITY,
          accumulators: layout.zeros.slice(),
          sets: layout.sets.map(() => new Map()),
          sketches: layout.sketches.map(({ kind }) => createSketch(kind)),
        };
        cells.set(id, cell);
      }
      return cell;
    };

    const rawStart = Header.Words + at(words, Header.TileWords);
    for (let tile: number = Header.Words; tile < rawStart; tile += at(words, tile + Tile.Size)) {
      const cell = cellFor(at(words, tile + Tile.Start), at(words, tile + Tile.Width), at(words, tile + Tile.First));
      if (cell === undefined) continue;
      cell.first = Math.min(cell.first, at(words, tile + Tile.First));
      cell.last = Math.max(cell.last, at(words, tile + Tile.Last));
      for (const slot of layout.slots) gatherTile(slot, cell.accumulators, 0, words, tile + Tile.Words);
      let entry = tile + Tile.Words + layout.zeros.length;
      for (const set of cell.sets) {
        const entries = at(words, entry++);
        for (let i = 0; i < entries; i++, entry += setEntryWords)
          addEntry(set, at(words, entry), at(words, entry + 1), at(words, entry + 2), at(words, entry + 3));
      }
      for (const sketch of cell.sketches) entry = sketch.addPacked(words, entry);
    }
    const foldEnd = rawStart + count * stride;
    for (let event = rawStart; event < foldEnd; event += stride) {
      const time = at(words, event);
      const cell = cellFor(time, 0, time);
      if (cell === undefined) continue;
      cell.first = Math.min(cell.first, time);
      cell.last = Math.max(cell.last, time);
      const mask = maskAt < 0 ? 0 : at(words, event + maskAt);
      for (const slot of layout.slots)
        if (slot.where === 0 || (mask & slot.where) !== 0)
          gatherEvent(slot, cell.accumulators, 0, words, event, createdAt);
      layout.sets.forEach((set, index) => {
        const into = cell.sets[index];
        const code = at(words, event + set.column);
        if (into !== undefined && code >= 0 && (set.where === 0 || (mask & set.where) !== 0))
          addEntry(into, code, 1, time, createdAt < 0 ? time : at(words, event + createdAt));
      });
      layout.sketches.forEach(({ where, column }, index) => {
        if (where === 0 || (mask & where) !== 0) cell.sketches[index]?.add(at(words, event + column));
      });
    }
    const newestFirst = [...cells.values()].sort((a, b) => b.start - a.start || b.first - a.first);
    const raw = words.slice(foldEnd, this.#used);
    this.#rewrite(newestFirst, this.#trimSets(newestFirst, readable), raw);
  }

  /** Entries of each cell's sets, newest first, without those that no answer at `readable` or later can hold. */
  #trimSets(cells: readonly Cell[], readable: number): SetEntry[][][] {
    const seen = this.#layout.sets.map(() => new Set<number>());
    return cells.map((cell) =>
      cell.sets.map((set, index) => {
        const entries = [...set].sort(([, a], [, b]) => b[1] - a[1] || b[2] - a[2]);
        const newestMax = this.#layout.sets[index]?.newestMax ?? 0;
        if (newestMax === 0) return entries;
        const kept = seen[index] ?? new Set();
        return entries.filter(([code, [, time]], position) => {
          if (time >= readable) return true;
          if (kept.has(code)) return false;
          // Ties with the last one kept stay: which of them is answered depends on their values.
          if (kept.size >= newestMax && entries[position - 1]?.[1][1] !== time) return false;
          kept.add(code);
          return true;
        });
      }),
    );
  }

  #rewrite(cells: readonly Cell[], sets: SetEntry[][][], raw: Float64Array) {
    const layout = this.#layout;
    const renumber = this.#renumber(sets, raw);
    const tileWords = cells.reduce(
      (sum, { sketches }, index) =>
        sum +
        Tile.Words +
        layout.zeros.length +
        (sets[index] ?? []).reduce((n, set) => n + 1 + setEntryWords * set.length, 0) +
        sketches.reduce((n, sketch) => n + sketch.packedWords(), 0),
      0,
    );
    const words = new Float64Array(Header.Words + tileWords + layout.bounds.rawMax * layout.stride + layout.stride);
    words.set(this.#words.subarray(0, Header.Words));
    let to: number = Header.Words;
    cells.forEach((cell, index) => {
      const start = to;
      words[to + Tile.Start] = cell.start;
      words[to + Tile.Width] = cell.width;
      words[to + Tile.First] = cell.first;
      words[to + Tile.Last] = cell.last;
      words.set(cell.accumulators, to + Tile.Words);
      to += Tile.Words + layout.zeros.length;
      (sets[index] ?? []).forEach((entries, set) => {
        words[to++] = entries.length;
        for (const [code, [events, time, created]] of entries) {
          words[to] = renumber(layout.sets[set]?.dictionary ?? -1, code);
          words[to + 1] = events;
          words[to + 2] = time;
          words[to + 3] = created;
          to += setEntryWords;
        }
      });
      for (const sketch of cell.sketches) to = sketch.pack(words, to);
      words[start + Tile.Size] = to - start;
    });
    for (let event = 0; event < raw.length; event += layout.stride)
      layout.columns.forEach((column, index) => {
        const place = event + layout.columnsAt + index;
        if (column.dictionary >= 0 && at(raw, place) >= 0) raw[place] = renumber(column.dictionary, at(raw, place));
      });
    words.set(raw, to);
    words[Header.Tiles] = cells.length;
    words[Header.TileWords] = tileWords;
    words[Header.Raw] = raw.length / layout.stride;
    this.#words = words;
    this.#used = to + raw.length;
  }

  /** Drops values that nothing names any more, once they are half of a dictionary; answers old code → new code. */
  #renumber(sets: SetEntry[][][], raw: Float64Array): (dictionary: number, code: number) => number {
    const layout = this.#layout;
    const dictionaries = this.#openDictionaries();
    const maps = dictionaries.map((dictionary, number) => {
      const size = dictionary.size;
      if (size < 32) return undefined;
      const codes = new Int32Array(size).fill(-1);
      let used = 0;
      const use = (code: number) => {
        if (code >= 0 && codes[code] === -1) codes[code] = used++;
      };
      for (const cellSets of sets)
        cellSets.forEach((entries, set) => {
          if (layout.sets[set]?.dictionary === number) for (const [code] of entries) use(code);
        });
      layout.columns.forEach((column, index) => {
        if (column.dictionary !== number) return;
        for (let event = 0; event < raw.length; event += layout.stride) use(at(raw, event + layout.columnsAt + index));
      });
      if (used * 2 > size && size < layout.bounds.valuesMax) return undefined;
      dictionaries[number] = dictionary.renumbered(codes, used);
      return codes;
    });
    return (dictionary, code) => maps[dictionary]?.[code] ?? code;
  }
}

function addEntry(
  set: Map<number, [number, number, number]>,
  code: number,
  count: number,
  time: number,
  created: number,
) {
  const entry = set.get(code);
  if (entry === undefined) {
    set.set(code, [count, time, created]);
    return;
  }
  entry[0] += count;
  if (time > entry[1] || (time === entry[1] && created > entry[2])) {
    entry[1] = time;
    entry[2] = created;
  }
}

/** Adds a tile's value sets to those asked for; answers the word after them. */
function readSets(words: Float64Array, start: number, sets: number, seen: readonly (SeenValues | undefined)[]): number {
  let entry = start;
  for (let index = 0; index < sets; index++) {
    const entries = at(words, entry++);
    const into = seen[index];
    if (into === undefined) {
      entry += entries * setEntryWords;
      continue;
    }
    for (let i = 0; i < entries; i++, entry += setEntryWords)
      into.add(at(words, entry), at(words, entry + 1), at(words, entry + 2), at(words, entry + 3));
  }
  return entry;
}

/** Adds a tile's sketches to those asked for. */
function readSketches(words: Float64Array, start: number, into: readonly (Sketch | undefined)[]) {
  let from = start;
  for (const sketch of into) from = sketch?.addPacked(words, from) ?? from + packedSketchWords(words, from);
}

/** What a column without a dictionary holds of a value: a sketch's code, or the number itself. */
function toNumber(value: Value, { type, sketch }: RawColumn): number {
  const single = type === "float32";
  if (sketch === undefined) return toFinite(value, single);
  if (sketch === "quantile") return quantileCode(toFinite(value, single));
  const distinguishable = toDistinguishable(value, single);
  return distinguishable === undefined ? Number.NaN : distinctCode(distinguishable);
}

/** A number for the numeric functions; NaN for null and for what is not finite; 1 for a value that is no number. */
function toFinite(value: Value, single: boolean): number {
  if (typeof value === "number") return Number.isFinite(value) ? (single ? Math.fround(value) : value) : Number.NaN;
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "boolean") return value ? 1 : 0;
  return value === null ? Number.NaN : 1;
}

function toDistinguishable(value: Value, single: boolean): Distinguishable | undefined {
  if (typeof value === "bigint" || typeof value === "string" || typeof value === "boolean") return value;
  // Minus zero is zero.
  if (typeof value === "number" && Number.isFinite(value)) return (single ? Math.fround(value) : value) + 0;
  return undefined;
}

function answerSketch(sketch: Sketch | undefined, quantile = 0): number {
  if (sketch instanceof DistinctSketch) return sketch.estimate();
  return sketch instanceof QuantileSketch ? sketch.quantile(quantile) : Number.NaN;
}

/** Windows of a reading that end at the same time. */
interface WindowGroup {
  /** Indexes into the layout's windows; kept in the order of their left edges, the latest first. */
  readonly windows: number[];
  /** Where they end at a read time, in microseconds, exclusive. */
  readonly endUs: (t: number) => number;
}

/** A reading of a window view: keeps the accumulators that its features need, and answers them window by window. */
export class WindowReading implements ViewReading {
  readonly features: readonly ViewFeature[];
  readonly numbers: Float64Array;
  readonly statuses: Uint8Array;
  readonly others: Value[];
  readonly accumulators: Float64Array;
  readonly slots: readonly Slot[];
  readonly sets: readonly { readonly set: ValueSet; readonly seen: SeenValues }[];
  readonly seenBySet: readonly (SeenValues | undefined)[];
  readonly sketches: readonly { readonly slot: SketchSlot; readonly sketch: Sketch }[];
  readonly sketchBySlot: readonly (Sketch | undefined)[];
  /** Left edge of each window of the layout. */
  readonly edges: Float64Array;
  /** The windows asked for, by where they end: all that end at the read time together, tumbling ones by themselves. */
  readonly groups: readonly WindowGroup[];
  eventTimeUs = Number.NaN;
  found = false;
  readonly #layout: WindowLayout;
  readonly #outputs: WindowLayout["outputs"];
  /** Positions of the features of each window of the layout. */
  readonly #positions: readonly (readonly number[])[];

  constructor(layout: WindowLayout, outputs: WindowLayout["outputs"]) {
    this.#layout = layout;
    this.#outputs = outputs;
    this.features = outputs.map((output) => output.feature);
    this.numbers = new Float64Array(outputs.length);
    this.statuses = new Uint8Array(outputs.length);
    this.others = outputs.map(() => null);
    this.accumulators = layout.zeros.slice();
    this.slots = layout.slots.filter((_, index) => outputs.some((o) => o.slot === index || o.squares === index));
    this.seenBySet = layout.sets.map((_, index) =>
      outputs.some((o) => o.set === index) ? new SeenValues() : undefined,
    );
    this.sets = layout.sets.flatMap((set, index) => {
      const seen = this.seenBySet[index];
      return seen === undefined ? [] : [{ set, seen }];
    });
    this.sketchBySlot = layout.sketches.map(({ kind }, index) =>
      outputs.some((o) => o.sketch === index) ? createSketch(kind) : undefined,
    );
    this.sketches = layout.sketches.flatMap((slot, index) => {
      const sketch = this.sketchBySlot[index];
      return sketch === undefined ? [] : [{ slot, sketch }];
    });
    this.edges = new Float64Array(layout.windows.length);
    this.#positions = layout.windows.map((_, window) =>
      outputs.flatMap((output, position) => (output.window === window ? [position] : [])),
    );
    const asked = layout.windows.flatMap((spec, window) =>
      (this.#positions[window]?.length ?? 0) > 0 ? [{ spec, window }] : [],
    );
    const atRead = asked.filter(({ spec }) => spec.kind !== "tumbling").map(({ window }) => window);
    this.groups = [
      ...(atRead.length > 0 ? [{ windows: atRead, endUs: (t: number) => t }] : []),
      ...asked
        .filter(({ spec }) => spec.kind === "tumbling")
        .map(({ spec, window }) => ({ windows: [window], endUs: (t: number) => windowEndUs(t, spec) })),
    ];
  }

  /** Takes what is gathered so far as the answer of a window. */
  answer(window: number, dictionaries: readonly Dictionary[]): void {
    for (const position of this.#positions[window] ?? []) {
      const output = this.#outputs[position];
      if (output === undefined) continue;
      const sums = this.accumulators;
      const slot = output.slot < 0 ? -1 : (this.#layout.slots[output.slot]?.at ?? -1);
      let number = Number.NaN;
      switch (output.aggregate.function) {
        case "count":
          number = at(sums, slot);
          break;
        case "sum":
          number = at(sums, slot + 1);
          break;
        case "mean":
          if (at(sums, slot) > 0) number = at(sums, slot + 1) / at(sums, slot);
          break;
        case "std":
          if (at(sums, slot) > 0)
            number = standardDeviation(at(sums, slot), sums, slot + 1, this.#layout.slots[output.squares]?.at ?? -1);
          break;
        case "min":
        case "max":
          if (Number.isFinite(at(sums, slot))) number = at(sums, slot);
          break;
        case "distinct":
          number = this.seenBySet[output.set]?.size ?? 0;
          break;
        case "approx_distinct":
        case "quantile":
          number = answerSketch(this.sketchBySlot[output.sketch], output.aggregate.quantile);
          break;
        default:
          if (output.set < 0) number = at(sums, slot + 2);
          else number = this.#answerValues(position, dictionaries);
      }
      this.numbers[position] = number;
    }
  }

  /** Answers recent, top, and last of a field with a dictionary. */
  #answerValues(position: number, dictionaries: readonly Dictionary[]): number {
    const output = this.#outputs[position];
    const seen = this.seenBySet[output?.set ?? -1];
    const dictionary = dictionaries[this.#layout.sets[output?.set ?? -1]?.dictionary ?? -1];
    if (output === undefined || seen === undefined || dictionary === undefined) {
      this.others[position] = null;
      return Number.NaN;
    }
    if (output.aggregate.function === "last") {
      const code = seen.newest(dictionary);
      const value = code < 0 ? null : dictionary.value(code);
      this.others[position] = value;
      return typeof value === "bigint" ? Number(value) : Number.NaN;
    }
    const codes =
      output.aggregate.function === "recent" ? seen.newestFirst(dictionary) : seen.mostFrequentFirst(dictionary);
    const count = Math.min(output.limit, codes.length);
    const values = new Array<bigint | string>(count);
    for (let i = 0; i < count; i++) {
      const value = dictionary.value(codes[i] ?? 0);
      values[i] = typeof value === "bigint" ? value : String(value);
    }
    this.others[position] = values;
    return Number.NaN;
  }

  value(index: number): Value {
    const other = this.others[index];
    if (other !== undefined && other !== null) return other;
    const number = at(this.numbers, index);
    if (Number.isNaN(number)) return null;
    const type = this.features[index]?.type;
    return type === "int64" ? BigInt(number) : type === "bool" ? number !== 0 : number;
  }

  withhold(): void {
    this.found = false;
    this.eventTimeUs = Number.NaN;
    this.others.fill(null);
    withholdNumbers(this);
  }
}
