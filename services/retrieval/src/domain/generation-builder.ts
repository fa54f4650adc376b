import { errors } from "../errors.ts";
import { type AttributeColumn, AttributeColumnBuilder, type AttributeScalar } from "./attribute-column.ts";
import type { KeyList, KeyType } from "./item-keys.ts";
import { type Metric, normalize } from "./vector-index.ts";

/** Items of one message of a build. */
export interface ItemBatch {
  readonly keys: KeyList;
  /** float32[items, dimension], row-major little-endian, of any alignment. */
  readonly vectors: Uint8Array;
  readonly attributes: readonly { readonly name: string; readonly values: readonly AttributeScalar[] }[];
}

/** Bounds of a build. */
export interface BuildLimits {
  readonly itemsMax: number;
  readonly vectorBytesMax: number;
}

/** Longest text key, in UTF-8 bytes. */
const keyBytesMax = 512;
/** Most attributes of an item. */
const attributesMax = 64;

/**
 * Checks the items of a build as they come: dimensions, finite values, unique keys of one type, attributes of one type.
 * Keeps keys and attributes; vectors are handed back, ready to be written.
 */
export class GenerationBuilder {
  readonly dimension: number;
  private readonly metric: Metric;
  private readonly limits: BuildLimits;
  private readonly seen = new Set<string | bigint>();
  private keyType: KeyType | undefined;
  private columns: AttributeColumnBuilder[] | undefined;

  constructor(dimension: number, metric: Metric, limits: BuildLimits) {
    this.dimension = dimension;
    this.metric = metric;
    this.limits = limits;
  }

  get itemCount(): number {
    return this.seen.size;
  }

  /**
   * Adds items; answers their vectors, of unit length where the metric is cosine. Throws BUILD_INVALID with the number
   * of the faulty item, or BUILD_TOO_LARGE.
   */
  add(batch: ItemBatch): Float32Array {
    const { dimension, limits } = this;
    const first = this.itemCount;
    const count = batch.keys.values.length;
    const invalid = (item: number, problem: string) => errors.BUILD_INVALID({ item, problem });
    if (count === 0) throw invalid(-1, "a message holds no items");
    if (first + count > limits.itemsMax || (first + count) * dimension * 4 > limits.vectorBytesMax) {
      throw errors.BUILD_TOO_LARGE({ itemsMax: limits.itemsMax, bytesMax: limits.vectorBytesMax });
    }
    if (batch.vectors.byteLength !== count * dimension * 4) {
      const expected = `${count} items of ${dimension} elements take ${count * dimension * 4} bytes of vectors`;
      throw invalid(first, `${expected}, not ${batch.vectors.byteLength}`);
    }
    const vectors = new Float32Array(count * dimension);
    new Uint8Array(vectors.buffer).set(batch.vectors);
    for (let i = 0; i < count; i += 1) {
      const vector = vectors.subarray(i * dimension, (i + 1) * dimension);
      for (let e = 0; e < dimension; e += 1) {
        if (!Number.isFinite(vector[e])) throw invalid(first + i, `element ${e} of the vector is ${vector[e]}`);
      }
      if (this.metric === "cosine" && !normalize(vector)) throw invalid(first + i, "the vector has no direction");
    }
    this.addKeys(batch.keys, first);
    this.addAttributes(batch, first);
    return vectors;
  }

  /** Keys of all items, in order. Throws BUILD_INVALID when there are none. */
  keys(): readonly string[] | BigInt64Array {
    if (this.keyType === undefined) throw errors.BUILD_INVALID({ item: -1, problem: "the build has no items" });
    if (this.keyType === "text") return [...this.seen] as string[];
    const keys = new BigInt64Array(this.seen.size);
    let row = 0;
    for (const key of this.seen) keys[row++] = key as bigint;
    return keys;
  }

  attributes(): readonly AttributeColumn[] {
    return (this.columns ?? []).map((column) => column.build());
  }

  private addKeys(keys: KeyList, first: number): void {
    this.keyType ??= keys.type;
    if (keys.type !== this.keyType) {
      throw errors.BUILD_INVALID({ item: first, problem: `keys are ${this.keyType}, not ${keys.type}` });
    }
    for (const [i, key] of keys.values.entries()) {
      const item = first + i;
      if (typeof key === "string" && (key.length === 0 || Buffer.byteLength(key) > keyBytesMax)) {
        throw errors.BUILD_INVALID({ item, problem: `a text key has 1 to ${keyBytesMax} bytes` });
      }
      if (this.seen.has(key)) throw errors.BUILD_INVALID({ item, problem: `key ${key} was sent before` });
      this.seen.add(key);
    }
  }

  private addAttributes({ attributes, keys }: ItemBatch, first: number): void {
    const count = keys.values.length;
    if (this.columns === undefined) {
      if (attributes.length > attributesMax) {
        throw errors.BUILD_INVALID({ item: first, problem: `at most ${attributesMax} attributes` });
      }
      this.columns = attributes.map(({ name }) => new AttributeColumnBuilder(name));
    }
    const names = (list: readonly { readonly name: string }[]) =>
      list.map(({ name }) => `"${name}"`).join(", ") || "none";
    const distinct = new Set(attributes.map(({ name }) => name));
    if (distinct.size !== attributes.length || distinct.has("")) {
      throw errors.BUILD_INVALID({ item: first, problem: "attribute names must be distinct and not empty" });
    }
    if (attributes.length !== this.columns.length || this.columns.some(({ name }) => !distinct.has(name))) {
      const problem = `attributes are ${names(attributes)}; the first message had ${names(this.columns)}`;
      throw errors.BUILD_INVALID({ item: first, problem });
    }
    for (const { name, values } of attributes) {
      if (values.length !== count) {
        const problem = `attribute "${name}" has ${values.length} values for ${count} items`;
        throw errors.BUILD_INVALID({ item: first, problem });
      }
      const column = this.columns.find((candidate) => candidate.name === name);
      for (const [i, value] of values.entries()) {
        const problem = column?.add(value);
        if (problem !== undefined) throw errors.BUILD_INVALID({ item: first + i, problem });
      }
    }
  }
}
