import { errors } from "../errors.ts";
import { MalformedProtobuf, ProtobufReader } from "./protobuf-reader.ts";

/** Bounds of a model file. */
export interface OnnxBounds {
  readonly bytesMax: number;
  /** Greatest number of nodes, those of subgraphs and functions included. */
  readonly nodesMax: number;
}

/** An input or output of a graph. */
export interface OnnxTensor {
  readonly name: string;
  /** Element type as the Open Inference Protocol names it; "" where it is not a tensor. */
  readonly datatype: string;
  /** Dimensions, -1 where one varies; undefined where the graph leaves the rank open. */
  readonly shape: readonly number[] | undefined;
}

/** What a model takes and answers. */
export interface OnnxModel {
  /** Inputs that a caller must give: without those that have a stored value. */
  readonly inputs: readonly OnnxTensor[];
  readonly outputs: readonly OnnxTensor[];
  readonly nodeCount: number;
}

const knownDomains: ReadonlySet<string> = new Set(["", "ai.onnx", "ai.onnx.ml"]);

/** Greatest depth of graphs inside nodes. */
const depthMax = 32;

/** TensorProto.DataType → datatype of the Open Inference Protocol. */
const datatypes: Readonly<Record<number, string>> = {
  1: "FP32",
  2: "UINT8",
  3: "INT8",
  4: "UINT16",
  5: "INT16",
  6: "INT32",
  7: "INT64",
  8: "BYTES",
  9: "BOOL",
  10: "FP16",
  11: "FP64",
  12: "UINT32",
  13: "UINT64",
  16: "BF16",
};

/** Datatypes that a signature may declare. */
export const signatureDatatypes: ReadonlySet<string> = new Set(Object.values(datatypes));

/**
 * Walks a whole ONNX file (onnx.proto, IR version 3 and up) without running it, and answers its signature. Refuses what a
 * server must not load: ONNX_TOO_LARGE, ONNX_INVALID, ONNX_EXTERNAL_DATA, ONNX_DOMAIN_UNKNOWN, ONNX_TOO_MANY_NODES.
 * Repeated occurrences of a field add up, as protobuf merges them, so nothing hides behind a second one.
 */
export function walkOnnx(bytes: Uint8Array, digest: string, bounds: OnnxBounds): OnnxModel {
  if (bytes.length > bounds.bytesMax) throw errors.ONNX_TOO_LARGE({ digest, limitBytes: bounds.bytesMax });
  try {
    return new OnnxWalk(digest, bounds).model(new ProtobufReader(bytes));
  } catch (error) {
    if (!(error instanceof MalformedProtobuf)) throw error;
    throw errors.ONNX_INVALID({ digest, fault: error.message });
  }
}

interface Graph {
  readonly inputs: OnnxTensor[];
  readonly outputs: OnnxTensor[];
  readonly initializers: Set<string>;
}

class OnnxWalk {
  readonly #digest: string;
  readonly #bounds: OnnxBounds;
  #nodeCount = 0;

  constructor(digest: string, bounds: OnnxBounds) {
    this.#digest = digest;
    this.#bounds = bounds;
  }

  model(reader: ProtobufReader): OnnxModel {
    const graph: Graph = { inputs: [], outputs: [], initializers: new Set() };
    let irVersion = 0;
    let graphCount = 0;
    let operatorSetCount = 0;
    while (reader.next()) {
      if (reader.field === 1) irVersion = reader.integer();
      else if (reader.field === 7) {
        this.#graph(reader.message(), graph, 0);
        graphCount++;
      } else if (reader.field === 8) {
        reader.skip();
        operatorSetCount++;
      } else if (reader.field === 20) this.#trainingInfo(reader.message());
      else if (reader.field === 25) this.#function(reader.message());
      else reader.skip();
    }
    if (irVersion < 3 || irVersion > 1_000) throw new MalformedProtobuf(`IR version ${irVersion}`);
    if (operatorSetCount === 0) throw new MalformedProtobuf("no operator set is named");
    if (graphCount === 0) throw new MalformedProtobuf("there is no graph");
    if (graph.outputs.length === 0) throw new MalformedProtobuf("the graph has no output");
    return {
      inputs: graph.inputs.filter((input) => !graph.initializers.has(input.name)),
      outputs: graph.outputs,
      nodeCount: this.#nodeCount,
    };
  }

  #graph(reader: ProtobufReader, graph: Graph, depth: number): void {
    if (depth > depthMax) throw new MalformedProtobuf(`graphs nested deeper than ${depthMax}`);
    while (reader.next()) {
      if (reader.field === 1) this.#node(reader.message(), depth);
      else if (reader.field === 5) graph.initializers.add(this.#tensor(reader.message()));
      else if (reader.field === 11) graph.inputs.push(valueInfo(reader.message()));
      else if (reader.field === 12) graph.outputs.push(valueInfo(reader.message()));
      else if (reader.field === 15) graph.initializers.add(this.#sparseTensor(reader.message()));
      else reader.skip();
    }
  }

  #node(reader: ProtobufReader, depth: number): void {
    if (++this.#nodeCount > this.#bounds.nodesMax) {
      throw errors.ONNX_TOO_MANY_NODES({ digest: this.#digest, limit: this.#bounds.nodesMax });
    }
    let operator = "";
    let unknownDomain: string | undefined;
    while (reader.next()) {
      if (reader.field === 4) operator = reader.text();
      else if (reader.field === 5) this.#attribute(reader.message(), depth);
      else if (reader.field === 7) {
        const domain = reader.text();
        if (!knownDomains.has(domain)) unknownDomain = domain;
      } else reader.skip();
    }
    if (operator === "") throw new MalformedProtobuf("a node without an operator");
    if (unknownDomain !== undefined) {
      throw errors.ONNX_DOMAIN_UNKNOWN({ digest: this.#digest, domain: unknownDomain, operator });
    }
  }

  #attribute(reader: ProtobufReader, depth: number): void {
    while (reader.next()) {
      if (reader.field === 5 || reader.field === 10) this.#tensor(reader.message());
      else if (reader.field === 6 || reader.field === 11) {
        this.#graph(reader.message(), { inputs: [], outputs: [], initializers: new Set() }, depth + 1);
      } else if (reader.field === 22 || reader.field === 23) this.#sparseTensor(reader.message());
      else reader.skip();
    }
  }

  #tensor(reader: ProtobufReader): string {
    let name = "";
    let external = false;
    while (reader.next()) {
      if (reader.field === 8) name = reader.text();
      else if (reader.field === 13) {
        external = true;
        reader.skip();
      } else if (reader.field === 14) external = reader.integer() !== 0 || external;
      else reader.skip();
    }
    if (external) throw errors.ONNX_EXTERNAL_DATA({ digest: this.#digest, tensor: name });
    return name;
  }

  #sparseTensor(reader: ProtobufReader): string {
    let name = "";
    while (reader.next()) {
      if (reader.field === 1) name = this.#tensor(reader.message());
      else if (reader.field === 2) this.#tensor(reader.message());
      else reader.skip();
    }
    return name;
  }

  #function(reader: ProtobufReader): void {
    while (reader.next()) {
      if (reader.field === 7) this.#node(reader.message(), 0);
      else if (reader.field === 11) this.#attribute(reader.message(), 0);
      else reader.skip();
    }
  }

  #trainingInfo(reader: ProtobufReader): void {
    while (reader.next()) {
      if (reader.field === 1 || reader.field === 2) {
        this.#graph(reader.message(), { inputs: [], outputs: [], initializers: new Set() }, 0);
      } else reader.skip();
    }
  }
}

function valueInfo(reader: ProtobufReader): OnnxTensor {
  const tensor = { name: "", datatype: "", shape: undefined as readonly number[] | undefined };
  while (reader.next()) {
    if (reader.field === 1) tensor.name = reader.text();
    else if (reader.field === 2) {
      const type = reader.message();
      while (type.next()) {
        if (type.field === 1) Object.assign(tensor, tensorType(type.message()));
        else type.skip();
      }
    } else reader.skip();
  }
  if (tensor.name === "") throw new MalformedProtobuf("an input or output without a name");
  return tensor;
}

function tensorType(reader: ProtobufReader): { datatype: string; shape: readonly number[] | undefined } {
  let element = 0;
  let shape: number[] | undefined;
  while (reader.next()) {
    if (reader.field === 1) element = reader.integer();
    else if (reader.field === 2) {
      shape ??= [];
      const dimensions = reader.message();
      while (dimensions.next()) {
        if (dimensions.field === 1) shape.push(dimension(dimensions.message()));
        else dimensions.skip();
      }
    } else reader.skip();
  }
  const datatype = datatypes[element];
  if (datatype === undefined) throw new MalformedProtobuf(`element type ${element} of an input or output`);
  return { datatype, shape };
}

function dimension(reader: ProtobufReader): number {
  let size = -1;
  while (reader.next()) {
    if (reader.field === 1) size = reader.integer();
    else if (reader.field === 2) {
      reader.skip();
      size = -1;
    } else reader.skip();
  }
  return size < 0 ? -1 : size;
}
