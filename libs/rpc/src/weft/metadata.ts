import type { HeaderBlock } from "@weft/http2";
import type { Metadata } from "../context.ts";
import { errors } from "../errors.ts";

/** Fields of the protocol, which are not metadata. */
const reserved = new Set([
  "te",
  "content-type",
  "content-length",
  "grpc-timeout",
  "grpc-encoding",
  "grpc-accept-encoding",
  "grpc-message-type",
  "grpc-status",
  "grpc-message",
]);
const validKey = /^[0-9a-z_.-]+$/;
const validValue = /^[\x20-\x7e]*$/;
const outerSpaces = /^ +| +$/g;
/** Base64 with or without padding; values of one key may be joined by commas. */
const validBinary = /^[A-Za-z0-9+/]*={0,2}(,[A-Za-z0-9+/]*={0,2})*$/;

/** The metadata of a block: values of one key are joined by commas, binary values are base64. Undefined where there is none. */
export function metadataOf(block: HeaderBlock): Metadata | undefined {
  const { fields } = block;
  let metadata: Record<string, string> | undefined;
  for (let index = 0; index < fields.length; index += 2) {
    const key = fields[index] as string;
    if (reserved.has(key)) continue;
    metadata ??= {};
    const value = padded(key, fields[index + 1] as string);
    metadata[key] = Object.hasOwn(metadata, key) ? `${metadata[key]},${value}` : value;
  }
  return metadata;
}

/** The first key whose value should be base64 and is not; undefined where there is none. */
export function malformedBinaryKey({ fields }: HeaderBlock): string | undefined {
  for (let index = 0; index < fields.length; index += 2) {
    const key = fields[index] as string;
    if (key.endsWith("-bin") && !validBinary.test(fields[index + 1] as string)) return key;
  }
  return undefined;
}

/** Peers may leave base64's padding out; readers of metadata get it with padding. */
function padded(key: string, value: string): string {
  if (!key.endsWith("-bin") || value.length % 4 === 0) return value;
  return value
    .split(",")
    .map((part) => part.padEnd(Math.ceil(part.length / 4) * 4, "="))
    .join(",");
}

/**
 * Adds a key to fields that are sent. Throws where HTTP/2 cannot carry it or the protocol owns the key. Spaces at the ends of
 * a value are left out, as gRPC allows: HTTP/2 does not carry them.
 */
export function addMetadata(fields: string[], key: string, value: string): void {
  if (!validKey.test(key) || reserved.has(key) || !validValue.test(value)) throw errors.METADATA_INVALID({ key });
  fields.push(key, value.replace(outerSpaces, ""));
}

/** Fields of metadata that is sent; undefined where there is none. */
export function fieldsOf(metadata: Metadata | undefined): string[] | undefined {
  if (metadata === undefined) return undefined;
  const fields: string[] = [];
  for (const key in metadata) addMetadata(fields, key.toLowerCase(), metadata[key] ?? "");
  return fields;
}
