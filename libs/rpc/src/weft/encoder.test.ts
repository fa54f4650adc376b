import { create, type DescField, type DescMessage, type Message, ScalarType, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "@jest/globals";
import { feature, gateway, inference, monitoring, registry, retrieval, rpcStatus } from "@weft/contracts";
import { seededBelow } from "@weft/repeatable";
import { encoderOf } from "./encoder.ts";
import type { Encoded } from "./wire-writer.ts";

type Random = (below: number) => number;

function scalarOf(scalar: ScalarType, random: Random): unknown {
  const small = random(3) === 0;
  switch (scalar) {
    case ScalarType.STRING:
      return small ? "" : "é☺x".repeat(random(100));
    case ScalarType.BYTES:
      // Now and then so many that they are referenced, not copied.
      return new Uint8Array(small ? 0 : random(40) === 0 ? 16_000 + random(1_000) : random(300)).fill(random(256));
    case ScalarType.BOOL:
      return random(2) === 0;
    case ScalarType.DOUBLE:
      return small ? [0, -0, Number.NaN, Number.POSITIVE_INFINITY][random(4)] : random(1e9) / 7;
    case ScalarType.FLOAT:
      return small ? [0, -0][random(2)] : Math.fround(random(1e6) / 7);
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return small ? 0 : random(2 ** 31) * (random(2) === 0 ? 1 : -1);
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return small ? 0 : random(2 ** 32);
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return small ? 0n : BigInt(random(2 ** 32)) * BigInt(random(2 ** 32));
    default:
      return small ? 0n : BigInt(random(2 ** 31)) * BigInt(random(2 ** 32)) * (random(2) === 0 ? 1n : -1n);
  }
}

function singleOf(field: DescField, random: Random, depth: number): unknown {
  if ("message" in field && field.message !== undefined) return messageOf(field.message, random, depth + 1);
  if ("enum" in field && field.enum !== undefined) return field.enum.values[random(field.enum.values.length)]?.number;
  return "scalar" in field && field.scalar !== undefined ? scalarOf(field.scalar, random) : undefined;
}

function keyOf(scalar: ScalarType, random: Random): string {
  return scalar === ScalarType.STRING ? `k${random(1_000)}` : String(scalarOf(scalar, random));
}

function messageOf(descriptor: DescMessage, random: Random, depth = 0): Message {
  const init: Record<string, unknown> = {};
  for (const field of descriptor.fields) {
    if (random(3) === 0 || depth > 4) continue;
    if (field.oneof !== undefined) {
      init[field.oneof.localName] = { case: field.localName, value: singleOf(field, random, depth) };
    } else if (field.fieldKind === "list")
      init[field.localName] = Array.from({ length: random(5) }, () => singleOf(field, random, depth));
    else if (field.fieldKind === "map")
      init[field.localName] = Object.fromEntries(
        Array.from({ length: random(5) }, () => [keyOf(field.mapKey, random), singleOf(field, random, depth)]),
      );
    else init[field.localName] = singleOf(field, random, depth);
  }
  return create(descriptor, init as never);
}

const modules: Readonly<Record<string, object>> = {
  feature,
  gateway,
  inference,
  monitoring,
  registry,
  retrieval,
  rpcStatus,
};

/** The pieces of a message as one. */
function whole(encoded: Encoded): Buffer {
  return encoded instanceof Uint8Array ? Buffer.from(encoded) : Buffer.concat(encoded);
}

describe("the encoder writes what the library writes", () => {
  test.each(Object.entries(modules))("for every message of %s", (_name, module) => {
    const seed = Date.now();
    const random = seededBelow(seed);
    const types = Object.values(module).filter(
      (value): value is DescMessage => typeof value === "object" && value !== null && value.kind === "message",
    );
    expect(types.length).toBeGreaterThan(0);
    for (const type of types) {
      const encode = encoderOf(type);
      for (let round = 0; round < 40; round++) {
        const message = messageOf(type, random);
        const expected = Buffer.from(toBinary(type, message)).toString("hex");
        const actual = whole(encode(message)).toString("hex");
        if (actual !== expected) throw new Error(`seed ${seed}: ${type.typeName} differs:\n${actual}\n${expected}`);
      }
    }
  });

  test("after a message that cannot be written, the next is whole", () => {
    const encode = encoderOf(rpcStatus.StatusSchema);
    const { StatusSchema } = rpcStatus;
    const details = [{ typeUrl: "x", value: new Uint8Array(5) }];
    expect(() => encode(create(StatusSchema, { message: "kept back", code: 1.5, details }))).toThrow();
    const right = create(StatusSchema, { code: 3, message: "m" });
    expect(whole(encode(right))).toEqual(Buffer.from(toBinary(StatusSchema, right)));
  });

  test("fields that this version does not know go on", () => {
    const encode = encoderOf(gateway.ScoreResponseSchema);
    const message = create(gateway.ScoreResponseSchema, { decision: "x" });
    message.$unknown = [{ no: 999, wireType: 0, data: Uint8Array.of(5) }];
    expect(whole(encode(message))).toEqual(Buffer.from(toBinary(gateway.ScoreResponseSchema, message)));
  });

  test("large bytes go as they lie, however deep in the message", () => {
    const value = new Uint8Array(100_000).fill(7);
    const schema = inference.ModelInferRequestSchema;
    const message = create(schema, {
      modelName: "é".repeat(30_000),
      inputs: [{ name: "x", shape: [1n], contents: { bytesContents: [value, new Uint8Array(3), value] } }],
      rawInputContents: [value],
    });
    const encoded = encoderOf(schema)(message);
    expect(encoded).toBeInstanceOf(Array);
    expect([...encoded].filter((piece) => piece === value).length).toBe(3);
    expect(whole(encoded)).toEqual(Buffer.from(toBinary(schema, message)));
  });
});
