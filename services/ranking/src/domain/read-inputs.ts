import { errors } from "../errors.ts";
import type { InferenceItem } from "./batch-executor.ts";
import type { BatchableCall } from "./dynamic-batcher.ts";
import { datatypes, isBatched, type Signature, shapeText, type TensorSpec } from "./signature.ts";

/** A tensor as a caller sent it. */
export interface SentTensor {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly bigint[];
  /** Elements, row-major little-endian, of any alignment. */
  readonly bytes: Uint8Array;
}

/** A signature made ready to check requests against. */
export interface InputPlan {
  readonly model: string;
  readonly batched: boolean;
  readonly inputs: readonly TensorSpec[];
  readonly index: ReadonlyMap<string, number>;
}

/** Prepares a signature. */
export function planInputs(model: string, signature: Signature): InputPlan {
  return {
    model,
    batched: isBatched(signature),
    inputs: signature.inputs,
    index: new Map(signature.inputs.map((input, i) => [input.name, i])),
  };
}

/**
 * Checks a request's tensors against a model and puts them into the order of its signature. Throws TENSOR_UNKNOWN,
 * TENSOR_REPEATED, TENSOR_MISSING, TENSOR_DATATYPE, TENSOR_SHAPE and TENSOR_CONTENTS.
 */
export function readInputs(plan: InputPlan, sent: readonly SentTensor[], call: BatchableCall): InferenceItem {
  const { inputs: specs, model } = plan;
  const inputs: Uint8Array[] = new Array(specs.length);
  const shapes: (readonly number[])[] = new Array(specs.length);
  let rowCount = -1;
  for (let i = 0; i < sent.length; i += 1) {
    const tensor = sent[i] as SentTensor;
    const at = plan.index.get(tensor.name);
    if (at === undefined) {
      throw errors.TENSOR_UNKNOWN({ model, tensor: tensor.name, known: names(specs) });
    }
    if (inputs[at] !== undefined) throw errors.TENSOR_REPEATED({ tensor: tensor.name });
    const spec = specs[at] as TensorSpec;
    if (tensor.datatype !== spec.datatype) {
      throw errors.TENSOR_DATATYPE({ tensor: spec.name, expected: spec.datatype, actual: tensor.datatype });
    }
    const shape = readShape(spec, tensor.shape);
    let elements = 1;
    for (let d = 0; d < shape.length; d += 1) elements *= shape[d] as number;
    const expected = elements * datatypes[spec.datatype].sizeBytes;
    if (tensor.bytes.byteLength !== expected) {
      const problem = `${shapeText(shape)} of ${spec.datatype} takes ${expected} bytes, not ${tensor.bytes.byteLength}`;
      throw errors.TENSOR_CONTENTS({ tensor: spec.name, problem });
    }
    const rows = shape[0] ?? 1;
    if (plan.batched && rowCount !== -1 && rows !== rowCount) {
      throw errors.TENSOR_SHAPE({
        tensor: spec.name,
        expected: shapeText([rowCount, ...spec.shape.slice(1)]),
        actual: shapeText(shape),
      });
    }
    if (rowCount === -1) rowCount = rows;
    inputs[at] = tensor.bytes;
    shapes[at] = shape;
  }
  for (let i = 0; i < specs.length; i += 1) {
    if (inputs[i] === undefined) throw errors.TENSOR_MISSING({ model, tensor: (specs[i] as TensorSpec).name });
  }
  return { rowCount: Math.max(1, rowCount), call, inputs, shapes };
}

function readShape(spec: TensorSpec, shape: readonly bigint[]): readonly number[] {
  const numbers: number[] = new Array(shape.length);
  let fits = shape.length === spec.shape.length;
  for (let d = 0; d < shape.length; d += 1) {
    const size = Number(shape[d]);
    numbers[d] = size;
    const expected = spec.shape[d];
    if (expected === -1 ? size < 1 || size > 0x7fffffff : size !== expected) fits = false;
  }
  if (!fits) {
    throw errors.TENSOR_SHAPE({ tensor: spec.name, expected: shapeText(spec.shape), actual: shapeText(shape) });
  }
  return numbers;
}

function names(specs: readonly TensorSpec[]): string {
  return specs.map((spec) => `"${spec.name}"`).join(", ");
}
