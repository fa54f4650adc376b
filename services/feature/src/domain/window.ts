import { durationMs } from "@weft/scenario";

const secondUs = 1_000_000;
const defaultSlidesUs = [86_400, 3_600, 300, 60, 5, 1].map((seconds) => seconds * secondUs);

/** Most slides in one window; a finer declared slide is refused. */
export const slidesMax = 2_048;

/** A window: its length and the alignment of its left edge, in microseconds. */
export interface WindowSpec {
  readonly windowUs: number;
  readonly slideUs: number;
}

/** The greatest multiple of `step` that is at most `x`. Exact for whole numbers below 2^53. */
export function floorTo(x: number, step: number): number {
  const floor = Math.floor(x / step) * step;
  // The division rounds; near a multiple it may land on the neighbour.
  if (floor > x) return floor - step;
  return x - floor >= step ? floor + step : floor;
}

/** The slide by rule: the greatest of 1 s, 5 s, 1 min, 5 min, 1 h and 1 day that is at most a twelfth; 1 s below 12 s. */
export function defaultSlideUs(windowUs: number): number {
  return defaultSlidesUs.find((slide) => slide * 12 <= windowUs) ?? secondUs;
}

/** Reads a window and its declared slide. RangeError where the slide is 0, longer than the window, or too fine for it. */
export function windowSpec(window: string, slide?: string): WindowSpec {
  const windowUs = durationMs(window) * 1_000;
  const slideUs = slide === undefined ? defaultSlideUs(windowUs) : durationMs(slide) * 1_000;
  if (windowUs <= 0) throw new RangeError(`window "${window}" is empty`);
  if (slideUs <= 0) throw new RangeError(`slide "${slide}" is empty`);
  if (slide !== undefined && slideUs > windowUs)
    throw new RangeError(`slide "${slide}" is longer than window "${window}"`);
  if (windowUs / slideUs > slidesMax)
    throw new RangeError(`window "${window}" has more than ${slidesMax} slides of "${slide}"`);
  return { windowUs, slideUs };
}

/** Left edge, inclusive, of a window read at t; the right edge is t, exclusive. */
export function windowStartUs(t: number, window: WindowSpec): number {
  return floorTo(t - window.windowUs, window.slideUs);
}

function gcd(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}

/**
 * How coarse the tiles of nested windows may be at each age. All windows end at the read time, so an old event is of
 * interest to the long windows only, and its tile may be as wide as what divides their slides. Level k divides the
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
