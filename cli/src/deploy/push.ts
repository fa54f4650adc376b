import type { registry } from "@weft/contracts";
import { packScenario } from "@weft/release";
import type { Client } from "@weft/rpc";
import type { Model, Scenario } from "@weft/scenario";
import { CommandFailure } from "../failure.ts";
import { type ModelArtifacts, readArtifacts } from "./artifacts.ts";
import { inputsDigest } from "./model-inputs.ts";
import { viewDefinition } from "./view-definition.ts";

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
    checkTrainedOn(folder, scenario, model, artifacts, definitions.codeDigest);
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
          trainer: artifacts.lineage.trainer,
          trainingSetHash: artifacts.lineage.trainingSetHash,
          codeDigest: artifacts.lineage.codeDigest,
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

/** Refuses a model whose inputs are defined otherwise than when it was trained; says where only other code has changed. */
function checkTrainedOn(
  folder: string,
  scenario: Scenario,
  model: Model,
  { lineage }: ModelArtifacts,
  codeDigest: string,
): void {
  if (lineage.inputsDigest !== inputsDigest(scenario, model))
    throw new CommandFailure(
      `model "${model.name}" was trained on other inputs: its features, or the views or transforms behind them, have changed since; train it again with: npx weft train ${folder}`,
    );
  if (lineage.codeDigest !== codeDigest)
    process.stderr.write(
      `${scenario.name}: the code has changed since ${model.name} was trained; its inputs are defined as before\n`,
    );
}

function tensors(artifacts: ModelArtifacts) {
  const convert = (list: ModelArtifacts["inputs"]) =>
    list.map(({ name, datatype, shape }) => ({ name, datatype, shape: shape.map((size) => BigInt(size)) }));
  return { inputs: convert(artifacts.inputs), outputs: convert(artifacts.outputs) };
}
