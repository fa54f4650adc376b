import { errors } from "../errors.ts";
import { canonicalJson, sha256 } from "./canonical.ts";
import type { Catalog, IndexGeneration, ReleaseContent, VersionReference } from "./catalog.ts";

/** The parts that a caller asks for; a version "" means the newest. */
export interface ReleaseRequest {
  readonly scenario: string;
  readonly codeDigest: string;
  readonly models: readonly VersionReference[];
  /** The newest of each of the scenario's views where there are none. */
  readonly featureViews: readonly VersionReference[];
  readonly indexes: readonly IndexGeneration[];
}

/**
 * Finds every part in the catalog and derives the id: `<scenario>-` and the first 12 hex digits of the sha256 over the
 * canonical parts, with the content digests of models and views, so that equal content has an equal id anywhere.
 * Throws MODEL_NOT_FOUND or FEATURE_VIEW_NOT_FOUND.
 */
export async function composeRelease(catalog: Catalog, request: ReleaseRequest): Promise<ReleaseContent> {
  const { scenario, codeDigest } = request;
  const models = await Promise.all(
    request.models.map(async ({ name, version }) => {
      const model = await catalog.model(scenario, name, version);
      if (model === undefined) throw errors.MODEL_NOT_FOUND({ scenario, model: name, version });
      return { name, version: model.version, digest: model.digest };
    }),
  );
  const featureViews =
    request.featureViews.length === 0
      ? await catalog.newestFeatureViews(scenario)
      : await Promise.all(
          request.featureViews.map(async ({ name, version }) => {
            const view = await catalog.featureView(scenario, name, version);
            if (view === undefined) throw errors.FEATURE_VIEW_NOT_FOUND({ scenario, view: name, version });
            return view;
          }),
        );
  const parts = {
    scenario,
    codeDigest,
    models: models.toSorted(byName),
    featureViews: featureViews.map(({ name, version, digest }) => ({ name, version, digest })).toSorted(byName),
    indexes: request.indexes
      .map(({ index, generation }) => ({ index, generation }))
      .toSorted((a, b) => compareText(a.index, b.index)),
  };
  const digest = sha256(canonicalJson(parts));
  return {
    id: `${scenario}-${digest.slice(0, 12)}`,
    scenario,
    digest,
    codeDigest,
    models: parts.models.map(({ name, version }) => ({ name, version })),
    featureViews: parts.featureViews.map(({ name, version }) => ({ name, version })),
    indexes: parts.indexes,
  };
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return compareText(a.name, b.name);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
