import { type InferenceSession, type OnnxValue, Tensor as OrtTensor } from "onnxruntime-common";
import { type Binding, binding, initOrt } from "onnxruntime-node/dist/binding.js";
import type { ModelSession } from "../domain/model-session.ts";
import { type Datatype, datatypes, type Signature, type Tensor, type TensorSpec } from "../domain/signature.ts";

/** ONNX Runtime's numbers of the element types that can be served (onnx.proto, TensorProto.DataType). */
const datatypeByNumber: Readonly<Record<number, Datatype>> = {
  1: "FP32",
  6: "INT32",
  7: "INT64",
  9: "BOOL",
  11: "FP64",
};
const ortType = { FP32: "float32", INT32: "int32", INT64: "int64", BOOL: "bool", FP64: "float64" } as const;

/** One thread, and none that spins: the machine's cores belong to the event loops. */
const sessionOptions: InferenceSession.SessionOptions = {
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  executionMode: "sequential",
  graphOptimizationLevel: "all",
  // Its errors are thrown too, and logged once, where they are answered.
  logSeverityLevel: 4,
  extra: { session: { intra_op: { allow_spinning: "0" }, inter_op: { allow_spinning: "0" } } },
};

/**
 * A model in ONNX Runtime, run on the calling thread.
 *
 * Uses the binding below `InferenceSession`: that class wraps the same blocking call in a promise and one more turn of
 * the event loop, and a batch is formed to leave in this turn.
 */
export class OnnxSession implements ModelSession {
  readonly signature: Signature;
  private readonly native: Binding.InferenceSession;
  private readonly fetches: Record<string, null>;

  private constructor(native: Binding.InferenceSession) {
    this.native = native;
    this.signature = {
      inputs: native.inputMetadata.map((input) => {
        const spec = tensorSpec(input);
        if (spec === undefined) throw new Error(`input "${input.name}" has an element type that is not served`);
        return spec;
      }),
      // Outputs that no client could read (sequences and maps of classifier exports) are not computed.
      outputs: native.outputMetadata.map(tensorSpec).filter((spec) => spec !== undefined),
    };
    if (this.signature.outputs.length === 0) throw new Error("it has no output tensor of a served element type");
    this.fetches = Object.fromEntries(this.signature.outputs.map((output) => [output.name, null]));
  }

  /** Loads a model file. Blocks for as long as ONNX Runtime optimises the graph; throws what it says of a bad file. */
  static open(path: string): OnnxSession {
    initOrt();
    const native = new binding.InferenceSession();
    native.loadModel(path, sessionOptions);
    return new OnnxSession(native);
  }

  run(inputs: readonly Tensor[]): readonly Tensor[] {
    const feeds: Record<string, OnnxValue> = {};
    const specs = this.signature.inputs;
    for (let i = 0; i < specs.length; i += 1) {
      const { name, datatype } = specs[i] as TensorSpec;
      const { shape, data } = inputs[i] as Tensor;
      feeds[name] = new OrtTensor(ortType[datatype], data as never, shape);
    }
    const results = this.native.run(feeds, this.fetches, {});
    return this.signature.outputs.map(({ name, datatype }) => {
      const result = results[name] as OrtTensor;
      const data = result.data as Uint8Array;
      // Native results keep the element type; a view of the same type leaves its bytes where they are.
      return { shape: result.dims, data: new datatypes[datatype].array(data.buffer, data.byteOffset, data.length) };
    });
  }

  close(): void {
    this.native.dispose();
  }
}

function tensorSpec(metadata: Binding.ValueMetadata): TensorSpec | undefined {
  const datatype = metadata.isTensor ? datatypeByNumber[metadata.type] : undefined;
  return datatype === undefined ? undefined : { name: metadata.name, datatype, shape: metadata.shape };
}
