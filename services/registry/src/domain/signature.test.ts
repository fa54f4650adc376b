import { expect, test } from "@jest/globals";
import type { OnnxModel } from "./onnx.ts";
import { compareSignature } from "./signature.ts";

const graph: OnnxModel = {
  inputs: [{ name: "features", datatype: "FP32", shape: [-1, 2] }],
  outputs: [
    { name: "label", datatype: "INT64", shape: [-1] },
    { name: "probability", datatype: "FP32", shape: [-1, 1] },
    { name: "open", datatype: "FP32", shape: undefined },
    { name: "maps", datatype: "", shape: undefined },
  ],
  nodeCount: 1,
};
const features = ["card:count_1h", "request:amount"];
const input = { name: "features", datatype: "FP32", shape: [-1, 2] };
const output = { name: "probability", datatype: "FP32", shape: [-1, 1] };
const compare = (change: Partial<Parameters<typeof compareSignature>[0]>) =>
  compareSignature({ inputs: [input], outputs: [output], features, ...change }, graph).map(
    (fault) => `${fault.field}: ${fault.description}`,
  );

test("a declaration that fits has no fault; outputs may stay undeclared and ranks open", () => {
  expect(compare({})).toEqual([]);
  expect(compare({ inputs: [{ ...input, shape: [-1, -1] }] })).toEqual([]);
  expect(compare({ outputs: [output, { name: "open", datatype: "FP32", shape: [-1, 8] }] })).toEqual([]);
});

test("every difference is named at once", () => {
  expect(
    compare({
      inputs: [{ ...input, name: "rows" }],
      outputs: [
        { ...output, datatype: "FP64" },
        { ...output, shape: [-1] },
        { name: "maps", datatype: "FP32", shape: [-1] },
      ],
      features: ["card:count_1h"],
    }),
  ).toEqual([
    'inputs[0]: the file has no input "rows"; it has "features"',
    'outputs[0]: "probability" is FP32 in the file, declared FP64',
    'outputs[1]: "probability" is [-1, 1] in the file, declared [-1]',
    'outputs[2]: "maps" is not a tensor in the file',
    'inputs: input "features" is not declared',
    "features: 1 features for an input of 2 columns",
  ]);
  expect(compare({ inputs: [{ ...input, shape: [-1, 3] }] })).toEqual([
    'inputs[0]: "features" is [-1, 2] in the file, declared [-1, 3]',
  ]);
});
