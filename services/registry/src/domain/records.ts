import { canonicalJson, sha256 } from "./canonical.ts";
import type { FeatureViewContent, LabelMove, ModelContent, Page, PageQuery } from "./catalog.ts";

/** A feature view's content from a definition in any JSON layout; undefined where it is not a JSON object. */
export function featureViewContent(scenario: string, name: string, json: string): FeatureViewContent | undefined {
  const definition = canonicalObject(json);
  return definition === undefined ? undefined : { scenario, name, definition, digest: sha256(definition) };
}

function canonicalObject(json: string): string | undefined {
  try {
    const parsed: unknown = JSON.parse(json);
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed) ? canonicalJson(parsed) : undefined;
  } catch {
    return undefined;
  }
}

/** sha256 over all that makes a model version what it is. */
export function modelDigest(model: ModelContent): string {
  return sha256(canonicalJson(model));
}

/** What a repeat of a move must have in common with the first. */
export function moveFingerprint(move: LabelMove): string {
  return sha256(canonicalJson([move.scenario, move.label, move.releaseId, move.expectedReleaseId ?? null]));
}

/** Fills a page from records, newest first, with the position of each. Takes no more of them than the page holds and one. */
export function fillPage<T>(
  records: Iterable<{ readonly position: number; readonly record: T }>,
  query: PageQuery,
): Page<T> {
  const entries: T[] = [];
  let bytes = 0;
  let before: number | undefined;
  for (const { position, record } of records) {
    bytes += JSON.stringify(record).length;
    if (entries.length === query.limit || (entries.length > 0 && bytes > query.bytesMax)) return { entries, before };
    entries.push(record);
    before = position;
  }
  return { entries, before: undefined };
}
