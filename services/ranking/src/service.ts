import type { inference } from "@weft/contracts";
import type { Handlers } from "@weft/rpc";
import type { InferenceAnswer } from "./domain/batch-executor.ts";
import type { ModelCatalog } from "./domain/model-catalog.ts";
import { type InputPlan, planInputs, readInputs, type SentTensor } from "./domain/read-inputs.ts";
import type { ServedModel } from "./domain/served-model.ts";
import type { Tensor, TensorSpec } from "./domain/signature.ts";
import { errors } from "./errors.ts";
import { bytesOfContents, contentsOfTensor } from "./tensor-contents.ts";

/** What the handlers need. */
export interface InferenceServiceOptions {
  readonly catalog: ModelCatalog<ServedModel>;
  /** Whether every model of every labelled release is loaded and warm. */
  readonly ready: () => boolean;
  readonly serverVersion: string;
}

/** The Open Inference Protocol over the models of the labelled releases. */
export function createInferenceService({
  catalog,
  ready,
  serverVersion,
}: InferenceServiceOptions): Handlers<typeof inference.GRPCInferenceService> {
  const plans = new WeakMap<ServedModel, InputPlan>();
  const planOf = (model: ServedModel): InputPlan => {
    const found = plans.get(model);
    if (found !== undefined) return found;
    const plan = planInputs(model.name, model.signature);
    plans.set(model, plan);
    return plan;
  };
  return {
    serverLive: () => ({ live: true }),
    serverReady: () => ({ ready: ready() }),
    modelReady(request, context) {
      try {
        catalog.find(request.name, request.version, context.release);
        return { ready: true };
      } catch {
        return { ready: false };
      }
    },
    serverMetadata: () => ({ name: "weft-ranking", version: serverVersion, extensions: [] }),
    modelMetadata(request, context) {
      const model = catalog.find(request.name, request.version, context.release);
      const loaded = catalog.versionsOf(`${model.scenario}/${model.name}`).map((other) => other.version);
      return {
        name: request.name,
        versions: [...new Set(loaded)],
        platform: "onnxruntime_onnx",
        inputs: model.signature.inputs.map(tensorMetadata),
        outputs: model.signature.outputs.map(tensorMetadata),
        properties: { scenario: model.scenario, version: model.version, batched: String(model.batched) },
      };
    },
    async modelInfer(request, context) {
      const model = catalog.find(request.modelName, request.modelVersion, context.release);
      const raw = request.rawInputContents.length > 0;
      const item = readInputs(planOf(model), sentTensors(request), context);
      const wanted = wantedOutputs(model, request.outputs);
      return answer(request, model, await model.infer(item), wanted, raw);
    },
  };
}

function tensorMetadata({ name, datatype, shape }: TensorSpec) {
  return { name, datatype, shape: shape.map(BigInt) };
}

function sentTensors(request: inference.ModelInferRequest): readonly SentTensor[] {
  const { inputs, rawInputContents } = request;
  if (rawInputContents.length === 0) {
    return inputs.map(({ name, datatype, shape, contents }) => ({
      name,
      datatype,
      shape,
      bytes: bytesOfContents(name, datatype, contents),
    }));
  }
  if (rawInputContents.length !== inputs.length) {
    const problem = `${rawInputContents.length} raw_input_contents for ${inputs.length} inputs`;
    throw errors.TENSOR_CONTENTS({ tensor: inputs[0]?.name ?? "", problem });
  }
  const sent: SentTensor[] = new Array(inputs.length);
  for (let i = 0; i < inputs.length; i += 1) {
    const { name, datatype, shape, contents } = inputs[i] as inference.ModelInferRequest_InferInputTensor;
    if (contents !== undefined) {
      throw errors.TENSOR_CONTENTS({ tensor: name, problem: "sent both as contents and in raw_input_contents" });
    }
    sent[i] = { name, datatype, shape, bytes: rawInputContents[i] as Uint8Array };
  }
  return sent;
}

/** Positions of the outputs wanted; undefined: all. */
function wantedOutputs(
  model: ServedModel,
  wanted: readonly inference.ModelInferRequest_InferRequestedOutputTensor[],
): readonly number[] | undefined {
  if (wanted.length === 0) return undefined;
  const specs = model.signature.outputs;
  return wanted.map(({ name }) => {
    const at = specs.findIndex((spec) => spec.name === name);
    if (at !== -1) return at;
    const known = specs.map((spec) => `"${spec.name}"`).join(", ");
    throw errors.TENSOR_UNKNOWN({ model: model.name, tensor: name, known });
  });
}

/** Whole messages rather than init shapes: nothing is left for the transport to fill in. */
function answer(
  request: inference.ModelInferRequest,
  model: ServedModel,
  { outputs }: InferenceAnswer,
  wanted: readonly number[] | undefined,
  raw: boolean,
) {
  const specs = model.signature.outputs;
  const count = wanted?.length ?? specs.length;
  const tensors: inference.ModelInferResponse_InferOutputTensor[] = new Array(count);
  const rawContents: Uint8Array[] = [];
  for (let i = 0; i < count; i += 1) {
    const at = wanted?.[i] ?? i;
    const { name, datatype } = specs[at] as TensorSpec;
    const tensor = outputs[at] as Tensor;
    const message: inference.ModelInferResponse_InferOutputTensor = {
      $typeName: "inference.ModelInferResponse.InferOutputTensor",
      name,
      datatype,
      shape: tensor.shape.map(BigInt),
      parameters: {},
    };
    if (raw) rawContents.push(new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength));
    else message.contents = { ...emptyContents(), ...contentsOfTensor(datatype, tensor) };
    tensors[i] = message;
  }
  const response: inference.ModelInferResponse = {
    $typeName: "inference.ModelInferResponse",
    modelName: request.modelName,
    modelVersion: model.version,
    id: request.id,
    parameters: {},
    outputs: tensors,
    rawOutputContents: rawContents,
  };
  return response;
}

function emptyContents(): inference.InferTensorContents {
  return {
    $typeName: "inference.InferTensorContents",
    boolContents: [],
    intContents: [],
    int64Contents: [],
    uintContents: [],
    uint64Contents: [],
    fp32Contents: [],
    fp64Contents: [],
    bytesContents: [],
  };
}
