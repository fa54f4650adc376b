import type { MessageInitShape } from "@bufbuild/protobuf";
import { feature, type inference, type retrieval } from "@weft/contracts";
import type { Client } from "@weft/rpc";
import type { KeyType, Value } from "@weft/scenario";
import { StageFailure } from "../domain/degradation.ts";
import {
  type FeatureColumn,
  type FeatureMatrix,
  type FeatureRead,
  FeatureStatus,
  type FieldInput,
  type IndexTarget,
  type ItemFilter,
  type Key,
  type ModelTarget,
  type Neighbors,
  type Peers,
} from "../domain/peers.ts";
import { CallCoalescer } from "./call-coalescer.ts";
import { callOptions, type PeerScope } from "./peer-scope.ts";
import { timestampOfUs } from "./timestamp.ts";

/** Clients of the services behind the gateway. */
export interface PeerClients {
  readonly feature: Client<typeof feature.FeatureService>;
  readonly ranking: Client<typeof inference.GRPCInferenceService>;
  readonly retrieval: Client<typeof retrieval.RetrievalService>;
}

/** How calls are made together. */
export interface PeerCallsOptions {
  /** Rows of one call that is made for many requests; 1: each request has its own. */
  readonly coalesceMax: number;
  /** Milliseconds on a clock that never goes back. */
  readonly nowMs: () => number;
  /** Hears of each call: its rows. */
  readonly observe: (method: "GetOnlineFeatures" | "ModelInfer", rows: number) => void;
}

/** One row to read. */
interface ReadRow {
  readonly keys: readonly (readonly Key[])[];
  readonly fields: readonly Value[];
  readonly eventTimeUs: number;
}

/** The calls to peers that requests share. */
export class PeerCalls {
  readonly clients: PeerClients;
  readonly reads: CallCoalescer<FeatureRead, ReadRow, FeatureMatrix>;
  readonly inferences: CallCoalescer<ModelTarget, Uint8Array, Float32Array>;

  constructor(clients: PeerClients, { coalesceMax, nowMs, observe }: PeerCallsOptions) {
    this.clients = clients;
    const common = { itemsMax: coalesceMax, nowMs };
    this.reads = new CallCoalescer({
      ...common,
      method: "GetOnlineFeatures",
      // Requests come with the input of one turn.
      schedule: (flush) => void setImmediate(flush),
      call: async (read, rows, scope, timeoutMs) => {
        observe("GetOnlineFeatures", rows.length);
        return splitMatrix(await this.read(read, rows, scope, timeoutMs), rows.length);
      },
    });
    this.inferences = new CallCoalescer({
      ...common,
      method: "ModelInfer",
      // The rows of one read come back at once, and their requests go on within one round of microtasks.
      schedule: (flush) => process.nextTick(flush),
      call: async (model, rows, scope, timeoutMs) => {
        observe("ModelInfer", rows.length);
        const features = rows.length === 1 ? (rows[0] ?? new Uint8Array()) : joined(rows);
        return splitOutput(await this.infer(model, rows.length, features, scope, timeoutMs), rows.length, model);
      },
    });
  }

  /** Reads rows as one matrix. */
  async read(read: FeatureRead, rows: readonly ReadRow[], scope: PeerScope, timeoutMs: number): Promise<FeatureMatrix> {
    const request = featureRequest(read, rows, LAYOUT_MATRIX);
    const { matrix } = await this.clients.feature.getOnlineFeatures(request, callOptions(scope, timeoutMs));
    if (matrix === undefined) throw new StageFailure("FEATURES_MALFORMED", "the answer has no matrix");
    return matrix;
  }

  /** Runs a model over float32[rows, features]. */
  async infer(
    model: ModelTarget,
    rows: number,
    features: Uint8Array,
    scope: PeerScope,
    timeoutMs: number,
  ): Promise<Float32Array> {
    const answer = await this.clients.ranking.modelInfer(
      {
        modelName: model.name,
        modelVersion: model.version,
        id: scope.requestId,
        inputs: [{ name: inputName, datatype: "FP32", shape: [BigInt(rows), BigInt(model.features)] }],
        outputs: [{ name: model.output }],
        rawInputContents: [features],
      },
      callOptions(scope, timeoutMs),
    );
    return decodeOutput(answer, model.output);
  }
}

const { LAYOUT_COLUMNS, LAYOUT_MATRIX } = {
  LAYOUT_COLUMNS: feature.GetOnlineFeaturesRequest_Layout.COLUMNS,
  LAYOUT_MATRIX: feature.GetOnlineFeaturesRequest_Layout.MATRIX,
};
const inputName = "features";

/** Calls the peers of one request over their clients, whichever topology these have. */
export class RpcPeers implements Peers {
  readonly #calls: PeerCalls;
  readonly #scope: PeerScope;

  constructor(calls: PeerCalls, scope: PeerScope) {
    this.#calls = calls;
    this.#scope = scope;
  }

  get cancelled(): boolean {
    return this.#scope.parent?.cancelled !== undefined;
  }

  readMatrix(
    read: FeatureRead,
    keys: readonly (readonly Key[])[],
    fields: readonly Value[],
    eventTimeUs: number,
    timeoutMs: number,
  ): Promise<FeatureMatrix> {
    const row = { keys, fields, eventTimeUs };
    for (const column of keys) if (column.length !== 1) return this.#calls.read(read, [row], this.#scope, timeoutMs);
    return this.#calls.reads.submit(read, row, this.#scope, timeoutMs);
  }

  async readColumns(
    read: FeatureRead,
    keys: readonly (readonly Key[])[],
    fields: readonly Value[],
    eventTimeUs: number,
    timeoutMs: number,
  ): Promise<readonly FeatureColumn[]> {
    const request = featureRequest(read, [{ keys, fields, eventTimeUs }], LAYOUT_COLUMNS);
    const options = callOptions(this.#scope, timeoutMs);
    const { columns } = await this.#calls.clients.feature.getOnlineFeatures(request, options);
    if (columns.length !== read.references.length)
      throw new StageFailure("FEATURES_MALFORMED", `wanted ${read.references.length} columns, got ${columns.length}`);
    return columns.map((column, index) => decodeColumn(column, read.stale[index] ?? false));
  }

  infer(model: ModelTarget, rows: number, features: Uint8Array, timeoutMs: number): Promise<Float32Array> {
    return rows === 1
      ? this.#calls.inferences.submit(model, features, this.#scope, timeoutMs)
      : this.#calls.infer(model, rows, features, this.#scope, timeoutMs);
  }

  async search(
    target: IndexTarget,
    embedding: Float32Array,
    count: number,
    filters: readonly ItemFilter[],
    excluded: readonly Key[],
    timeoutMs: number,
  ): Promise<Neighbors> {
    const answer = await this.#calls.clients.retrieval.search(
      {
        scenario: target.scenario,
        index: target.index,
        generation: target.generation,
        queries: new Uint8Array(embedding.buffer, embedding.byteOffset, embedding.byteLength),
        neighborCount: count,
        filters: filters.map(({ attribute, anyOf, atLeast, atMost }) => ({
          attribute,
          anyOf: anyOf.map((value) => ({ kind: attributeKind(value) })),
          ...(atLeast === undefined ? {} : { atLeast }),
          ...(atMost === undefined ? {} : { atMost }),
        })),
        ...(excluded.length === 0 ? {} : { excluded: keyLists(target.itemKey, excluded) }),
      },
      callOptions(this.#scope, timeoutMs),
    );
    const neighbors = answer.neighbors[0];
    const keys = target.itemKey === "int64" ? neighbors?.keys?.integers : neighbors?.keys?.texts;
    return { keys: keys ?? [], similarities: neighbors?.similarities ?? [] };
  }
}

/** Keys as the wire lists them; `Key` and `KeyType` agree because requests are checked against the scenario. */
function keyLists(type: KeyType, keys: readonly Key[]): { texts: string[] } | { integers: bigint[] } {
  return type === "int64" ? { integers: keys as bigint[] } : { texts: keys as string[] };
}

function attributeKind(value: number | bigint | string | boolean) {
  switch (typeof value) {
    case "number":
      return { case: "number", value } as const;
    case "bigint":
      return { case: "integer", value } as const;
    case "boolean":
      return { case: "flag", value } as const;
    default:
      return { case: "text", value } as const;
  }
}

/** Several rows have one key an entity each; a single one may have a column of keys, for as many rows. */
function featureRequest(
  read: FeatureRead,
  rows: readonly ReadRow[],
  layout: feature.GetOnlineFeaturesRequest_Layout,
): MessageInitShape<typeof feature.GetOnlineFeaturesRequestSchema> {
  const [first] = rows;
  const entities: MessageInitShape<typeof feature.EntityKeysSchema>[] = [];
  for (const { name, key, position } of read.entities) {
    const column =
      rows.length === 1 ? (first?.keys[position] ?? []) : rows.map(({ keys }) => keys[position]?.[0] ?? "");
    if (key === "int64") entities.push({ entity: name, integers: column as bigint[] });
    else entities.push({ entity: name, texts: column as string[] });
  }
  const requestFeatures: MessageInitShape<typeof feature.ColumnSchema>[] = [];
  for (const field of read.fields) {
    const values = rows.map(({ fields }) => fields[field.position] ?? null);
    requestFeatures.push(fieldColumn(field, values));
  }
  const eventTimeUs = first?.eventTimeUs ?? 0;
  const isOneTime = rows.every((row) => row.eventTimeUs === eventTimeUs);
  return {
    scenario: read.scenario,
    featureService: read.featureService,
    features: read.featureService === "" ? [...read.references] : [],
    entities,
    requestFeatures,
    ...(isOneTime ? { asOf: timestampOfUs(eventTimeUs) } : { rowsAsOfUs: rows.map((row) => BigInt(row.eventTimeUs)) }),
    layout,
  };
}

/** A column of a request field; a null has the zero of its type and a status. */
function fieldColumn(
  { name, type }: FieldInput,
  values: readonly Value[],
): MessageInitShape<typeof feature.ColumnSchema> {
  const statuses = values.includes(null)
    ? values.map((value) => (value === null ? feature.FeatureStatus.NULL : feature.FeatureStatus.PRESENT))
    : [];
  const column = <T>(read: (value: Value) => T) => ({ values: values.map(read) });
  switch (type) {
    case "float32":
      return { name, statuses, values: { case: "float32s", value: column((value) => Number(value ?? 0)) } };
    case "float64":
      return { name, statuses, values: { case: "float64s", value: column((value) => Number(value ?? 0)) } };
    case "int64":
      return {
        name,
        statuses,
        values: { case: "int64s", value: column((value) => (typeof value === "bigint" ? value : 0n)) },
      };
    case "bool":
      return { name, statuses, values: { case: "bools", value: column((value) => value === true) } };
    case "string":
      return {
        name,
        statuses,
        values: { case: "strings", value: column((value) => (typeof value === "string" ? value : "")) },
      };
    // A request carries no values of these types: they are null.
    case "bytes":
      return { name, statuses, values: { case: "bytes", value: column(() => new Uint8Array(0)) } };
    default: {
      if ("keys" in type) return { name, statuses, values: { case: "keyLists", value: column(() => ({})) } };
      const zeros = new Uint8Array(values.length * type.vector * 4);
      return { name, statuses, values: { case: "vectors", value: { dimension: type.vector, values: zeros } } };
    }
  }
}

/** The rows of a matrix, each as a matrix of its own over the same bytes. */
function splitMatrix(matrix: FeatureMatrix, rows: number): readonly FeatureMatrix[] {
  if (rows === 1) return [matrix];
  const { values, statuses } = matrix;
  const width = statuses.length / rows;
  if (matrix.rows !== rows || !Number.isInteger(width) || values.length !== 4 * statuses.length)
    throw new StageFailure("FEATURES_MALFORMED", `wanted ${rows} rows, got ${matrix.rows} in ${values.length} bytes`);
  return Array.from({ length: rows }, (_, row) => ({
    rows: 1,
    values: values.subarray(row * width * 4, (row + 1) * width * 4),
    statuses: statuses.subarray(row * width, (row + 1) * width),
  }));
}

function splitOutput(output: Float32Array, rows: number, { name }: ModelTarget): readonly Float32Array[] {
  const width = output.length / rows;
  if (!Number.isInteger(width))
    throw new StageFailure("OUTPUT_MALFORMED", `model "${name}" answered ${output.length} numbers for ${rows} rows`);
  return Array.from({ length: rows }, (_, row) => output.subarray(row * width, (row + 1) * width));
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A column with null where a row has no value. `stale`: whether a value beyond its TTL is one. */
export function decodeColumn({ values, statuses }: feature.Column, stale: boolean): FeatureColumn {
  const raw = rawValues(values);
  return {
    statuses,
    values: statuses.map((status, row) => {
      const known =
        status === FeatureStatus.Present ||
        status === FeatureStatus.Defaulted ||
        (stale && status === FeatureStatus.OutsideMaxAge);
      return known ? (raw[row] ?? null) : null;
    }),
  };
}

function rawValues(values: feature.Column["values"]): readonly Value[] {
  switch (values.case) {
    case undefined:
      return [];
    case "keyLists":
      return values.value.values.map(({ texts, integers }) => (integers.length > 0 ? integers : texts));
    case "vectors": {
      const { dimension, values: bytes } = values.value;
      const floats = floatsOf(bytes);
      const rows = dimension === 0 ? 0 : floats.length / dimension;
      return Array.from({ length: rows }, (_, row) => floats.subarray(row * dimension, (row + 1) * dimension));
    }
    default:
      return values.value.values;
  }
}

/** float32 of little-endian bytes, copied because a view may not be aligned. */
function floatsOf(bytes: Uint8Array): Float32Array {
  const floats = new Float32Array(bytes.byteLength >> 2);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let index = 0; index < floats.length; index++) floats[index] = view.getFloat32(index * 4, true);
  return floats;
}

/** The elements of an output tensor, FP32 or FP64. */
export function decodeOutput(answer: inference.ModelInferResponse, output: string): Float32Array {
  const index = answer.outputs.findIndex(({ name }) => name === output);
  const tensor = answer.outputs[index];
  if (tensor === undefined)
    throw new StageFailure("OUTPUT_MISSING", `model "${answer.modelName}" has no output "${output}"`);
  const raw = answer.rawOutputContents[index];
  if (tensor.datatype === "FP32")
    return raw === undefined ? Float32Array.from(tensor.contents?.fp32Contents ?? []) : floatsOf(raw);
  if (tensor.datatype !== "FP64")
    throw new StageFailure("OUTPUT_MALFORMED", `output "${output}" is ${tensor.datatype}, neither FP32 nor FP64`);
  if (raw === undefined) return Float32Array.from(tensor.contents?.fp64Contents ?? []);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  return Float32Array.from({ length: raw.byteLength >> 3 }, (_, element) => view.getFloat64(element * 8, true));
}
