import { clone, create, type DescMessage, fromBinary, isMessage, type Message, toBinary } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "@jest/globals";
import { feature, gateway, inference, monitoring, registry, retrieval } from "@weft/contracts";
import { copierOf } from "./index.ts";

const samples: readonly (readonly [DescMessage, object])[] = [
  [
    gateway.ScoreRequestSchema,
    {
      scenario: "fraud",
      entities: { card: { kind: { case: "integer", value: 2n ** 60n } } },
      features: { a: { kind: { case: "number", value: 1.5 } }, none: {} },
      eventTime: { seconds: 5n, nanos: 7 },
    },
  ],
  [
    gateway.RecommendRequestSchema,
    {
      filters: [{ attribute: "x", anyOf: [{ kind: { case: "flag", value: true } }], atLeast: 0 }],
      excludedIds: [{ kind: { case: "text", value: "a" } }],
    },
  ],
  [
    feature.GetOnlineFeaturesResponseSchema,
    {
      columns: [
        {
          name: "c",
          values: { case: "vectors", value: { dimension: 2, values: new Uint8Array([1, 2]) } },
          statuses: [1, 2],
          eventTimesUs: [1n],
        },
      ],
      matrix: { names: ["a"], rows: 1, values: new Uint8Array([9]), statuses: new Uint8Array([1]) },
    },
  ],
  [
    inference.ModelInferRequestSchema,
    {
      inputs: [
        {
          name: "f",
          shape: [1n, 2n],
          parameters: { p: { parameterChoice: { case: "stringParam", value: "v" } } },
          contents: { bytesContents: [new Uint8Array([1])], fp32Contents: [1, 2] },
        },
      ],
      rawInputContents: [new Uint8Array([1, 2, 3])],
    },
  ],
  [monitoring.GetDriftResponseSchema, { quality: [{ model: "m", auc: 0 }], windowStart: { seconds: 1n } }],
  [registry.SetLabelRequestSchema, { expectedReleaseId: "" }],
  [
    registry.WatchReleasesResponseSchema,
    {
      revision: 3n,
      releases: [
        {
          label: "champion",
          release: { id: "r", models: [{ metrics: { auc: 0.5 }, lineage: { libraries: { a: "1" } } }] },
        },
      ],
    },
  ],
  [
    retrieval.BuildIndexRequestSchema,
    {
      part: {
        case: "items",
        value: {
          keys: { integers: [1n] },
          vectors: new Uint8Array(8),
          attributes: [{ name: "g", values: [{ kind: { case: "text", value: "x" } }] }],
        },
      },
    },
  ],
  [TimestampSchema, { seconds: 1n }],
];

describe("copierOf", () => {
  test.each(samples.map(([schema, init]) => [schema.typeName, schema, init] as const))(
    "%s: equals create(), whole and separate",
    (_name, schema, init) => {
      const copy = copierOf(schema)(init);
      const made = create(schema, init as Record<string, unknown>);
      expect(copy).toEqual(made);
      expect(isMessage(copy, schema)).toBe(true);
      expect(toBinary(schema, copy)).toEqual(toBinary(schema, made));
      expect(copierOf(schema)(made)).toEqual(clone(schema, made));
    },
  );

  test("shares nothing mutable with its source", () => {
    const source = create(inference.ModelInferRequestSchema, {
      rawInputContents: [new Uint8Array([1, 2])],
      inputs: [{ shape: [1n] }],
    });
    const copy = copierOf(inference.ModelInferRequestSchema)(source) as typeof source;
    source.rawInputContents[0]?.fill(9);
    source.inputs[0]?.shape.push(2n);
    source.inputs.pop();
    expect(copy.rawInputContents[0]).toEqual(new Uint8Array([1, 2]));
    expect(copy.inputs[0]?.shape).toEqual([1n]);
  });

  test("bytes of a Buffer are copied, not viewed", () => {
    const source = Buffer.from([1, 2, 3]);
    const copy = copierOf(feature.FeatureMatrixSchema)({ values: source }) as feature.FeatureMatrix;
    source.fill(0);
    expect([...copy.values]).toEqual([1, 2, 3]);
  });

  test("keeps unknown fields", () => {
    const bytes = toBinary(
      gateway.ScoreResponseSchema,
      create(gateway.ScoreResponseSchema, { requestId: "r", releaseId: "x" }),
    );
    const read: Message = fromBinary(gateway.ModelVersionSchema, bytes);
    const extended = fromBinary(registry.GetReleaseRequestSchema, bytes);
    expect(
      toBinary(
        registry.GetReleaseRequestSchema,
        copierOf(registry.GetReleaseRequestSchema)(extended) as typeof extended,
      ),
    ).toEqual(bytes);
    expect(read.$typeName).toBe("weft.gateway.v1.ModelVersion");
  });
});
