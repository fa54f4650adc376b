import { canonicalJson, sha256 } from "./canonical.ts";
import type { FeatureViewContent, LabelMove, ModelContent } from "./catalog.ts";

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
