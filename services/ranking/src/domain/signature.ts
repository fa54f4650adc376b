/** Element types that models may take and answer, by the names of the Open Inference Protocol. */
export type Datatype = "BOOL" | "INT32" | "INT64" | "FP32" | "FP64";

/** Typed array of a datatype; BOOL is one byte an element, 0 or 1. */
export type TensorArray = Uint8Array | Int32Array | BigInt64Array | Float32Array | Float64Array;

interface ArrayConstructor {
  new (buffer: ArrayBufferLike, byteOffset?: number, length?: number): TensorArray;
}

/** How the elements of each datatype are stored, little-endian. */
export const datatypes: Readonly<Record<Datatype, { readonly sizeBytes: number; readonly array: ArrayConstructor }>> = {
  BOOL: { sizeBytes: 1, array: Uint8Array },
  INT32: { sizeBytes: 4, array: Int32Array },
  INT64: { sizeBytes: 8, array: BigInt64Array },
  FP32: { sizeBytes: 4, array: Float32Array },
  FP64: { sizeBytes: 8, array: Float64Array },
};

/** A tensor by name: element type and dimensions, -1 for a variable one. */
export interface TensorSpec {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
}

/** What a model takes and answers. */
export interface Signature {
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
}

/** A tensor with its elements, row-major. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: TensorArray;
}

/**
 * Whether requests can share a run: the first dimension of every tensor is variable, and no other dimension of an
 * input is. Other models run a request at a time.
 */
export function isBatched(signature: Signature): boolean {
  return (
    signature.inputs.every((input) => input.shape[0] === -1 && input.shape.indexOf(-1, 1) === -1) &&
    signature.outputs.every((output) => output.shape[0] === -1)
  );
}

/** Elements of one row: the product of every dimension but the first. */
export function rowElements(spec: TensorSpec): number {
  let count = 1;
  for (let i = 1; i < spec.shape.length; i += 1) count *= spec.shape[i] as number;
  return count;
}

/** A shape as text, for example "[-1, 30]". */
export function shapeText(shape: readonly (number | bigint)[]): string {
  return `[${shape.join(", ")}]`;
}
