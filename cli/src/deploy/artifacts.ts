import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Model } from "@weft/scenario";
import { CommandFailure } from "../failure.ts";

/** A tensor as `signature.json` writes it. */
interface Tensor {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
}

/** What a trainer and `weft train` leave in `<scenario>/artifacts/<model>/`. */
export interface ModelArtifacts {
  readonly onnx: Buffer;
  readonly reference: Buffer | undefined;
  readonly metrics: Readonly<Record<string, number>>;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly lineage: {
    readonly libraries: Readonly<Record<string, string>>;
    readonly trainer: string;
    readonly trainingRows: number;
    readonly trainingSetHash: string;
    readonly featureViews: readonly string[];
    readonly codeDigest: string;
    /** Identifies the definitions of the model's inputs. */
    readonly inputsDigest: string;
  };
}

function readJson(path: string): Record<string, unknown> {
  const content: unknown = JSON.parse(readFileSync(path, "utf8"));
  if (typeof content !== "object" || content === null) throw new CommandFailure(`${path} must hold a JSON object`);
  return content as Record<string, unknown>;
}

/** Reads a model's artifacts and checks them against the manifest. Throws CommandFailure where one is missing or changed. */
export function readArtifacts(folder: string, model: Model): ModelArtifacts {
  const directory = join(folder, "artifacts", model.name);
  if (!existsSync(join(directory, "model.onnx")))
    throw new CommandFailure(`${directory} holds no model.onnx; make it with: npx weft train ${folder}`);
  checkManifest(folder, model.name);
  const onnx = readFileSync(join(directory, "model.onnx"));
  const signature = readJson(join(directory, "signature.json"));
  const lineage = readJson(join(directory, "lineage.json"));
  const referencePath = join(directory, "reference.json");
  return {
    onnx,
    reference: existsSync(referencePath) ? readFileSync(referencePath) : undefined,
    metrics: readJson(join(directory, "metrics.json")).metrics as Record<string, number>,
    inputs: signature.inputs as readonly Tensor[],
    outputs: signature.outputs as readonly Tensor[],
    lineage: {
      libraries: (lineage.libraries ?? {}) as Record<string, string>,
      trainer: String(lineage.trainer ?? model.trainer.name),
      trainingRows: Number(lineage.training_rows ?? 0),
      trainingSetHash: String(lineage.training_set_hash ?? ""),
      featureViews: (lineage.feature_views ?? []) as readonly string[],
      codeDigest: String(lineage.code_digest ?? ""),
      inputsDigest: String(lineage.inputs_digest ?? ""),
    },
  };
}

/** Files of a model that the manifest covers. */
export const manifestFiles = [
  "model.onnx",
  "metrics.json",
  "signature.json",
  "reference.json",
  "lineage.json",
] as const;

/** sha256 of a file in hex. */
export function fileDigest(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

function checkManifest(folder: string, model: string): void {
  const path = join(folder, "artifacts", "manifest.json");
  if (!existsSync(path)) throw new CommandFailure(`${path} is missing; make it with: npx weft train ${folder}`);
  const files = readJson(path).files as Record<string, string>;
  for (const name of manifestFiles) {
    const file = join(folder, "artifacts", model, name);
    const expected = files[`${model}/${name}`];
    if (expected === undefined) continue;
    if (!existsSync(file) || fileDigest(file) !== expected)
      throw new CommandFailure(`${file} is not the file that the manifest names: corrupt or changed by hand`);
  }
}
