import {
  clone,
  create,
  type DescField,
  type DescMessage,
  type DescOneof,
  type Message,
  ScalarType,
} from "@bufbuild/protobuf";
import { copyBytes } from "./pooled-bytes.ts";

/** Makes a whole message from an init shape or message, sharing nothing mutable with it. */
export type CopyMessage = (init: object) => Message;

const compiled = new WeakMap<DescMessage, CopyMessage>();

/**
 * The copier of a message type. Messages cross an in-memory call through it, so that neither side sees a later change
 * of the other; it also completes the init shapes that handlers answer. It is compiled from the descriptor, because a
 * copier that walks descriptors costs several times the call itself.
 */
export function copierOf(descriptor: DescMessage): CopyMessage {
  const found = compiled.get(descriptor);
  if (found !== undefined) return found;
  let real: CopyMessage | undefined;
  // Registered before it is compiled: a message may contain itself.
  const copier: CopyMessage = (init) => {
    real ??= compile(descriptor);
    return real(init);
  };
  compiled.set(descriptor, copier);
  return copier;
}

/** Types whose shape in TypeScript is not that of a plain message. */
const special = new Set(["google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"]);

function compile(descriptor: DescMessage): CopyMessage {
  if (special.has(descriptor.typeName) || descriptor.file.edition !== 999)
    return (init) =>
      "$typeName" in init ? clone(descriptor, init as Message) : create(descriptor, init as Record<string, unknown>);
  const copiers: CopyMessage[] = [];
  const own: string[] = [`$typeName: ${JSON.stringify(descriptor.typeName)}`];
  const later: string[] = [];
  for (const member of descriptor.members) {
    const at = `m[${JSON.stringify(member.localName)}]`;
    const to = `o[${JSON.stringify(member.localName)}]`;
    if (member.kind === "oneof") own.push(`${JSON.stringify(member.localName)}: ${oneofCode(member, at, copiers)}`);
    else if (member.fieldKind === "message" || (isSingular(member) && member.proto.proto3Optional))
      later.push(`if (${at} !== undefined) ${to} = ${singularCode(member, at, copiers)};`);
    else own.push(`${JSON.stringify(member.localName)}: ${fieldCode(member, at, copiers)}`);
  }
  const body = `"use strict"; return function copy(m) { const o = { ${own.join(", ")} }; ${later.join(" ")}
    if (m.$unknown !== undefined) o.$unknown = m.$unknown.slice(); return o; };`;
  return new Function("copiers", "copyBytes", body)(copiers, copyBytes) as CopyMessage;
}

function isSingular(field: DescField): boolean {
  return field.fieldKind === "scalar" || field.fieldKind === "enum" || field.fieldKind === "message";
}

function messageCode(message: DescMessage, at: string, copiers: CopyMessage[]): string {
  copiers.push(copierOf(message));
  return `copiers[${copiers.length - 1}](${at})`;
}

function singularCode(field: DescField, at: string, copiers: CopyMessage[]): string {
  if (field.fieldKind === "message") return messageCode(field.message, at, copiers);
  return field.fieldKind === "scalar" && field.scalar === ScalarType.BYTES ? `copyBytes(${at})` : at;
}

function zeroOf(scalar: ScalarType): string {
  switch (scalar) {
    case ScalarType.STRING:
      return '""';
    case ScalarType.BOOL:
      return "false";
    case ScalarType.BYTES:
      return "new Uint8Array(0)";
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.SINT64:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return "0n";
    default:
      return "0";
  }
}

function fieldCode(field: DescField, at: string, copiers: CopyMessage[]): string {
  switch (field.fieldKind) {
    case "scalar":
      return `${at} === undefined ? ${zeroOf(field.scalar)} : ${singularCode(field, at, copiers)}`;
    case "enum":
      return `${at} === undefined ? 0 : ${at}`;
    case "list": {
      if (field.listKind === "message")
        return `${at} === undefined ? [] : ${at}.map((e) => ${messageCode(field.message, "e", copiers)})`;
      if (field.listKind === "scalar" && field.scalar === ScalarType.BYTES)
        return `${at} === undefined ? [] : ${at}.map((e) => copyBytes(e))`;
      return `${at} === undefined ? [] : ${at}.slice()`;
    }
    case "map": {
      const value =
        field.mapKind === "message"
          ? messageCode(field.message, "v", copiers)
          : field.mapKind === "scalar" && field.scalar === ScalarType.BYTES
            ? "copyBytes(v)"
            : "v";
      return `${at} === undefined ? {} : ((s) => { const r = {}; for (const k in s) { const v = s[k]; r[k] = ${value}; } return r; })(${at})`;
    }
    case "message":
      return `undefined`;
  }
}

function oneofCode(oneof: DescOneof, at: string, copiers: CopyMessage[]): string {
  const cases = oneof.fields.map(
    (field) =>
      `case ${JSON.stringify(field.localName)}: return { case: u.case, value: ${singularCode(field, "u.value", copiers)} };`,
  );
  return `${at} === undefined ? { case: undefined } : ((u) => { switch (u.case) { ${cases.join(" ")} default: return { case: undefined }; } })(${at})`;
}
