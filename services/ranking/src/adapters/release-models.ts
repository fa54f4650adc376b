import { readFile } from "node:fs/promises";
import { setImmediate as turn } from "node:timers/promises";
import type { registry } from "@weft/contracts";
import type { LoadParts } from "@weft/release";
import type { BatcherLimits, BatcherSchedule } from "../domain/dynamic-batcher.ts";
import { type ModelObserver, ServedModel } from "../domain/served-model.ts";
import { type Signature, shapeText, type TensorSpec } from "../domain/signature.ts";
import { errors } from "../errors.ts";
import { OnnxSession } from "./onnx-session.ts";

/** How the models of releases are served. */
export interface ReleaseModelsOptions {
  readonly limits: BatcherLimits;
  /** Names of models that refuse NaN. */
  readonly nanRefused: ReadonlySet<string>;
  /** Runs of a model at each batch size before it is ready. */
  readonly warmupRunCount: number;
  readonly schedule: BatcherSchedule;
  readonly observe: (model: string, version: string) => ModelObserver;
}

interface Shared {
  readonly model: ServedModel;
  holders: number;
}

/** Opens, checks and warms the models of releases; releases that name the same version share its session. */
export class ReleaseModels {
  private readonly options: ReleaseModelsOptions;
  private readonly shared = new Map<string, Shared>();

  constructor(options: ReleaseModelsOptions) {
    this.options = options;
  }

  /** All models of a release, ready to answer. Throws MODEL_REFUSED or MODEL_FAILED. */
  async load({ release, artifact }: Pick<LoadParts, "release" | "artifact">): Promise<readonly ServedModel[]> {
    const models: ServedModel[] = [];
    try {
      for (const model of release.models) {
        models.push(await this.acquire(release.scenario, model, artifact));
        // Opening and warming block: the requests that came meanwhile go first.
        await turn();
      }
    } catch (error) {
      await this.unload(models);
      throw error;
    }
    return models;
  }

  /** Gives a release's models back; a session that no release needs is closed. */
  async unload(models: readonly ServedModel[]): Promise<void> {
    for (const model of models) {
      const key = keyOf(model);
      const shared = this.shared.get(key);
      if (shared === undefined) continue;
      shared.holders -= 1;
      if (shared.holders > 0) continue;
      this.shared.delete(key);
      await shared.model.close();
    }
  }

  private async acquire(
    scenario: string,
    record: registry.Model,
    artifact: LoadParts["artifact"],
  ): Promise<ServedModel> {
    const { name, version } = record;
    const key = keyOf({ scenario, name, version });
    const known = this.shared.get(key);
    if (known !== undefined) {
      known.holders += 1;
      return known.model;
    }
    const session = openSession(record, await artifact(record.artifactDigest));
    const { limits, nanRefused, schedule, observe, warmupRunCount } = this.options;
    const model = new ServedModel({
      identity: { scenario, name, version },
      session,
      limits,
      nanRefused: nanRefused.has(name),
      schedule,
      observer: observe(name, version),
    });
    try {
      checkSignature(record, session.signature);
      const reference = record.referenceDigest === "" ? undefined : await artifact(record.referenceDigest);
      await model.warm(
        warmupRunCount,
        reference === undefined ? [] : await referenceRows(reference, record, session.signature),
      );
    } catch (error) {
      await model.close();
      throw error;
    }
    this.shared.set(key, { model, holders: 1 });
    return model;
  }
}

function keyOf({ scenario, name, version }: { scenario: string; name: string; version: string }): string {
  return `${scenario}/${name}/${version}`;
}

function openSession(record: registry.Model, path: string): OnnxSession {
  try {
    return OnnxSession.open(path);
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    throw errors.MODEL_REFUSED({ model: record.name, version: record.version, problem }, { cause: error });
  }
}

/** Throws MODEL_REFUSED where the file is not what was registered. */
function checkSignature(record: registry.Model, signature: Signature): void {
  const refuse = (problem: string) => errors.MODEL_REFUSED({ model: record.name, version: record.version, problem });
  const compare = (kind: string, registered: readonly registry.TensorSignature[], actual: readonly TensorSpec[]) => {
    for (const tensor of registered) {
      const found = actual.find(({ name }) => name === tensor.name);
      if (found === undefined) throw refuse(`the file has no ${kind} "${tensor.name}"`);
      const same =
        found.shape.length === tensor.shape.length && found.shape.every((size, d) => BigInt(size) === tensor.shape[d]);
      if (found.datatype === tensor.datatype && same) continue;
      const text = `${found.datatype} ${shapeText(found.shape)}, registered as ${tensor.datatype} ${shapeText(tensor.shape)}`;
      throw refuse(`${kind} "${tensor.name}" is ${text}`);
    }
  };
  compare("input", record.inputs, signature.inputs);
  compare("output", record.outputs, signature.outputs);
  const columns = signature.inputs.length === 1 ? signature.inputs[0]?.shape[1] : undefined;
  if (record.features.length > 0 && columns !== undefined && columns !== -1 && columns !== record.features.length) {
    throw refuse(`it takes ${columns} columns for ${record.features.length} features`);
  }
}

/** Rows to warm a model with: the recorded deciles of its features, a row a decile. Empty where they do not fit. */
async function referenceRows(
  path: string,
  record: registry.Model,
  signature: Signature,
): Promise<readonly (readonly Uint8Array[])[]> {
  const [input] = signature.inputs;
  const fits = signature.inputs.length === 1 && input?.datatype === "FP32" && input.shape[1] === record.features.length;
  if (!fits) return [];
  const reference = JSON.parse(await readFile(path, "utf8")) as {
    features?: Record<string, { edges?: readonly number[] }>;
  };
  return Array.from({ length: 9 }, (_, decile) => {
    const row = record.features.map((name) => {
      const edges = reference.features?.[name]?.edges ?? [];
      return edges[Math.min(decile, edges.length - 1)] ?? 0;
    });
    return [new Uint8Array(Float32Array.from(row).buffer)];
  });
}
