import { type Aggregate, durationMs, sessionSlideMs, slideMsOf, type WindowKind } from "@weft/scenario";

const secondUs = 1_000_000;

/** Reach of a session that declares none. */
const sessionLongestUs = 86_400 * secondUs;

/** Most slides in one window; a finer declared slide is refused. */
export const slidesMax = 2_048;

/** A window: its length (of a session the greatest) and the alignment of its left edge, in microseconds. */
export interface WindowSpec {
  readonly kind: WindowKind;
  readonly windowUs: number;
  /** Of a tumbling window its length; of a session at most the gap. */
  readonly slideUs: number;
  /** Greatest time between two events of a session; 0 for the other kinds. */
  readonly gapUs: number;
}

/** The greatest multiple of `step` that is at most `x`. Exact for whole numbers below 2^53. */
export function floorTo(x: number, step: number): number {
  const floor = Math.floor(x / step) * step;
  // The division rounds; near a multiple it may land on the neighbour.
  if (floor > x) return floor - step;
  return x - floor >= step ? floor + step : floor;
}

/** How an aggregate's windows are declared. */
export type WindowDeclaration = Pick<Aggregate, "kind" | "slide" | "longest">;

/** Reads one window of an aggregate. RangeError where a length is 0, or the slide is longer than the window or too fine for it. */
export function windowSpec(window: string, declared: WindowDeclaration = {}): WindowSpec {
  const { kind = "sliding", slide, longest } = declared;
  const lengthUs = durationMs(window) * 1_000;
  if (lengthUs <= 0) throw new RangeError(`window "${window}" is empty`);
  if (slide !== undefined && kind !== "sliding") throw new RangeError(`a ${kind} window has no slide`);
  if (longest !== undefined && kind !== "session") throw new RangeError("only a session has a longest span");
  switch (kind) {
    case "tumbling":
      return { kind, windowUs: lengthUs, slideUs: lengthUs, gapUs: 0 };
    case "session":
      return sessionSpec(window, lengthUs, longest);
    default: {
      const slideUs = slideMsOf(window, slide) * 1_000;
      if (slideUs <= 0) throw new RangeError(`slide "${slide}" is empty`);
      if (slide !== undefined && slideUs > lengthUs)
        throw new RangeError(`slide "${slide}" is longer than window "${window}"`);
      if (lengthUs / slideUs > slidesMax)
        throw new RangeError(`window "${window}" has more than ${slidesMax} slides of "${slide}"`);
      return { kind, windowUs: lengthUs, slideUs, gapUs: 0 };
    }
  }
}

function sessionSpec(gap: string, gapUs: number, longest: string | undefined): WindowSpec {
  // No tile is wider than the gap, so that no session ends inside one.
  const slideUs = sessionSlideMs(gapUs / 1_000) * 1_000;
  if (slideUs > gapUs) throw new RangeError(`a session's gap "${gap}" is shorter than 1s`);
  const reachUs = slidesMax * slideUs;
  const windowUs = longest === undefined ? Math.min(sessionLongestUs, reachUs) : durationMs(longest) * 1_000;
  if (longest === undefined) return { kind: "session", windowUs: Math.max(windowUs, gapUs), slideUs, gapUs };
  if (windowUs < gapUs) throw new RangeError(`longest "${longest}" is shorter than the session's gap "${gap}"`);
  if (windowUs > reachUs)
    throw new RangeError(`longest "${longest}" is more than ${slidesMax} slides of the gap "${gap}"`);
  return { kind: "session", windowUs, slideUs, gapUs };
}

/** Left edge, inclusive, of a window read at t: for a session the earliest that it can have. */
export function windowStartUs(t: number, window: WindowSpec): number {
  return floorTo(t - window.windowUs, window.slideUs);
}

/** Right edge, exclusive, of a window read at t. */
export function windowEndUs(t: number, window: WindowSpec): number {
  return window.kind === "tumbling" ? floorTo(t, window.windowUs) : t;
}

/** Whether two windows always see the same events. */
export function isSameWindow(a: WindowSpec, b: WindowSpec): boolean {
  return a.kind === b.kind && a.windowUs === b.windowUs && a.slideUs === b.slideUs && a.gapUs === b.gapUs;
}

function gcd(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}

/**
 * How coarse the tiles of nested windows may be at each age. All windows end at the read time, or on a slide not long
 * before it, so an old event is of interest to the long windows only, and its tile may be as wide as what divides their slides. Level k divides the
 * slides of windows k and longer; each level divides the next, so tiles nest.
 */
export class TileLevels {
  readonly windows: readonly WindowSpec[];
  readonly #levelsUs: readonly number[];

  /** `windows`: distinct, by length, shortest first. */
  constructor(windows: readonly WindowSpec[]) {
    this.windows = windows;
    const levels: number[] = [];
    let level = 0;
    for (let k = windows.length - 1; k >= 0; k--) {
      level = gcd(level, windows[k]?.slideUs ?? 0);
      levels.unshift(level);
    }
    this.#levelsUs = levels;
  }

  /** Time before which no window read at t or later looks. */
  horizonUs(t: number): number {
    let horizon = Number.POSITIVE_INFINITY;
    for (const window of this.windows) horizon = Math.min(horizon, windowStartUs(t, window));
    return horizon;
  }

  /** For reads at t or later: answers the width of the widest tile that holds x and is cut by no window's left edge. */
  widthsAt(t: number): (x: number) => number {
    const levels = this.#levelsUs;
    // Below edges[k], windows shorter than window k see nothing.
    const edges: number[] = [];
    let edge = Number.POSITIVE_INFINITY;
    for (const window of this.windows) {
      edges.push(edge);
      edge = Math.min(edge, windowStartUs(t, window));
    }
    return (x) => {
      for (let k = levels.length - 1; k > 0; k--) {
        const width = levels[k] ?? secondUs;
        if (floorTo(x, width) + width <= (edges[k] ?? 0)) return width;
      }
      return levels[0] ?? secondUs;
    };
  }
}
