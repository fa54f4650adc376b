import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { inference } from "@weft/contracts";
import { FakeRegistry, startOnFreePorts } from "@weft/testkit";
import { ranking } from "./index.ts";
import { onnxModel, weightedSumModel } from "./testing/onnx-model.ts";

type Running = Awaited<ReturnType<typeof startOnFreePorts>>;

/** A model that answers a constant plus the sum of two features: tells versions apart. */
function shiftedModel(shift: number): Uint8Array {
  return onnxModel({
    inputs: [{ name: "features", type: "float", shape: ["n", 2] }],
    outputs: [{ name: "score", type: "float", shape: ["n", 1] }],
    nodes: [
      { operator: "MatMul", inputs: ["features", "ones"], outputs: ["sum"] },
      { operator: "Add", inputs: ["sum", "shift"], outputs: ["score"] },
    ],
    constants: [
      { name: "ones", shape: [2, 1], values: [1, 1] },
      { name: "shift", shape: [1], values: [shift] },
    ],
  });
}

describe("ranking", () => {
  let fake: FakeRegistry;
  let running: Running;

  beforeEach(async () => {
    fake = new FakeRegistry();
    running = await startOnFreePorts([fake.definition, ranking], ["--ranking.release-grace-ms=0"]);
  });
  afterEach(() => running.stop());

  const client = () => running.dial(inference.GRPCInferenceService);
  const modelOf = (version: string, bytes: Uint8Array, more: object = {}) => ({
    name: "tree",
    version,
    artifactDigest: fake.put(bytes),
    features: ["view:a", "view:b"],
    inputs: [{ name: "features", datatype: "FP32", shape: [-1n, 2n] }],
    outputs: [{ name: "score", datatype: "FP32", shape: [-1n, 1n] }],
    ...more,
  });
  const infer = async (release = "", modelVersion = "") => {
    const request = {
      modelName: "tree",
      modelVersion,
      inputs: [{ name: "features", datatype: "FP32", shape: [1n, 2n] }],
      rawInputContents: [new Uint8Array(Float32Array.of(1, 2).buffer)],
    };
    const answer = await client().modelInfer(request, { release });
    return [answer.modelVersion, ...new Float32Array((answer.rawOutputContents[0] as Uint8Array).slice().buffer)];
  };
  /** Asks until the answer is as expected: labels reach the service by a watch. */
  const eventually = async (expected: unknown, ask: () => Promise<unknown>) => {
    for (const deadline = Date.now() + 5_000; ; ) {
      const found = await ask().catch((error: { reason?: string }) => error.reason);
      if (JSON.stringify(found) === JSON.stringify(expected) || Date.now() > deadline) {
        expect(found).toEqual(expected);
        return;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  };

  test("becomes ready with its first release, follows labels, and lets releases go", async () => {
    expect(running.unmet()).toContain("ranking: releases");
    expect((await client().serverReady({})).ready).toBe(false);
    const first = fake.release("fraud", 1, { models: [modelOf("1", shiftedModel(10))] });
    const second = fake.release("fraud", 2, { models: [modelOf("2", shiftedModel(20))] });
    fake.label(["champion", first]);
    await running.ready();
    expect((await client().serverReady({})).ready).toBe(true);
    expect(await infer()).toEqual(["1", 13]);
    fake.label(["champion", first], ["challenger", second]);
    await eventually(["2", 23], () => infer(second.id));
    expect(await infer()).toEqual(["1", 13]);
    expect(await infer("", "2")).toEqual(["2", 23]);
    fake.label(["champion", second]);
    await eventually(["2", 23], () => infer());
    await eventually("RELEASE_UNKNOWN", () => infer(first.id));
    await eventually("MODEL_VERSION_NOT_FOUND", () => infer("", "1"));
  });

  test("releases that name the same version share it; reference statistics warm it", async () => {
    const reference = fake.put(Buffer.from(JSON.stringify({ features: { "view:a": { edges: [1, 2, 3] } } })));
    const model = modelOf("1", shiftedModel(1), { referenceDigest: reference });
    const first = fake.release("fraud", 1, { models: [model] });
    const second = fake.release("fraud", 2, { models: [model] });
    fake.label(["champion", first], ["canary", second]);
    await running.ready();
    expect(await infer(second.id)).toEqual(["1", 4]);
    fake.label(["champion", first]);
    await eventually("RELEASE_UNKNOWN", () => infer(second.id));
    expect(await infer(first.id)).toEqual(["1", 4]);
  });

  test("a model that is not what was registered keeps its release out, and the champion serving", async () => {
    const good = fake.release("fraud", 1, { models: [modelOf("1", shiftedModel(0))] });
    const wide = fake.release("fraud", 2, { models: [modelOf("2", weightedSumModel(3))] });
    const garbage = fake.release("fraud", 3, { models: [modelOf("3", Buffer.from("no model"))] });
    fake.label(["champion", good]);
    await running.ready();
    fake.label(["champion", wide], ["canary", garbage]);
    await eventually("RELEASE_NOT_LOADED", () => infer(wide.id));
    await eventually("RELEASE_NOT_LOADED", () => infer(garbage.id));
    expect(await infer()).toEqual(["1", 3]);
  });

  test("without a deployed release says so", async () => {
    await expect(infer()).rejects.toMatchObject({ reason: "MODEL_NOT_FOUND" });
    await expect(infer("fraud-000000000009")).rejects.toMatchObject({ domain: "weft.release" });
  });
});
