import type { inference } from "@weft/contracts";
import { type Datatype, datatypes, type Tensor } from "./domain/signature.ts";
import { errors } from "./errors.ts";

type Contents = inference.InferTensorContents;
type ContentsField = "boolContents" | "intContents" | "int64Contents" | "fp32Contents" | "fp64Contents";

const fieldOf: Readonly<Record<Datatype, ContentsField>> = {
  BOOL: "boolContents",
  INT32: "intContents",
  INT64: "int64Contents",
  FP32: "fp32Contents",
  FP64: "fp64Contents",
};
const allFields = [
  ...Object.values(fieldOf),
  "uintContents",
  "uint64Contents",
  "bytesContents",
] as const satisfies readonly (keyof Contents)[];

/** Bytes of a tensor's typed contents. Throws TENSOR_CONTENTS when another list than its datatype's is filled. */
export function bytesOfContents(tensor: string, datatype: string, contents: Contents | undefined): Uint8Array {
  if (!(datatype in fieldOf) || contents === undefined) return new Uint8Array(0);
  const field = fieldOf[datatype as Datatype];
  const other = allFields.find((name) => name !== field && contents[name].length > 0);
  if (other !== undefined) {
    throw errors.TENSOR_CONTENTS({ tensor, problem: `${datatype} elements belong in ${field}, not ${other}` });
  }
  const values = contents[field];
  const { array, sizeBytes } = datatypes[datatype as Datatype];
  const bytes = new Uint8Array(values.length * sizeBytes);
  const elements = new array(bytes.buffer, 0, values.length);
  for (let i = 0; i < values.length; i += 1)
    elements[i] = (datatype === "BOOL" ? Number(values[i]) : values[i]) as never;
  return bytes;
}

/** A tensor's elements as typed contents. */
export function contentsOfTensor(datatype: Datatype, { data }: Tensor): Partial<Pick<Contents, ContentsField>> {
  if (datatype === "BOOL") return { boolContents: Array.from(data as Uint8Array, (value) => value !== 0) };
  return { [fieldOf[datatype]]: Array.from(data as ArrayLike<number>) };
}
