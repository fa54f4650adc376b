import { execFile } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "@jest/globals";
import { processEnvironment } from "@weft/config";
import { FakeRegistry, startOnFreePorts } from "@weft/testkit";
import { ranking } from "./index.ts";
import { weightedSumModel } from "./testing/onnx-model.ts";

const run = promisify(execFile);
const version = "2.73.0";

/** A Python that has Triton's client, installed once into WEFT_CACHE or the user's cache folder. */
async function pythonWithClient(): Promise<string> {
  const caches = processEnvironment().WEFT_CACHE ?? join(homedir(), ".cache", "weft");
  const folder = join(caches, `tritonclient-${version}`);
  if (!existsSync(folder)) {
    mkdirSync(caches, { recursive: true });
    const building = `${folder}-${process.pid}`;
    try {
      await run("python3", ["-m", "venv", building]);
      await run(join(building, "bin/python"), ["-m", "pip", "install", "-q", `tritonclient[grpc]==${version}`]);
      renameSync(building, folder);
    } finally {
      rmSync(building, { recursive: true, force: true });
    }
  }
  return join(folder, "bin/python");
}

test("Triton's own client works unchanged", async () => {
  const python = await pythonWithClient();
  const fake = new FakeRegistry();
  const running = await startOnFreePorts([fake.definition, ranking]);
  try {
    const model = { name: "model", artifactDigest: fake.put(weightedSumModel(3)) };
    const first = fake.release("fraud", 1, { models: [{ ...model, version: "1" }] });
    const second = fake.release("fraud", 2, { models: [{ ...model, version: "2" }] });
    fake.label(["champion", first], ["canary", second]);
    await running.ready();
    const address = running.addresses.get("ranking");
    const script = join(__dirname, "../src/testing/triton_client.py");
    const { stdout } = await run(python, [script, `${address?.host}:${address?.port}`, second.id], { timeout: 60_000 });
    expect(JSON.parse(stdout)).toEqual({
      live: true,
      ready: true,
      model_ready: [true, false],
      server: "weft-ranking",
      platform: "onnxruntime_onnx",
      versions: ["1", "2"],
      inputs: [["features", "FP32", [-1, 3]]],
      scores: [[14], [1.5]],
      version: "1",
      id: "r1",
      pinned: ["2", [[14], [1.5]]],
      faults: [
        ["StatusCode.INVALID_ARGUMENT", 'tensor "features" has shape [-1, 3], not [1, 4]'],
        ["StatusCode.INVALID_ARGUMENT", 'tensor "features" is FP32, not FP64'],
        ["StatusCode.INVALID_ARGUMENT", 'model "model" has no tensor "other"; it has "features"'],
      ],
      failed: 0,
    });
  } finally {
    await running.stop();
  }
}, 180_000);
