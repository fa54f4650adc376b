import type { TensorSignature } from "./catalog.ts";
import type { OnnxModel, OnnxTensor } from "./onnx.ts";

/** What a model declares of itself. */
export interface DeclaredSignature {
  readonly inputs: readonly TensorSignature[];
  readonly outputs: readonly TensorSignature[];
  readonly features: readonly string[];
}

/** One way in which a declaration and the file differ. */
export interface SignatureFault {
  /** Path in the model, for example "inputs[0]". */
  readonly field: string;
  readonly description: string;
}

/**
 * Every way in which the declared signature differs from the graph: name, element type, rank, and fixed dimensions.
 * Every input of the graph must be declared; outputs of the graph may stay undeclared. An input named `features` has as
 * many columns as there are feature references.
 */
export function compareSignature(declared: DeclaredSignature, graph: OnnxModel): readonly SignatureFault[] {
  const faults: SignatureFault[] = [];
  compareTensors("inputs", "input", declared.inputs, graph.inputs, faults);
  compareTensors("outputs", "output", declared.outputs, graph.outputs, faults);
  const names = new Set(declared.inputs.map((input) => input.name));
  for (const input of graph.inputs) {
    if (!names.has(input.name)) faults.push({ field: "inputs", description: `input "${input.name}" is not declared` });
  }
  const columns = graph.inputs.find((input) => input.name === "features")?.shape?.[1] ?? -1;
  if (columns !== -1 && columns !== declared.features.length) {
    const description = `${declared.features.length} features for an input of ${columns} columns`;
    faults.push({ field: "features", description });
  }
  return faults;
}

function compareTensors(
  path: string,
  kind: string,
  declared: readonly TensorSignature[],
  graph: readonly OnnxTensor[],
  faults: SignatureFault[],
): void {
  for (const [position, tensor] of declared.entries()) {
    const field = `${path}[${position}]`;
    const found = graph.find((candidate) => candidate.name === tensor.name);
    const description = found === undefined ? absent(kind, tensor.name, graph) : difference(tensor, found);
    if (description !== undefined) faults.push({ field, description });
  }
}

function absent(kind: string, name: string, graph: readonly OnnxTensor[]): string {
  const names = graph.map((tensor) => `"${tensor.name}"`).join(", ");
  return `the file has no ${kind} "${name}"; it has ${names === "" ? "none" : names}`;
}

function difference(declared: TensorSignature, found: OnnxTensor): string | undefined {
  if (found.datatype === "") return `"${declared.name}" is not a tensor in the file`;
  if (found.datatype !== declared.datatype) {
    return `"${declared.name}" is ${found.datatype} in the file, declared ${declared.datatype}`;
  }
  const shape = found.shape;
  if (shape === undefined) return undefined;
  const same =
    shape.length === declared.shape.length &&
    shape.every((size, axis) => size === -1 || declared.shape[axis] === -1 || declared.shape[axis] === size);
  if (same) return undefined;
  return `"${declared.name}" is [${shape.join(", ")}] in the file, declared [${declared.shape.join(", ")}]`;
}
