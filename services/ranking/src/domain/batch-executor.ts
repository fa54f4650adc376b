import { errors } from "../errors.ts";
import type { Batchable } from "./dynamic-batcher.ts";
import type { ModelSession } from "./model-session.ts";
import {
  datatypes,
  isBatched,
  rowElements,
  shapeText,
  type Tensor,
  type TensorArray,
  type TensorSpec,
} from "./signature.ts";

/** One request's rows for a model. */
export interface InferenceItem extends Batchable {
  /** One entry an input of the signature, row-major little-endian, of any alignment. */
  readonly inputs: readonly Uint8Array[];
  /** One entry an input; read only where the model does not batch. */
  readonly shapes: readonly (readonly number[])[];
}

/** One request's rows of every output, in the signature's order. */
export interface InferenceAnswer {
  readonly outputs: readonly Tensor[];
}

/** Names a model in errors, and says what it refuses. */
export interface ExecutorOptions {
  readonly model: string;
  readonly version: string;
  /** Rows for which input buffers are kept; larger batches get buffers of their own. */
  readonly bufferRows: number;
  /** Refuses NaN too; by default NaN means missing, and only infinities are refused. */
  readonly nanRefused: boolean;
}

/** Room for one input of a batch. */
interface InputBuffer {
  readonly spec: TensorSpec;
  readonly rowBytes: number;
  readonly bytes: Uint8Array;
}

/**
 * Runs batches: copies the rows of every request into one buffer an input, kept from batch to batch, runs the model
 * once, and gives every request its slice of the outputs. A request with a refused value fails alone.
 */
export class BatchExecutor {
  private readonly session: ModelSession;
  private readonly options: ExecutorOptions;
  private readonly buffers: readonly InputBuffer[];
  /** Whether requests can share a run. */
  readonly batched: boolean;

  constructor(session: ModelSession, options: ExecutorOptions) {
    this.session = session;
    this.options = options;
    this.batched = isBatched(session.signature);
    this.buffers = this.batched ? this.allocate(options.bufferRows) : [];
  }

  /** Runs one batch; answers one outcome an item. Throws MODEL_FAILED when the model does. */
  run(
    items: readonly InferenceItem[],
    rowCount: number,
  ): readonly (InferenceAnswer | Error)[] | Promise<readonly (InferenceAnswer | Error)[]> {
    if (!this.batched) return this.runAlone(items[0] as InferenceItem);
    const buffers = rowCount <= this.options.bufferRows ? this.buffers : this.allocate(rowCount);
    const outcomes: (InferenceAnswer | Error | undefined)[] = new Array(items.length);
    let rows = 0;
    for (let i = 0; i < items.length; i += 1) {
      const item = items[i] as InferenceItem;
      const refused = this.copy(buffers, rows, item);
      if (refused === undefined) rows += item.rowCount;
      else outcomes[i] = refused;
    }
    if (rows === 0) return outcomes as readonly Error[];
    const inputs = buffers.map(({ spec, bytes }) => ({
      shape: [rows, ...spec.shape.slice(1)],
      data: new datatypes[spec.datatype].array(bytes.buffer, 0, rows * rowElements(spec)),
    }));
    return this.execute(inputs, (outputs) => this.slice(outputs, rows, items, outcomes));
  }

  private allocate(rowCount: number): readonly InputBuffer[] {
    return this.session.signature.inputs.map((spec) => {
      const rowBytes = rowElements(spec) * datatypes[spec.datatype].sizeBytes;
      return { spec, rowBytes, bytes: new Uint8Array(new ArrayBuffer(rowBytes * rowCount)) };
    });
  }

  /** Copies an item's rows behind the first `rows`; answers why they are refused. */
  private copy(buffers: readonly InputBuffer[], rows: number, item: InferenceItem): Error | undefined {
    for (let i = 0; i < buffers.length; i += 1) {
      const { spec, rowBytes, bytes } = buffers[i] as InputBuffer;
      bytes.set(item.inputs[i] as Uint8Array, rows * rowBytes);
      const elements = rowElements(spec);
      const refused = this.check(spec, elements, bytes.buffer, rows * elements, (rows + item.rowCount) * elements);
      if (refused !== undefined) return refused;
    }
    return undefined;
  }

  /** Refuses infinities, NaN where the model wants none, and truth values other than 0 and 1. */
  private check(
    spec: TensorSpec,
    elements: number,
    buffer: ArrayBufferLike,
    from: number,
    to: number,
  ): Error | undefined {
    let at: number;
    let value: string;
    if (spec.datatype === "FP32") {
      const words = new Uint32Array(buffer, from * 4, to - from);
      at = firstNotFinite32(words, this.options.nanRefused);
      if (at < 0) return undefined;
      value = notFiniteText(new Float32Array(buffer, (from + at) * 4, 1)[0] as number);
    } else if (spec.datatype === "FP64") {
      const values = new Float64Array(buffer, from * 8, to - from);
      at = values.findIndex((v) => !Number.isFinite(v) && (this.options.nanRefused || !Number.isNaN(v)));
      if (at < 0) return undefined;
      value = notFiniteText(values[at] as number);
    } else if (spec.datatype === "BOOL") {
      const values = new Uint8Array(buffer, from, to - from);
      at = values.findIndex((v) => v > 1);
      if (at < 0) return undefined;
      value = `the byte ${values[at]}`;
    } else {
      return undefined;
    }
    return errors.VALUE_REFUSED({ tensor: spec.name, row: Math.floor(at / elements), column: at % elements, value });
  }

  private runAlone(
    item: InferenceItem,
  ): readonly (InferenceAnswer | Error)[] | Promise<readonly (InferenceAnswer | Error)[]> {
    const inputs: Tensor[] = [];
    for (const [i, spec] of this.session.signature.inputs.entries()) {
      const shape = item.shapes[i] as readonly number[];
      const { array, sizeBytes } = datatypes[spec.datatype];
      const bytes = (item.inputs[i] as Uint8Array).slice();
      const count = bytes.byteLength / sizeBytes;
      const refused = this.check(spec, Math.max(1, count / (shape[0] ?? 1)), bytes.buffer, 0, count);
      if (refused !== undefined) return [refused];
      inputs.push({ shape, data: new array(bytes.buffer, 0, count) });
    }
    return this.execute(inputs, (outputs) => [{ outputs }]);
  }

  private execute(
    inputs: readonly Tensor[],
    answer: (outputs: readonly Tensor[]) => readonly (InferenceAnswer | Error)[],
  ): readonly (InferenceAnswer | Error)[] | Promise<readonly (InferenceAnswer | Error)[]> {
    try {
      const outputs = this.session.run(inputs);
      if (!("then" in outputs)) return answer(outputs);
      return outputs.then(answer).catch((error: unknown) => {
        throw this.failure(error);
      });
    } catch (error) {
      throw this.failure(error);
    }
  }

  private slice(
    outputs: readonly Tensor[],
    rows: number,
    items: readonly InferenceItem[],
    outcomes: (InferenceAnswer | Error | undefined)[],
  ): readonly (InferenceAnswer | Error)[] {
    const { outputs: specs } = this.session.signature;
    for (let o = 0; o < outputs.length; o += 1) {
      const { shape } = outputs[o] as Tensor;
      if (shape[0] !== rows) {
        throw new Error(`output "${specs[o]?.name}" has shape ${shapeText(shape)} for a batch of ${rows} rows`);
      }
    }
    let from = 0;
    for (let i = 0; i < items.length; i += 1) {
      if (outcomes[i] !== undefined) continue;
      const { rowCount } = items[i] as InferenceItem;
      const own: Tensor[] = new Array(outputs.length);
      for (let o = 0; o < outputs.length; o += 1) {
        const { shape, data } = outputs[o] as Tensor;
        const elements = data.length / rows;
        const slice: TensorArray = data.subarray(from * elements, (from + rowCount) * elements);
        own[o] = { shape: shape.length === 1 ? [rowCount] : [rowCount, ...shape.slice(1)], data: slice };
      }
      outcomes[i] = { outputs: own };
      from += rowCount;
    }
    return outcomes as readonly (InferenceAnswer | Error)[];
  }

  private failure(error: unknown): Error {
    const { model, version } = this.options;
    const problem = error instanceof Error ? error.message : String(error);
    return errors.MODEL_FAILED({ model, version, problem }, { cause: error });
  }
}

/** Index of the first infinity, or NaN where refused, among float32 bit patterns; -1 where there is none. */
function firstNotFinite32(words: Uint32Array, nanRefused: boolean): number {
  for (let i = 0; i < words.length; i += 1) {
    const word = words[i] as number;
    if ((word & 0x7f800000) === 0x7f800000 && (nanRefused || (word & 0x007fffff) === 0)) return i;
  }
  return -1;
}

function notFiniteText(value: number): string {
  return Number.isNaN(value) ? "NaN" : value > 0 ? "infinity" : "-infinity";
}
