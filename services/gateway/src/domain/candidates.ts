import type { Key, Neighbors } from "./peers.ts";

/** An item that may be recommended. */
export interface Candidate {
  readonly key: Key;
  /** Source that ranked it highest. */
  readonly source: string;
  /** Similarity in that source; greater is closer. */
  readonly similarity: number;
}

/** What one source found. */
export interface SourceResult {
  readonly source: string;
  /** Greatest number of candidates that the source may give. */
  readonly count: number;
  readonly neighbors: Neighbors;
}

/**
 * Merges sources into one list without repeats, at most `candidateMax`, dropping what is in `dropped`. Sources take turns
 * by rank, because similarities of different indexes do not compare: first every source's best, then every second, and so
 * on. An item that several sources found belongs to the one that ranked it highest, or to the earlier source.
 */
export function mergeCandidates(
  sources: readonly SourceResult[],
  dropped: ReadonlySet<Key>,
  candidateMax: number,
): Candidate[] {
  const taken = new Set<Key>();
  const merged: Candidate[] = [];
  const lengths = sources.map(({ count, neighbors }) => Math.min(count, neighbors.keys.length));
  const ranks = Math.max(0, ...lengths);
  for (let rank = 0; rank < ranks; rank++) {
    for (const [index, { source, neighbors }] of sources.entries()) {
      if (merged.length >= candidateMax) return merged;
      const key = neighbors.keys[rank];
      if (key === undefined || rank >= (lengths[index] ?? 0) || taken.has(key)) continue;
      taken.add(key);
      if (!dropped.has(key)) merged.push({ key, source, similarity: neighbors.similarities[rank] ?? 0 });
    }
  }
  return merged;
}

/**
 * Positions of the greatest scores, best first, at most `count`; ties keep the order of the candidates. Scores that are not
 * finite are left out.
 */
export function orderByScore(scores: Float32Array, count: number): number[] {
  const positions: number[] = [];
  for (let position = 0; position < scores.length; position++)
    if (Number.isFinite(scores[position])) positions.push(position);
  positions.sort((one, other) => (scores[other] ?? 0) - (scores[one] ?? 0) || one - other);
  return positions.length > count ? positions.slice(0, count) : positions;
}
