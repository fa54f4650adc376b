import { create } from "@bufbuild/protobuf";
import { afterAll, describe, expect, test } from "@jest/globals";
import { inference } from "@weft/contracts";
import { CallScope } from "@weft/rpc";
import type { OnnxSession } from "./adapters/onnx-session.ts";
import { ModelCatalog } from "./domain/model-catalog.ts";
import type { ServedModel } from "./domain/served-model.ts";
import { createInferenceService } from "./service.ts";
import { onnxModel, weightedSumModel } from "./testing/onnx-model.ts";
import { openModel, serveModel } from "./testing/serve-model.ts";

const opened: OnnxSession[] = [];
const open = (bytes: Uint8Array): OnnxSession => {
  const session = openModel(bytes);
  opened.push(session);
  return session;
};
afterAll(() => {
  for (const session of opened) session.close();
});

const mixedModel = onnxModel({
  inputs: [
    { name: "doubles", type: "double", shape: ["n", 2] },
    { name: "longs", type: "int64", shape: ["n"] },
    { name: "ints", type: "int32", shape: ["n"] },
    { name: "flags", type: "bool", shape: ["n"] },
  ],
  outputs: [
    { name: "doubles_out", type: "double", shape: ["n", 2] },
    { name: "longs_out", type: "int64", shape: ["n"] },
    { name: "ints_out", type: "int32", shape: ["n"] },
    { name: "not_flags", type: "bool", shape: ["n"] },
  ],
  nodes: [
    { operator: "Add", inputs: ["doubles", "doubles"], outputs: ["doubles_out"] },
    { operator: "Identity", inputs: ["longs"], outputs: ["longs_out"] },
    { operator: "Neg", inputs: ["ints"], outputs: ["ints_out"] },
    { operator: "Not", inputs: ["flags"], outputs: ["not_flags"] },
  ],
});

function serve(models: readonly ServedModel[]) {
  const catalog = new ModelCatalog<ServedModel>();
  catalog.update([{ id: "test-000000000001", scenario: "test", champion: true, models }]);
  const service = createInferenceService({ catalog, ready: () => true, serverVersion: "0" });
  const infer = (
    init: Parameters<typeof create<typeof inference.ModelInferRequestSchema>>[1],
    context: ConstructorParameters<typeof CallScope>[0] = {},
  ) =>
    (async () => {
      const response = await service.modelInfer(
        create(inference.ModelInferRequestSchema, init),
        new CallScope(context),
      );
      return create(inference.ModelInferResponseSchema, response);
    })();
  return { service, infer };
}

function sum(name = "model", options: Parameters<typeof serveModel>[1] = {}) {
  return serveModel(open(weightedSumModel(3)), { name, ...options });
}

/** Raw bytes at an odd offset, as a decoder hands them out. */
function raw(values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  const shifted = new Uint8Array(bytes.length + 1);
  shifted.set(bytes, 1);
  return shifted.subarray(1);
}

function request(rows: readonly (readonly number[])[], more: object = {}) {
  return {
    modelName: "model",
    inputs: [{ name: "features", datatype: "FP32", shape: [BigInt(rows.length), 3n] }],
    rawInputContents: [raw(rows.flat())],
    ...more,
  };
}

const floats = (bytes: Uint8Array | undefined): number[] =>
  Array.from(new Float32Array(bytes === undefined ? new ArrayBuffer(0) : bytes.slice().buffer));

describe("ModelInfer", () => {
  test("raw in, raw out; unaligned bytes; concurrent requests share one run", async () => {
    const { model, observed } = sum();
    const { infer } = serve([model]);
    const answers = await Promise.all([
      infer(request([[1, 2, 3]], { id: "a" })),
      infer(
        request(
          [
            [0, 0, 1],
            [1, 0, 0],
          ],
          { id: "b" },
        ),
      ),
    ]);
    expect(answers.map((answer) => floats(answer.rawOutputContents[0]))).toEqual([[14], [3, 1]]);
    expect(answers.map((answer) => [answer.id, answer.modelVersion, answer.outputs[0]?.shape])).toEqual([
      ["a", "1", [1n, 1n]],
      ["b", "1", [2n, 1n]],
    ]);
    expect(observed.batches).toEqual([{ items: 2, rows: 3 }]);
  });

  test("typed in, typed out, in every datatype", async () => {
    const { infer } = serve([serveModel(open(mixedModel)).model]);
    const answer = await infer({
      modelName: "model",
      inputs: [
        { name: "flags", datatype: "BOOL", shape: [2n], contents: { boolContents: [true, false] } },
        { name: "doubles", datatype: "FP64", shape: [2n, 2n], contents: { fp64Contents: [1, 2.5, 3, 4] } },
        { name: "longs", datatype: "INT64", shape: [2n], contents: { int64Contents: [2n ** 62n + 1n, -1n] } },
        { name: "ints", datatype: "INT32", shape: [2n], contents: { intContents: [7, -8] } },
      ],
      outputs: [{ name: "not_flags" }, { name: "longs_out" }, { name: "ints_out" }, { name: "doubles_out" }],
    });
    expect(answer.rawOutputContents).toEqual([]);
    expect(answer.outputs.map((output) => output.name)).toEqual(["not_flags", "longs_out", "ints_out", "doubles_out"]);
    expect(answer.outputs[0]?.contents?.boolContents).toEqual([false, true]);
    expect(answer.outputs[1]?.contents?.int64Contents).toEqual([2n ** 62n + 1n, -1n]);
    expect(answer.outputs[2]?.contents?.intContents).toEqual([-7, 8]);
    expect(answer.outputs[3]?.contents?.fp64Contents).toEqual([2, 5, 6, 8]);
  });

  test("property: answers of random concurrent requests equal the sum computed here", async () => {
    for (let seed = 1; seed <= 20; seed += 1) {
      let state = seed;
      const random = () => {
        state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
        return state / 0x7fffffff;
      };
      const { model } = sum("model", { limits: { batchRowsMax: 1 + Math.floor(random() * 20) } });
      const { infer } = serve([model]);
      const requests = Array.from({ length: 30 }, () =>
        Array.from({ length: 1 + Math.floor(random() * 9) }, () =>
          [0, 0, 0].map(() => Math.floor(random() * 100) - 50),
        ),
      );
      const answers = await Promise.all(requests.map((rows) => infer(request(rows))));
      expect({ seed, answers: answers.map((answer) => floats(answer.rawOutputContents[0])) }).toEqual({
        seed,
        answers: requests.map((rows) => rows.map(([a = 0, b = 0, c = 0]) => a + 2 * b + 3 * c)),
      });
    }
  });

  test("a model with a fixed batch or variable inner dimension runs each request on its own", async () => {
    const fixed = onnxModel({
      inputs: [{ name: "x", type: "float", shape: ["n", "m"] }],
      outputs: [{ name: "y", type: "float", shape: ["n", "m"] }],
      nodes: [{ operator: "Neg", inputs: ["x"], outputs: ["y"] }],
    });
    const { model, observed } = serveModel(open(fixed));
    const { infer } = serve([model]);
    const ask = (shape: bigint[], values: number[]) =>
      infer({
        modelName: "model",
        inputs: [{ name: "x", datatype: "FP32", shape }],
        rawInputContents: [raw(values)],
      });
    const [a, b] = await Promise.all([ask([1n, 2n], [1, 2]), ask([2n, 1n], [3, 4])]);
    expect([floats(a?.rawOutputContents[0]), floats(b?.rawOutputContents[0])]).toEqual([
      [-1, -2],
      [-3, -4],
    ]);
    expect(observed.batches.length).toBe(2);
  });

  test("NaN is a missing value unless the model refuses it; infinities are refused, and fail their request alone", async () => {
    const { infer } = serve([sum().model]);
    const [good, infinite, missing] = await Promise.allSettled([
      infer(request([[1, 1, 1]])),
      infer(
        request([
          [1, 1, 1],
          [0, Number.NEGATIVE_INFINITY, 0],
        ]),
      ),
      infer(request([[Number.NaN, 0, 0]])),
    ]);
    expect(good?.status === "fulfilled" && floats(good.value.rawOutputContents[0])).toEqual([6]);
    expect(missing?.status === "fulfilled" && floats(missing.value.rawOutputContents[0])).toEqual([Number.NaN]);
    expect(infinite).toMatchObject({
      reason: {
        reason: "VALUE_REFUSED",
        message: 'tensor "features" holds -infinity in row 1, column 1',
      },
    });
    const strict = serve([sum("model", { nanRefused: true }).model]);
    await expect(strict.infer(request([[0, 0, Number.NaN]]))).rejects.toMatchObject({
      message: 'tensor "features" holds NaN in row 0, column 2',
    });
  });

  test.each([
    ["unknown model", { modelName: "other" }, "MODEL_NOT_FOUND", 'no champion release has a model "other"'],
    [
      "unknown version",
      { modelVersion: "7" },
      "MODEL_VERSION_NOT_FOUND",
      'no loaded release has version "7" of "model"',
    ],
    [
      "unknown input",
      { inputs: [{ name: "x", datatype: "FP32", shape: [1n, 3n] }] },
      "TENSOR_UNKNOWN",
      'model "model" has no tensor "x"; it has "features"',
    ],
    [
      "unknown output",
      { outputs: [{ name: "y" }] },
      "TENSOR_UNKNOWN",
      'model "model" has no tensor "y"; it has "score"',
    ],
    [
      "missing input",
      { inputs: [], rawInputContents: [] },
      "TENSOR_MISSING",
      'model "model" needs the input tensor "features"',
    ],
    [
      "repeated input",
      {
        inputs: [1, 2].map(() => ({ name: "features", datatype: "FP32", shape: [1n, 3n] })),
        rawInputContents: [raw([1, 2, 3]), raw([1, 2, 3])],
      },
      "TENSOR_REPEATED",
      'tensor "features" is sent more than once',
    ],
    [
      "datatype",
      { inputs: [{ name: "features", datatype: "FP64", shape: [1n, 3n] }] },
      "TENSOR_DATATYPE",
      'tensor "features" is FP32, not FP64',
    ],
    [
      "columns",
      { inputs: [{ name: "features", datatype: "FP32", shape: [1n, 4n] }] },
      "TENSOR_SHAPE",
      'tensor "features" has shape [-1, 3], not [1, 4]',
    ],
    [
      "no rows",
      { inputs: [{ name: "features", datatype: "FP32", shape: [0n, 3n] }] },
      "TENSOR_SHAPE",
      'tensor "features" has shape [-1, 3], not [0, 3]',
    ],
    [
      "rank",
      { inputs: [{ name: "features", datatype: "FP32", shape: [3n] }] },
      "TENSOR_SHAPE",
      'tensor "features" has shape [-1, 3], not [3]',
    ],
    [
      "byte length",
      { rawInputContents: [raw([1, 2])] },
      "TENSOR_CONTENTS",
      'contents of tensor "features": [1, 3] of FP32 takes 12 bytes, not 8',
    ],
    [
      "raw count",
      { rawInputContents: [raw([1]), raw([2])] },
      "TENSOR_CONTENTS",
      'contents of tensor "features": 2 raw_input_contents for 1 inputs',
    ],
    [
      "both forms",
      { inputs: [{ name: "features", datatype: "FP32", shape: [1n, 3n], contents: { fp32Contents: [1, 2, 3] } }] },
      "TENSOR_CONTENTS",
      'contents of tensor "features": sent both as contents and in raw_input_contents',
    ],
    [
      "wrong list",
      {
        rawInputContents: [],
        inputs: [{ name: "features", datatype: "FP32", shape: [1n, 3n], contents: { fp64Contents: [1, 2, 3] } }],
      },
      "TENSOR_CONTENTS",
      'contents of tensor "features": FP32 elements belong in fp32Contents, not fp64Contents',
    ],
  ])("refuses: %s", async (_name, change, reason, message) => {
    const { infer } = serve([sum().model]);
    await expect(infer(request([[1, 2, 3]], change))).rejects.toMatchObject({ reason, message });
  });

  test("a deadline that has passed is never executed", async () => {
    const { model, observed } = sum();
    const { infer } = serve([model]);
    await expect(infer(request([[1, 2, 3]]), { deadlineMs: Date.now() - 1 })).rejects.toMatchObject({
      reason: "DEADLINE_PASSED",
    });
    expect(observed).toMatchObject({ batches: [], expired: 1 });
  });

  test("a model that fails says why, and the next batch runs", async () => {
    const dividing = onnxModel({
      inputs: [{ name: "features", type: "int64", shape: ["n", 3] }],
      outputs: [{ name: "score", type: "int64", shape: ["n", 2] }],
      nodes: [
        { operator: "Reshape", inputs: ["features", "shape"], outputs: ["score"] },
        { operator: "Cast", inputs: ["wanted"], outputs: ["shape"], attributes: { to: 7 } },
      ],
      constants: [{ name: "wanted", shape: [2], values: [-1, 2] }],
    });
    const { model, observed } = serveModel(open(dividing));
    const { infer } = serve([model]);
    const ask = (values: bigint[]) =>
      infer({
        modelName: "model",
        inputs: [
          {
            name: "features",
            datatype: "INT64",
            shape: [BigInt(values.length / 3), 3n],
            contents: { int64Contents: values },
          },
        ],
      });
    await expect(ask([1n, 2n, 3n])).rejects.toMatchObject({
      reason: "MODEL_FAILED",
      message: expect.stringMatching(/model "model" version 1 failed: .*(reshape|Reshape)/),
    });
    await expect(ask([1n, 2n, 3n, 4n, 5n, 6n])).rejects.toMatchObject({
      message: 'model "model" version 1 failed: output "score" has shape [3, 2] for a batch of 2 rows',
    });
    expect(observed.failed).toBe(2);
  });
});

describe("models", () => {
  test("metadata, readiness and the release's version", async () => {
    const catalog = new ModelCatalog<ServedModel>();
    const old = sum("model", { version: "1" }).model;
    const current = sum("model", { version: "2" }).model;
    catalog.update([
      { id: "test-a", scenario: "test", champion: true, models: [old] },
      { id: "test-b", scenario: "test", champion: false, models: [current] },
    ]);
    const service = createInferenceService({ catalog, ready: () => false, serverVersion: "0.1.0" });
    const metadata = (version: string, release: string) =>
      service.modelMetadata(
        create(inference.ModelMetadataRequestSchema, { name: "model", version }),
        new CallScope({ release }),
      );
    expect(await metadata("", "")).toEqual({
      name: "model",
      versions: ["1", "2"],
      platform: "onnxruntime_onnx",
      inputs: [{ name: "features", datatype: "FP32", shape: [-1n, 3n] }],
      outputs: [{ name: "score", datatype: "FP32", shape: [-1n, 1n] }],
      properties: { scenario: "test", version: "1", batched: "true" },
    });
    expect((await metadata("", "test-b")).properties).toMatchObject({ version: "2" });
    expect((await metadata("2", "")).properties).toMatchObject({ version: "2" });
    const ready = (name: string, version: string) =>
      service.modelReady(create(inference.ModelReadyRequestSchema, { name, version }), new CallScope({}));
    expect([await ready("model", ""), await ready("model", "3"), await ready("x", "")]).toEqual([
      { ready: true },
      { ready: false },
      { ready: false },
    ]);
    expect(await service.serverReady(create(inference.ServerReadyRequestSchema), new CallScope({}))).toEqual({
      ready: false,
    });
  });

  test("warm-up runs every batch size and reports a model that fails", async () => {
    const { model } = sum("model", { limits: { batchRowsMax: 100 } });
    await model.warm(2, []);
    const broken = serveModel({
      signature: model.signature,
      run: () => {
        throw new Error("no such kernel");
      },
      close: () => {},
    }).model;
    await expect(broken.warm(1, [])).rejects.toMatchObject({
      message: 'model "model" version 1 failed: no such kernel',
    });
  });
});
