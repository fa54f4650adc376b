/** A view's states of one generation, by name. */
export interface GenerationName {
  /** Id of the view. */
  readonly id: string;
  readonly generation: number;
}

/** Generations of one view by number; absent where there is none. */
export interface ViewGenerations {
  /** What readers see. */
  readonly generation: number;
  /** What they saw before. */
  readonly previous?: number;
  /** Made and not published. */
  readonly next?: number;
  /** The greatest number given. */
  readonly last: number;
}

/** A generation that nobody reads any more. */
export interface DroppedGeneration extends GenerationName {
  /** Its states stay until then (milliseconds since 1970), for readers that have not heard of it. */
  readonly untilMs: number;
}

/** Every view's generations: one small document, changed as a whole, so that views move together. */
export interface Generations {
  readonly views: Readonly<Record<string, ViewGenerations>>;
  readonly dropped: readonly DroppedGeneration[];
}

/** A store that holds nothing. */
export const noGenerations: Generations = { views: {}, dropped: [] };

const first: ViewGenerations = { generation: 1, last: 1 };

/** A view's generations; those of a new view where it has not been opened. */
export function generationsOf({ views }: Generations, id: string): ViewGenerations {
  return Object.hasOwn(views, id) ? (views[id] ?? first) : first;
}

/** Adds views that are not there. Answers the same document where all are. */
export function withViews(generations: Generations, ids: readonly string[]): Generations {
  const missing = ids.filter((id) => !Object.hasOwn(generations.views, id));
  if (missing.length === 0) return generations;
  return { ...generations, views: { ...generations.views, ...Object.fromEntries(missing.map((id) => [id, first])) } };
}

/** Adds a generation above all before; one that was left unpublished is dropped. */
export function withNext(generations: Generations, id: string, untilMs: number): Generations {
  const { next, ...own } = generationsOf(generations, id);
  const generation = own.last + 1;
  return {
    views: { ...generations.views, [id]: { ...own, next: generation, last: generation } },
    dropped: next === undefined ? generations.dropped : [...generations.dropped, { id, generation: next, untilMs }],
  };
}

/** Drops a generation that was not published; the same document where there is no such one. */
export function withoutNext(generations: Generations, name: GenerationName, untilMs: number): Generations {
  const { next, ...own } = generationsOf(generations, name.id);
  if (next !== name.generation) return generations;
  return {
    views: { ...generations.views, [name.id]: own },
    dropped: [...generations.dropped, { id: name.id, generation: name.generation, untilMs }],
  };
}

/**
 * Points readers at generations, each of another view: at one made for it, or at the one before. RangeError where
 * another has been made or published in its place meanwhile.
 */
export function withPublished(
  generations: Generations,
  names: readonly GenerationName[],
  untilMs: number,
): Generations {
  const views: Record<string, ViewGenerations> = { ...generations.views };
  const dropped = [...generations.dropped];
  for (const { id, generation } of names) {
    const { next, previous, ...own } = generationsOf({ views, dropped }, id);
    if (generation === own.generation) continue;
    if (generation !== next && generation !== previous)
      throw new RangeError(`generation ${generation} of "${id}" has been replaced by another`);
    if (previous !== undefined && previous !== generation) dropped.push({ id, generation: previous, untilMs });
    views[id] = {
      ...own,
      ...(next === undefined || next === generation ? {} : { next }),
      generation,
      previous: own.generation,
    };
  }
  return { views, dropped };
}

/** The document without a dropped generation, once its states are gone. */
export function withoutDropped(generations: Generations, { id, generation }: GenerationName): Generations {
  return {
    ...generations,
    dropped: generations.dropped.filter((other) => other.id !== id || other.generation !== generation),
  };
}
