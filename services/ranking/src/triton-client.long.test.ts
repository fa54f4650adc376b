import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "@jest/globals";
import { pythonEnvironment } from "@weft/local-servers";
import { FakeRegistry, startOnFreePorts } from "@weft/testkit";
import { ranking } from "./index.ts";
import { weightedSumModel } from "./testing/onnx-model.ts";

const run = promisify(execFile);
const version = "2.73.0";

const triton = { name: `tritonclient-${version}`, requirements: [`tritonclient[grpc]==${version}`] };

test("Triton's own client works unchanged", async () => {
  const python = await pythonEnvironment(triton.name, triton.requirements);
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
