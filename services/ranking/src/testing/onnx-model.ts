import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** Element types of ONNX by the numbers of its TensorProto.DataType. */
export const elementType = { float: 1, int32: 6, int64: 7, bool: 9, double: 11, string: 8 } as const;

/** A tensor that a graph takes or answers; a text is a variable dimension. */
export interface OnnxValue {
  readonly name: string;
  readonly type: keyof typeof elementType;
  readonly shape: readonly (number | string)[];
}

/** An operator, its inputs and outputs by name, and its integer attributes. */
export interface OnnxNode {
  readonly operator: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, number>>;
}

/** A constant float32 tensor. */
export interface OnnxConstant {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

/** A graph in small. */
export interface OnnxGraph {
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  readonly nodes: readonly OnnxNode[];
  readonly constants?: readonly OnnxConstant[];
}

type Write = (writer: BinaryWriter) => void;

function message(field: number, write: Write): Write {
  return (writer) => {
    writer.tag(field, WireType.LengthDelimited).fork();
    write(writer);
    writer.join();
  };
}
const text =
  (field: number, value: string): Write =>
  (writer) => {
    writer.tag(field, WireType.LengthDelimited).string(value);
  };
const integer =
  (field: number, value: number): Write =>
  (writer) => {
    writer.tag(field, WireType.Varint).int64(value);
  };
const all =
  (...writes: readonly Write[]): Write =>
  (writer) => {
    for (const write of writes) write(writer);
  };

function value(field: number, { name, type, shape }: OnnxValue): Write {
  const dimensions = shape.map((size) => message(1, typeof size === "number" ? integer(1, size) : text(2, size)));
  const tensor = message(1, all(integer(1, elementType[type]), message(2, all(...dimensions))));
  return message(field, all(text(1, name), message(2, tensor)));
}

function node({ operator, inputs, outputs, attributes = {} }: OnnxNode): Write {
  return message(
    1,
    all(
      ...inputs.map((name) => text(1, name)),
      ...outputs.map((name) => text(2, name)),
      text(4, operator),
      ...Object.entries(attributes).map(([name, number]) =>
        message(5, all(text(1, name), integer(3, number), integer(20, 2))),
      ),
    ),
  );
}

function constant({ name, shape, values }: OnnxConstant): Write {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  return message(
    5,
    all(...shape.map((size) => integer(1, size)), integer(2, elementType.float), text(8, name), (writer) => {
      writer.tag(9, WireType.LengthDelimited).bytes(bytes);
    }),
  );
}

/** Bytes of an ONNX file (IR version 8, operator set 17) with one graph. */
export function onnxModel({ inputs, outputs, nodes, constants = [] }: OnnxGraph): Uint8Array {
  const graph = message(
    7,
    all(
      ...nodes.map(node),
      text(2, "graph"),
      ...constants.map(constant),
      ...inputs.map((input) => value(11, input)),
      ...outputs.map((output) => value(12, output)),
    ),
  );
  const writer = new BinaryWriter();
  all(integer(1, 8), graph, message(8, integer(2, 17)))(writer);
  return writer.finish();
}

/** A model float32[-1, features] → float32[-1, 1] that adds the features weighted by 1, 2, 3, … */
export function weightedSumModel(features: number, output = "score"): Uint8Array {
  return onnxModel({
    inputs: [{ name: "features", type: "float", shape: ["batch", features] }],
    outputs: [{ name: output, type: "float", shape: ["batch", 1] }],
    nodes: [{ operator: "MatMul", inputs: ["features", "weights"], outputs: [output] }],
    constants: [{ name: "weights", shape: [features, 1], values: Array.from({ length: features }, (_, i) => i + 1) }],
  });
}
