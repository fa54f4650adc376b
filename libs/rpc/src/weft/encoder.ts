import { type DescField, type DescMessage, type Message, ScalarType, toBinary } from "@bufbuild/protobuf";
import { WireType } from "@bufbuild/protobuf/wire";
import { type Encoded, WireWriter } from "./wire-writer.ts";

/** Writes a whole message. */
export type Encode = (message: Message) => Encoded;

type Fields = Readonly<Record<string, unknown>>;
type WriteMessage = (writer: WireWriter, message: Fields) => void;
type WriteValue = (writer: WireWriter, value: never) => void;

/** Messages whose shape in TypeScript is not their shape on the wire, where they are fields. */
const special = /^google\.protobuf\.(Struct|Value|ListValue|Any|(Double|Float|U?Int(32|64)|Bool|String|Bytes)Value)$/;
/** proto3, which this encoder is for; other editions are left to the library. */
const proto3 = 999;

/** One writer for every message of the process: encoding never waits within a message. */
const shared = new WireWriter();

const compiled = new WeakMap<DescMessage, WriteMessage>();

/** The encoder of a message type; it writes what `toBinary` would. */
export function encoderOf(descriptor: DescMessage): Encode {
  if (!isPlain(descriptor, new Set())) return (message) => toBinary(descriptor, message);
  const write = compile(descriptor);
  return (message) => {
    try {
      write(shared, message as unknown as Fields);
      return shared.finish();
    } catch (error) {
      // It holds half a message.
      shared.reset();
      throw error;
    }
  };
}

function isPlain(descriptor: DescMessage, seen: Set<DescMessage>): boolean {
  if (seen.has(descriptor)) return true;
  seen.add(descriptor);
  if (descriptor.file.edition !== proto3 || special.test(descriptor.typeName)) return false;
  return descriptor.fields.every((field) => {
    const inner = messageOf(field);
    return inner === undefined || isPlain(inner, seen);
  });
}

function messageOf(field: DescField): DescMessage | undefined {
  if (field.fieldKind === "message") return field.message;
  if (field.fieldKind === "list" && field.listKind === "message") return field.message;
  return field.fieldKind === "map" && field.mapKind === "message" ? field.message : undefined;
}

function compile(descriptor: DescMessage): WriteMessage {
  const known = compiled.get(descriptor);
  if (known !== undefined) return known;
  const fields: WriteMessage[] = [];
  const write: WriteMessage = (writer, message) => {
    for (let index = 0; index < fields.length; index++) (fields[index] as WriteMessage)(writer, message);
    const unknown = message.$unknown as Message["$unknown"];
    if (unknown !== undefined) for (const { no, wireType, data } of unknown) writer.tag(no, wireType).raw(data);
  };
  // Registered before its fields are compiled: a message may contain itself.
  compiled.set(descriptor, write);
  for (const field of descriptor.fields.toSorted((a, b) => a.number - b.number)) fields.push(compileField(field));
  return write;
}

function compileField(field: DescField): WriteMessage {
  const name = field.localName;
  switch (field.fieldKind) {
    case "list":
      return compileList(field);
    case "map":
      return compileMap(field);
    default: {
      const value = compileTagged(field);
      if (field.oneof !== undefined) {
        const group = field.oneof.localName;
        return (writer, message) => {
          const chosen = message[group] as { readonly case: string | undefined; readonly value: never };
          if (chosen.case === name) value(writer, chosen.value);
        };
      }
      if (field.fieldKind === "message" || field.proto.proto3Optional)
        return (writer, message) => {
          if (message[name] !== undefined) value(writer, message[name] as never);
        };
      const isZero = zeroTest(field.fieldKind === "enum" ? ScalarType.INT32 : field.scalar);
      return (writer, message) => {
        if (!isZero(message[name])) value(writer, message[name] as never);
      };
    }
  }
}

function zeroTest(scalar: ScalarType): (value: unknown) => boolean {
  switch (scalar) {
    case ScalarType.STRING:
      return (value) => value === "";
    case ScalarType.BYTES:
      return (value) => value instanceof Uint8Array && value.byteLength === 0;
    case ScalarType.BOOL:
      return (value) => value === false;
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return (value) => Object.is(value, 0);
    default:
      return (value) => value === 0 || value === 0n || value === "0";
  }
}

/** Writes a value with its tag. */
function compileTagged(field: DescField & { readonly fieldKind: "scalar" | "enum" | "message" }): WriteValue {
  const { number } = field;
  if (field.fieldKind === "message") {
    const write = compile(field.message);
    return (writer, value) => {
      writer.tag(number, WireType.LengthDelimited).fork();
      write(writer, value);
      writer.join();
    };
  }
  const scalar = field.fieldKind === "enum" ? ScalarType.INT32 : field.scalar;
  const wireType = wireTypeOf(scalar);
  const write = scalarWriter(scalar);
  return (writer, value) => {
    writer.tag(number, wireType);
    write(writer, value);
  };
}

function compileList(field: DescField & { readonly fieldKind: "list" }): WriteMessage {
  const { number, localName } = field;
  if (field.listKind === "message") {
    const write = compile(field.message);
    return (writer, message) => {
      for (const item of message[localName] as readonly Fields[]) {
        writer.tag(number, WireType.LengthDelimited).fork();
        write(writer, item);
        writer.join();
      }
    };
  }
  const scalar = field.listKind === "enum" ? ScalarType.INT32 : field.scalar;
  const write = scalarWriter(scalar);
  if (field.packed)
    return (writer, message) => {
      const items = message[localName] as readonly never[];
      if (items.length === 0) return;
      writer.tag(number, WireType.LengthDelimited).fork();
      for (const item of items) write(writer, item);
      writer.join();
    };
  const wireType = wireTypeOf(scalar);
  return (writer, message) => {
    for (const item of message[localName] as readonly never[]) {
      writer.tag(number, wireType);
      write(writer, item);
    }
  };
}

function compileMap(field: DescField & { readonly fieldKind: "map" }): WriteMessage {
  const { number, localName, mapKey } = field;
  const keyType = wireTypeOf(mapKey);
  const writeKey = scalarWriter(mapKey);
  const keyOf = keyReader(mapKey);
  let writeValue: WriteValue;
  if (field.mapKind === "message") {
    const write = compile(field.message);
    writeValue = (writer, value) => {
      writer.tag(2, WireType.LengthDelimited).fork();
      write(writer, value);
      writer.join();
    };
  } else {
    const scalar = field.mapKind === "enum" ? ScalarType.INT32 : field.scalar;
    const wireType = wireTypeOf(scalar);
    const write = scalarWriter(scalar);
    writeValue = (writer, value) => {
      writer.tag(2, wireType);
      write(writer, value);
    };
  }
  return (writer, message) => {
    const map = message[localName] as Fields;
    for (const key of Object.keys(map)) {
      writer.tag(number, WireType.LengthDelimited).fork();
      writer.tag(1, keyType);
      writeKey(writer, keyOf(key) as never);
      writeValue(writer, map[key] as never);
      writer.join();
    }
  };
}

/** Keys of objects are strings, whatever the map's are. */
function keyReader(scalar: ScalarType): (key: string) => unknown {
  switch (scalar) {
    case ScalarType.BOOL:
      return (key) => key === "true";
    case ScalarType.INT32:
    case ScalarType.UINT32:
    case ScalarType.SINT32:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return Number;
    default:
      return (key) => key;
  }
}

function wireTypeOf(scalar: ScalarType): WireType {
  switch (scalar) {
    case ScalarType.BYTES:
    case ScalarType.STRING:
      return WireType.LengthDelimited;
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return WireType.Bit64;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return WireType.Bit32;
    default:
      return WireType.Varint;
  }
}

function scalarWriter(scalar: ScalarType): WriteValue {
  switch (scalar) {
    case ScalarType.STRING:
      return (writer, value) => void writer.string(value);
    case ScalarType.BYTES:
      return (writer, value) => void writer.bytes(value);
    case ScalarType.BOOL:
      return (writer, value) => void writer.bool(value);
    case ScalarType.DOUBLE:
      return (writer, value) => void writer.double(value);
    case ScalarType.FLOAT:
      return (writer, value) => void writer.float(value);
    case ScalarType.INT32:
      return (writer, value) => void writer.int32(value);
    case ScalarType.UINT32:
      return (writer, value) => void writer.uint32(value);
    case ScalarType.SINT32:
      return (writer, value) => void writer.sint32(value);
    case ScalarType.FIXED32:
      return (writer, value) => void writer.fixed32(value);
    case ScalarType.SFIXED32:
      return (writer, value) => void writer.sfixed32(value);
    case ScalarType.INT64:
      return (writer, value) => void writer.int64(value);
    case ScalarType.UINT64:
      return (writer, value) => void writer.uint64(value);
    case ScalarType.SINT64:
      return (writer, value) => void writer.sint64(value);
    case ScalarType.FIXED64:
      return (writer, value) => void writer.fixed64(value);
    case ScalarType.SFIXED64:
      return (writer, value) => void writer.sfixed64(value);
  }
}
