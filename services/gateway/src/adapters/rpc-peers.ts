import type { MessageInitShape } from "@bufbuild/protobuf";
import { feature, type inference, type retrieval } from "@weft/contracts";
import type { CallContext, CallOptions, Client } from "@weft/rpc";
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
import { timestampOfUs } from "./timestamp.ts";

/** Clients of the services behind the gateway. */
export interface PeerClients {
  readonly feature: Client<typeof feature.FeatureService>;
  readonly ranking: Client<typeof inference.GRPCInferenceService>;
  readonly retrieval: Client<typeof retrieval.RetrievalService>;
}

/** On whose behalf peers are called. */
export interface PeerScope {
  /** The call being answered; undefined for work in the background. */
  readonly parent: CallContext | undefined;
  readonly release: string;
  readonly requestId: string;
  /** Priority of work in the background; a request's own goes on by itself. */
  readonly priority?: number;
}

const { LAYOUT_COLUMNS, LAYOUT_MATRIX } = {
  LAYOUT_COLUMNS: feature.GetOnlineFeaturesRequest_Layout.COLUMNS,
  LAYOUT_MATRIX: feature.GetOnlineFeaturesRequest_Layout.MATRIX,
};
const inputName = "features";
const nullStatus = [feature.FeatureStatus.NULL];

/** Calls the peers of one request over their clients, whichever topology these have. */
export class RpcPeers implements Peers {
  readonly #clients: PeerClients;
  readonly #scope: PeerScope;

  constructor(clients: PeerClients, scope: PeerScope) {
    this.#clients = clients;
    this.#scope = scope;
  }

  get cancelled(): boolean {
    return this.#scope.parent?.cancelled !== undefined;
  }

  async readMatrix(
    read: FeatureRead,
    keys: readonly (readonly Key[])[],
    fields: readonly Value[],
    eventTimeUs: number,
    timeoutMs: number,
  ): Promise<FeatureMatrix> {
    const request = featureRequest(read, keys, fields, eventTimeUs, LAYOUT_MATRIX);
    const { matrix } = await this.#clients.feature.getOnlineFeatures(request, this.#options(timeoutMs));
    if (matrix === undefined) throw new StageFailure("FEATURES_MALFORMED", "the answer has no matrix");
    return matrix;
  }

  async readColumns(
    read: FeatureRead,
    keys: readonly (readonly Key[])[],
    fields: readonly Value[],
    eventTimeUs: number,
    timeoutMs: number,
  ): Promise<readonly FeatureColumn[]> {
    const request = featureRequest(read, keys, fields, eventTimeUs, LAYOUT_COLUMNS);
    const { columns } = await this.#clients.feature.getOnlineFeatures(request, this.#options(timeoutMs));
    if (columns.length !== read.references.length)
      throw new StageFailure("FEATURES_MALFORMED", `wanted ${read.references.length} columns, got ${columns.length}`);
    return columns.map((column, index) => decodeColumn(column, read.stale[index] ?? false));
  }

  async infer(model: ModelTarget, rows: number, features: Uint8Array, timeoutMs: number): Promise<Float32Array> {
    const answer = await this.#clients.ranking.modelInfer(
      {
        modelName: model.name,
        modelVersion: model.version,
        id: this.#scope.requestId,
        inputs: [{ name: inputName, datatype: "FP32", shape: [BigInt(rows), BigInt(model.features)] }],
        outputs: [{ name: model.output }],
        rawInputContents: [features],
      },
      this.#options(timeoutMs),
    );
    return decodeOutput(answer, model.output);
  }

  async search(
    target: IndexTarget,
    embedding: Float32Array,
    count: number,
    filters: readonly ItemFilter[],
    excluded: readonly Key[],
    timeoutMs: number,
  ): Promise<Neighbors> {
    const answer = await this.#clients.retrieval.search(
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
      this.#options(timeoutMs),
    );
    const neighbors = answer.neighbors[0];
    const keys = target.itemKey === "int64" ? neighbors?.keys?.integers : neighbors?.keys?.texts;
    return { keys: keys ?? [], similarities: neighbors?.similarities ?? [] };
  }

  #options(timeoutMs: number): CallOptions {
    const { parent, release, requestId, priority } = this.#scope;
    return { parent, timeoutMs, release, requestId, priority };
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

function featureRequest(
  read: FeatureRead,
  keys: readonly (readonly Key[])[],
  fields: readonly Value[],
  eventTimeUs: number,
  layout: feature.GetOnlineFeaturesRequest_Layout,
): MessageInitShape<typeof feature.GetOnlineFeaturesRequestSchema> {
  const entities: MessageInitShape<typeof feature.EntityKeysSchema>[] = [];
  for (const { name, key, position } of read.entities) {
    const column = keys[position] ?? [];
    if (key === "int64") entities.push({ entity: name, integers: column as bigint[] });
    else entities.push({ entity: name, texts: column as string[] });
  }
  const requestFeatures: MessageInitShape<typeof feature.ColumnSchema>[] = [];
  for (const field of read.fields) requestFeatures.push(fieldColumn(field, fields[field.position] ?? null));
  return {
    scenario: read.scenario,
    featureService: read.featureService,
    features: read.featureService === "" ? [...read.references] : [],
    entities,
    requestFeatures,
    asOf: timestampOfUs(eventTimeUs),
    layout,
  };
}

function fieldColumn({ name, type }: FieldInput, value: Value): MessageInitShape<typeof feature.ColumnSchema> {
  const statuses = value === null ? nullStatus : [];
  switch (type) {
    case "float32":
      return { name, statuses, values: { case: "float32s", value: { values: [Number(value ?? 0)] } } };
    case "float64":
      return { name, statuses, values: { case: "float64s", value: { values: [Number(value ?? 0)] } } };
    case "int64": {
      const integer = typeof value === "bigint" ? value : 0n;
      return { name, statuses, values: { case: "int64s", value: { values: [integer] } } };
    }
    case "bool":
      return { name, statuses, values: { case: "bools", value: { values: [value === true] } } };
    case "string": {
      const text = typeof value === "string" ? value : "";
      return { name, statuses, values: { case: "strings", value: { values: [text] } } };
    }
    case "bytes":
      return { name, statuses, values: { case: "bytes", value: { values: [new Uint8Array(0)] } } };
    default: {
      if ("keys" in type) return { name, statuses, values: { case: "keyLists", value: { values: [{}] } } };
      const zeros = new Uint8Array(type.vector * 4);
      return { name, statuses, values: { case: "vectors", value: { dimension: type.vector, values: zeros } } };
    }
  }
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
