import type { registry } from "@weft/contracts";
import { packScenario } from "@weft/release";
import type { Client } from "@weft/rpc";
import type { FeatureView, Scenario } from "@weft/scenario";
import { type ModelArtifacts, readArtifacts } from "./artifacts.ts";

type Registry = Client<typeof registry.RegistryService>;

const chunkBytes = 1024 * 1024;

/** What a push has put into the registry. */
export interface Pushed {
  readonly codeDigest: string;
  readonly featureViews: readonly { readonly name: string; readonly version: string }[];
  readonly models: readonly { readonly name: string; readonly version: string }[];
}

/** Stores bytes in the registry; answers their digest. */
export async function putArtifact(client: Registry, bytes: Uint8Array): Promise<string> {
  const parts = async function* () {
    for (let offset = 0; offset < bytes.length; offset += chunkBytes)
      yield { chunk: bytes.subarray(offset, offset + chunkBytes) };
  };
  return (await client.putArtifact(parts())).digest;
}

/** The definition of a view as canonical JSON: what it computes, without where it is written or how it is described. */
export function viewDefinition(view: FeatureView): string {
  const { entities, source, ttl, features, aggregates, ladder } = view;
  return canonicalJson({
    entities: entities.map(({ entity, field }) => ({ entity: entity.name, key: entity.key, field })),
    source: {
      name: source.name,
      file: source.file,
      eventTime: source.eventTime,
      createdTime: source.createdTime,
      fields: source.fields,
    },
    ttl,
    features,
    aggregates,
    ladder,
  });
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner === "bigint") return inner.toString();
    if (typeof inner !== "object" || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

/** Pushes a scenario's code and views. */
export async function pushDefinitions(
  client: Registry,
  folder: string,
  scenario: Scenario,
): Promise<Omit<Pushed, "models">> {
  const codeDigest = await putArtifact(client, packScenario(folder).bytes);
  const featureViews = [];
  for (const view of scenario.views) {
    const request = { scenario: scenario.name, name: view.name, definition: viewDefinition(view) };
    const { featureView } = await client.registerFeatureView(request);
    featureViews.push({ name: view.name, version: featureView?.version ?? "" });
  }
  return { codeDigest, featureViews };
}

/** Pushes a scenario: code, views, and the models of its `artifacts` folder with their lineage. What is there already stays as it is. */
export async function pushScenario(client: Registry, folder: string, scenario: Scenario): Promise<Pushed> {
  const definitions = await pushDefinitions(client, folder, scenario);
  const models = [];
  for (const model of scenario.models) {
    const artifacts = readArtifacts(folder, model);
    const artifactDigest = await putArtifact(client, artifacts.onnx);
    const referenceDigest = artifacts.reference === undefined ? "" : await putArtifact(client, artifacts.reference);
    const registered = await client.registerModel({
      model: {
        scenario: scenario.name,
        name: model.name,
        artifactDigest,
        referenceDigest,
        features: [...model.features],
        metrics: { ...artifacts.metrics },
        ...tensors(artifacts),
        lineage: {
          ...artifacts.lineage,
          libraries: { ...artifacts.lineage.libraries },
          featureViews: [...artifacts.lineage.featureViews],
          trainingRows: BigInt(artifacts.lineage.trainingRows),
        },
      },
    });
    models.push({ name: model.name, version: registered.model?.version ?? "" });
  }
  return { ...definitions, models };
}

function tensors(artifacts: ModelArtifacts) {
  const convert = (list: ModelArtifacts["inputs"]) =>
    list.map(({ name, datatype, shape }) => ({ name, datatype, shape: shape.map((size) => BigInt(size)) }));
  return { inputs: convert(artifacts.inputs), outputs: convert(artifacts.outputs) };
}
