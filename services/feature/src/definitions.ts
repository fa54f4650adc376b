import type { FeatureService, Model, ValueType } from "@weft/scenario";
import type { FeatureRelease } from "./domain/views/feature-release.ts";

/** What a release defines, as a message: its views and its feature services, those of the models first. */
export function definitionsOf(release: FeatureRelease) {
  const { scenario } = release;
  return {
    releaseId: release.id,
    featureViews: [...release.views.values()].map(({ compiled, version }) => {
      const { entities, source, ladder, owner = "", description = "", tags = {} } = compiled.view;
      return {
        name: compiled.name,
        version,
        entities: entities.map(({ entity }) => typedName(entity.name, entity.key)),
        source: source.name,
        features: compiled.features.map(({ name, type }) => typedName(name, type)),
        ttl: { seconds: BigInt(Math.floor(compiled.ttlUs / 1e6)), nanos: (compiled.ttlUs % 1e6) * 1_000 },
        ladder: [...ladder],
        owner,
        description,
        tags: { ...tags },
      };
    }),
    featureServices: [...scenario.models, ...(scenario.featureServices ?? [])].map((service) => {
      const plan = release.service(service.name);
      return {
        name: service.name,
        features: plan.columns.map(({ reference, type }) => typedName(reference, type)),
        entities: plan.entities.map(({ name, key }) => typedName(name, key)),
        requestFeatures: plan.fields.map(({ name, type }) => typedName(name, type)),
        ...textsOf(service),
      };
    }),
  };
}

function textsOf(service: Model | FeatureService) {
  if (service.kind !== "feature-service") return { owner: "", description: "", tags: {} };
  const { owner = "", description = "", tags = {} } = service;
  return { owner, description, tags: { ...tags } };
}

function typedName(name: string, type: ValueType): { readonly name: string; readonly type: string } {
  if (typeof type === "string") return { name, type };
  return { name, type: "vector" in type ? `vector(${type.vector})` : `keys(${type.keys})` };
}
