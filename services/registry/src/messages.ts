import type { MessageInitShape } from "@bufbuild/protobuf";
import type { registry } from "@weft/contracts";
import type { FeatureViewVersion, LabelState, ModelVersion, Release, VersionReference } from "./domain/catalog.ts";
import type { Lineage } from "./domain/lineage.ts";

function timestamp(us: number): { seconds: bigint; nanos: number } {
  const seconds = Math.floor(us / 1e6);
  return { seconds: BigInt(seconds), nanos: (us - seconds * 1e6) * 1_000 };
}

/** A view version as a message. */
export function featureViewMessage(view: FeatureViewVersion): MessageInitShape<typeof registry.FeatureViewSchema> {
  const { createTimeUs, ...rest } = view;
  return { ...rest, createTime: timestamp(createTimeUs) };
}

/** A model version as a message. */
export function modelMessage(model: ModelVersion): MessageInitShape<typeof registry.ModelSchema> {
  const tensor = ({ name, datatype, shape }: ModelVersion["inputs"][number]) => ({
    name,
    datatype,
    shape: shape.map(BigInt),
  });
  const { lineage } = model;
  return {
    scenario: model.scenario,
    name: model.name,
    version: model.version,
    artifactDigest: model.artifactDigest,
    inputs: model.inputs.map(tensor),
    outputs: model.outputs.map(tensor),
    features: [...model.features],
    metrics: { ...model.metrics },
    lineage: {
      ...lineage,
      trainingRows: BigInt(lineage.trainingRows),
      featureViews: [...lineage.featureViews],
      libraries: { ...lineage.libraries },
    },
    referenceDigest: model.referenceDigest,
    createTime: timestamp(model.createTimeUs),
  };
}

/** A release as a message, with its models whole. */
export function releaseMessage(release: Release): MessageInitShape<typeof registry.ReleaseSchema> {
  return {
    id: release.id,
    scenario: release.scenario,
    codeDigest: release.codeDigest,
    models: release.models.map(modelMessage),
    featureViews: release.featureViews.map(({ name, version }) => ({ name, version })),
    indexes: release.indexes.map(({ index, generation }) => ({ index, generation: BigInt(generation) })),
    createTime: timestamp(release.createTimeUs),
  };
}

/** A lineage as a message. */
export function lineageMessage(lineage: Lineage): MessageInitShape<typeof registry.GetLineageResponseSchema> {
  const references = (list: readonly VersionReference[]) => list.map(({ name, version }) => ({ name, version }));
  return {
    sources: [...lineage.sources],
    featureViews: lineage.featureViews.map(({ name, version, source }) => ({ name, version, source })),
    trainingSets: lineage.trainingSets.map(({ hash, featureViews }) => ({
      hash,
      featureViews: references(featureViews),
    })),
    models: lineage.models.map(({ name, version, trainingSetHash }) => ({ name, version, trainingSetHash })),
    releases: lineage.releases.map(({ id, models, featureViews }) => ({
      id,
      models: references(models),
      featureViews: references(featureViews),
    })),
  };
}

/** The labels as a message. */
export function labelStateMessage(state: LabelState): MessageInitShape<typeof registry.WatchReleasesResponseSchema> {
  return {
    revision: BigInt(state.revision),
    releases: state.releases.map(({ label, release }) => ({ label, release: releaseMessage(release) })),
  };
}
