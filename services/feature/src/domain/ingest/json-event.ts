import type { Source, Value, ValueType } from "@weft/scenario";
import { keyBytesMax } from "../views/entity-key.ts";
import { type SourceField, type SourceRow, sourceFields } from "../views/view-state.ts";

/** What an event may hold. */
export interface EventBounds {
  /** Size of one text, byte string or list, in bytes. */
  readonly valueBytesMax: number;
  /** How far ahead of the clock an event time may be, in microseconds. */
  readonly futureToleranceUs: number;
}

/** Why a message is no event: a reason for the quarantine. */
export class EventFault extends Error {
  readonly reason: string;

  constructor(reason: string, detail: string) {
    super(detail);
    this.reason = reason;
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true });
const int64Min = -(2n ** 63n);
const int64Max = 2n ** 63n - 1n;
/** Digits that a double may not hold exactly; times in microseconds are below. */
const longDigits = /(?<!\d)(?:9\d{15}|\d{17})/;

/**
 * Reads a message's value, a JSON object with the source's fields by name, as a row of a source:
 *
 * - int64 and times (microseconds since 1970): a whole number or its decimal digits in a text, exact to 64 bits;
 * - float32, float64: a number; bool: true or false; string: a text; bytes: base64 in a text;
 * - vectors and lists of keys: arrays; vectors have the declared dimension;
 * - null, or no such member: no value. Members that the source has not are passed over.
 *
 * The created time is the member that the source declares; else, and where it is absent, the message's own time.
 * Throws EventFault: MESSAGE_UNREADABLE, VALUE_INVALID, VALUE_TOO_LARGE, KEY_INVALID or EVENT_TIME_INVALID.
 */
export function createJsonEventReader(source: Source, keyFields: ReadonlySet<string>, bounds: EventBounds) {
  const fields = sourceFields(source);
  return (value: Uint8Array | undefined, timeUs: number, nowUs: number): SourceRow => {
    const object = readObject(value);
    const latestUs = nowUs + bounds.futureToleranceUs;
    const eventTimeUs = readTime(member(object, source.eventTime), source.eventTime, latestUs);
    if (eventTimeUs === undefined) throw new EventFault("EVENT_TIME_INVALID", `"${source.eventTime}" is missing`);
    const created =
      source.createdTime === undefined
        ? undefined
        : readTime(member(object, source.createdTime), source.createdTime, latestUs);
    return {
      eventTimeUs,
      createdTimeUs: created ?? timeUs,
      values: fields.map((field) => readField(member(object, field.name), field, keyFields.has(field.name), bounds)),
    };
  };
}

function readObject(value: Uint8Array | undefined): Readonly<Record<string, unknown>> {
  if (value === undefined) throw new EventFault("MESSAGE_UNREADABLE", "the message has no value");
  let parsed: unknown;
  try {
    const text = decoder.decode(value);
    parsed = longDigits.test(text) ? JSON.parse(text, exactInteger) : JSON.parse(text);
  } catch {
    throw new EventFault("MESSAGE_UNREADABLE", "the message is not JSON in UTF-8");
  }
  if (!isRecord(parsed)) throw new EventFault("MESSAGE_UNREADABLE", "the message is not a JSON object");
  return parsed;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Own members only: a field may be called "constructor". */
function member(object: Readonly<Record<string, unknown>>, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** Keeps whole numbers above 2^53 as they were written. */
function exactInteger(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  const written = context?.source ?? "";
  return /^-?\d+$/.test(written) ? BigInt(written) : value;
}

function readTime(value: unknown, name: string, latestUs: number): number | undefined {
  if (value === undefined || value === null) return undefined;
  const us = toInteger(value);
  if (us === undefined || !Number.isSafeInteger(Number(us)))
    throw new EventFault("EVENT_TIME_INVALID", `"${name}" is no time in microseconds`);
  if (Number(us) > latestUs) throw new EventFault("EVENT_TIME_INVALID", `"${name}" is too far ahead of the clock`);
  return Number(us);
}

function toInteger(value: unknown): bigint | undefined {
  if (typeof value === "bigint") return value;
  if (typeof value === "number") return Number.isSafeInteger(value) ? BigInt(value) : undefined;
  return typeof value === "string" && /^-?\d{1,19}$/.test(value) ? BigInt(value) : undefined;
}

function readField(value: unknown, { name, type }: SourceField, isKey: boolean, bounds: EventBounds): Value {
  if (value === undefined || value === null) return null;
  const read = readValue(value, type, bounds);
  if (read === undefined) throw new EventFault("VALUE_INVALID", `"${name}" is not of its type ${describe(type)}`);
  if (read === tooLarge)
    throw new EventFault("VALUE_TOO_LARGE", `"${name}" is larger than ${bounds.valueBytesMax} bytes`);
  if (isKey && typeof read === "string" && (read === "" || Buffer.byteLength(read) > keyBytesMax))
    throw new EventFault("KEY_INVALID", `"${name}" is empty or longer than ${keyBytesMax} bytes`);
  return read;
}

const tooLarge: unique symbol = Symbol("too large");

/** Undefined where it is not of the type. */
function readValue(value: unknown, type: ValueType, bounds: EventBounds): Value | undefined | typeof tooLarge {
  switch (type) {
    case "int64": {
      const integer = toInteger(value);
      return integer !== undefined && integer >= int64Min && integer <= int64Max ? integer : undefined;
    }
    case "float32":
    case "float64": {
      const number = typeof value === "bigint" ? Number(value) : value;
      if (typeof number !== "number" || !Number.isFinite(number)) return undefined;
      return type === "float32" ? Math.fround(number) : number;
    }
    case "bool":
      return typeof value === "boolean" ? value : undefined;
    case "string":
      if (typeof value !== "string") return undefined;
      return Buffer.byteLength(value) > bounds.valueBytesMax ? tooLarge : value;
    case "bytes": {
      if (typeof value !== "string" || !/^[A-Za-z0-9+/]*={0,2}$/.test(value)) return undefined;
      if (value.length > bounds.valueBytesMax * 1.4 + 4) return tooLarge;
      return new Uint8Array(Buffer.from(value, "base64"));
    }
    default:
      if (!Array.isArray(value)) return undefined;
      if (value.length * 4 > bounds.valueBytesMax) return tooLarge;
      return "vector" in type ? readVector(value, type.vector) : readKeys(value, type.keys);
  }
}

function readVector(values: readonly unknown[], dimension: number): Float32Array | undefined {
  if (values.length !== dimension) return undefined;
  const vector = new Float32Array(dimension);
  for (let i = 0; i < dimension; i++) {
    const value = values[i];
    if (typeof value !== "number" || !Number.isFinite(Math.fround(value))) return undefined;
    vector[i] = value;
  }
  return vector;
}

function readKeys(values: readonly unknown[], type: "int64" | "string"): (bigint | string)[] | undefined {
  const keys: (bigint | string)[] = [];
  for (const value of values) {
    const key = type === "int64" ? toInteger(value) : typeof value === "string" ? value : undefined;
    if (key === undefined) return undefined;
    keys.push(key);
  }
  return keys;
}

function describe(type: ValueType): string {
  return typeof type === "string" ? type : JSON.stringify(type);
}
