import type { PredictionPayload, RequestValue } from "./prediction.ts";

/*
 * Layout of a payload, little-endian; it starts at a multiple of 8 bytes:
 *   0  uint8   format, 1
 *   1  uint8   flags: 1 degraded, 2 has statuses, 4 has a request
 *   2  uint16  scores
 *   4  uint32  features
 *   8  float64[scores], float32[features], uint8[features] where there are statuses
 *      decision, tenant, arm: each uint16 length in bytes, UTF-8
 *      uint16 entities, then each name and key as text
 *      with a request: int64 read time, uint16 fields, then each name as text, uint8 kind and value:
 *      0 null, 1 float64, 2 int64, 3 uint8 truth, 4 text
 */
const FORMAT = 1;
const DEGRADED = 1;
const HAS_STATUSES = 2;
const HAS_REQUEST = 4;
const Kind = { Null: 0, Number: 1, Integer: 2, Flag: 3, Text: 4 } as const;
const HEADER_BYTES = 8;

/** Writes payloads one after the other into one growing buffer. */
export class PayloadWriter {
  #buffer: Buffer<ArrayBuffer>;
  #view: DataView;
  #length = 0;

  constructor(capacityBytes: number) {
    this.#buffer = Buffer.from(new ArrayBuffer(capacityBytes));
    this.#view = new DataView(this.#buffer.buffer);
  }

  /** Bytes written, the padding to a multiple of 8 after each payload included. */
  get length(): number {
    return this.#length;
  }

  /** Writes one payload where `length` stands and answers its length in bytes. */
  write(payload: Omit<PredictionPayload, "scores">, scores: readonly { readonly score: number }[]): number {
    const { entities, features, statuses, decision, tenant, arm, request, readTimeUs } = payload;
    let bound = HEADER_BYTES + 8 * scores.length + features.length + statuses.length + 8;
    bound += 3 * (decision.length + tenant.length + arm.length);
    for (const name in entities) {
      bound += 4 + 3 * (name.length + (entities[name] as string).length);
    }
    let fieldCount = 0;
    for (const name in request) {
      const kind = request[name]?.kind;
      bound += 11 + 3 * (name.length + (kind?.case === "text" ? kind.value.length : 0));
      fieldCount++;
    }
    const hasRequest = fieldCount > 0 || readTimeUs !== 0n;
    if (hasRequest) bound += 10;
    const start = this.#length;
    this.#reserve(start + bound + 8);
    const buffer = this.#buffer;
    const view = this.#view;
    const featureCount = features.length >>> 2;
    buffer[start] = FORMAT;
    buffer[start + 1] =
      (payload.degraded ? DEGRADED : 0) | (statuses.length > 0 ? HAS_STATUSES : 0) | (hasRequest ? HAS_REQUEST : 0);
    view.setUint16(start + 2, scores.length, true);
    view.setUint32(start + 4, featureCount, true);
    let at = start + HEADER_BYTES;
    for (const { score } of scores) {
      view.setFloat64(at, score, true);
      at += 8;
    }
    buffer.set(features, at);
    at += features.length;
    buffer.set(statuses, at);
    at += statuses.length;
    at = this.#text(decision, at);
    at = this.#text(tenant, at);
    at = this.#text(arm, at);
    const entitiesAt = at;
    at += 2;
    let entityCount = 0;
    for (const name in entities) {
      at = this.#text(name, at);
      at = this.#text(entities[name] as string, at);
      entityCount++;
    }
    view.setUint16(entitiesAt, entityCount, true);
    if (hasRequest) {
      view.setBigInt64(at, readTimeUs, true);
      view.setUint16(at + 8, fieldCount, true);
      at += 10;
      for (const name in request) {
        at = this.#text(name, at);
        at = this.#value(request[name]?.kind, at);
      }
    }
    this.#length = (at + 7) & ~7;
    return at - start;
  }

  /** The bytes written so far; the writer must not be used after. */
  finish(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#buffer.buffer, 0, this.#length);
  }

  #value(kind: RequestValue["kind"] | undefined, at: number): number {
    const view = this.#view;
    switch (kind?.case) {
      case "number":
        view.setUint8(at, Kind.Number);
        view.setFloat64(at + 1, kind.value, true);
        return at + 9;
      case "integer":
        view.setUint8(at, Kind.Integer);
        view.setBigInt64(at + 1, kind.value, true);
        return at + 9;
      case "flag":
        view.setUint8(at, Kind.Flag);
        view.setUint8(at + 1, kind.value ? 1 : 0);
        return at + 2;
      case "text":
        view.setUint8(at, Kind.Text);
        return this.#text(kind.value, at + 1);
      default:
        view.setUint8(at, Kind.Null);
        return at + 1;
    }
  }

  #text(text: string, at: number): number {
    if (text.length === 0) {
      this.#view.setUint16(at, 0, true);
      return at + 2;
    }
    const length = this.#buffer.write(text, at + 2);
    this.#view.setUint16(at, length, true);
    return at + 2 + length;
  }

  #reserve(capacityBytes: number): void {
    if (capacityBytes <= this.#buffer.length) {
      return;
    }
    const grown = Buffer.from(new ArrayBuffer(Math.max(capacityBytes, this.#buffer.length * 2)));
    grown.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = grown;
    this.#view = new DataView(grown.buffer);
  }
}

/** Reads a payload whole. */
export function decodePayload(payload: Uint8Array): PredictionPayload {
  const buffer = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  if (buffer[0] !== FORMAT) {
    throw new RangeError(`payload format ${buffer[0]} is not ${FORMAT}`);
  }
  const flags = buffer[1] ?? 0;
  const scoreCount = buffer.readUInt16LE(2);
  const featureCount = buffer.readUInt32LE(4);
  let at = HEADER_BYTES;
  const scores: number[] = [];
  for (let i = 0; i < scoreCount; i++, at += 8) {
    scores.push(buffer.readDoubleLE(at));
  }
  const features = Uint8Array.prototype.slice.call(buffer, at, at + 4 * featureCount);
  at += 4 * featureCount;
  const statusCount = (flags & HAS_STATUSES) === 0 ? 0 : featureCount;
  const statuses = Uint8Array.prototype.slice.call(buffer, at, at + statusCount);
  at += statusCount;
  const text = (): string => {
    const length = buffer.readUInt16LE(at);
    at += 2 + length;
    return buffer.toString("utf8", at - length, at);
  };
  const decision = text();
  const tenant = text();
  const arm = text();
  const entities: Record<string, string> = {};
  const entityCount = buffer.readUInt16LE(at);
  at += 2;
  for (let i = 0; i < entityCount; i++) {
    const name = text();
    entities[name] = text();
  }
  const request: Record<string, RequestValue> = {};
  let readTimeUs = 0n;
  if ((flags & HAS_REQUEST) !== 0) {
    readTimeUs = buffer.readBigInt64LE(at);
    const fieldCount = buffer.readUInt16LE(at + 8);
    at += 10;
    for (let i = 0; i < fieldCount; i++) {
      const name = text();
      const kind = buffer[at++];
      switch (kind) {
        case Kind.Null:
          request[name] = { kind: { case: undefined } };
          break;
        case Kind.Number:
          request[name] = { kind: { case: "number", value: buffer.readDoubleLE(at) } };
          at += 8;
          break;
        case Kind.Integer:
          request[name] = { kind: { case: "integer", value: buffer.readBigInt64LE(at) } };
          at += 8;
          break;
        case Kind.Flag:
          request[name] = { kind: { case: "flag", value: buffer[at++] === 1 } };
          break;
        case Kind.Text:
          request[name] = { kind: { case: "text", value: text() } };
          break;
        default:
          throw new RangeError(`request field "${name}" has kind ${kind}`);
      }
    }
  }
  const degraded = (flags & DEGRADED) !== 0;
  return { entities, features, statuses, scores, decision, degraded, tenant, arm, request, readTimeUs };
}

/**
 * Reads numbers of payloads in place, without their texts. `bytes` holds one payload or many, each at a multiple of 8.
 * The machine is little-endian, as every machine that Node runs on; bytes that are not aligned in memory are copied.
 */
export class PayloadNumbers {
  /** Scores of a payload are here from `scoresStart` on. */
  readonly float64: Float64Array;
  /** Features of a payload are here from `featuresStart` on. */
  readonly float32: Float32Array;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    const aligned = (bytes.byteOffset & 7) === 0 ? bytes : bytes.slice();
    this.#bytes = aligned;
    this.float64 = new Float64Array(aligned.buffer, aligned.byteOffset, aligned.length >>> 3);
    this.float32 = new Float32Array(aligned.buffer, aligned.byteOffset, aligned.length >>> 2);
  }

  scoreCount(payloadStart: number): number {
    return (this.#bytes[payloadStart + 2] as number) | ((this.#bytes[payloadStart + 3] as number) << 8);
  }

  featureCount(payloadStart: number): number {
    const bytes = this.#bytes;
    const low = (bytes[payloadStart + 4] as number) | ((bytes[payloadStart + 5] as number) << 8);
    return low | ((bytes[payloadStart + 6] as number) << 16) | ((bytes[payloadStart + 7] as number) << 24);
  }

  scoresStart(payloadStart: number): number {
    return (payloadStart + HEADER_BYTES) >>> 3;
  }

  featuresStart(payloadStart: number): number {
    return (payloadStart + HEADER_BYTES + 8 * this.scoreCount(payloadStart)) >>> 2;
  }
}
