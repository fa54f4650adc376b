import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "@jest/globals";
import { feature, inference } from "@weft/contracts";
import { FeatureStatus } from "../domain/peers.ts";
import { decodeColumn, decodeOutput } from "./rpc-peers.ts";
import { durationOfMs, timestampOfUs } from "./timestamp.ts";

describe("rpc peers", () => {
  test("statuses have the numbers of the contract", () => {
    expect(FeatureStatus).toEqual({
      Present: feature.FeatureStatus.PRESENT,
      Null: feature.FeatureStatus.NULL,
      NotFound: feature.FeatureStatus.NOT_FOUND,
      OutsideMaxAge: feature.FeatureStatus.OUTSIDE_MAX_AGE,
      Defaulted: feature.FeatureStatus.DEFAULTED,
      Unavailable: feature.FeatureStatus.UNAVAILABLE,
    });
  });

  test("a column has values where its statuses say so; stale ones only where the ladder does", () => {
    const column = create(feature.ColumnSchema, {
      statuses: [1, 2, 3, 4, 5],
      values: { case: "float64s", value: { values: [10, 20, 30, 40, 50] } },
    });
    expect(decodeColumn(column, false).values).toEqual([10, null, null, null, 50]);
    expect(decodeColumn(column, true).values).toEqual([10, null, null, 40, 50]);
  });

  test("lists of keys and vectors are read whole, an unaligned view included", () => {
    const keys = create(feature.ColumnSchema, {
      statuses: [1, 1],
      values: { case: "keyLists", value: { values: [{ integers: [1n, 2n] }, { texts: ["a"] }] } },
    });
    expect(decodeColumn(keys, false).values).toEqual([[1n, 2n], ["a"]]);
    const bytes = new Uint8Array(17);
    bytes.set(new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer), 1);
    const vectors = create(feature.ColumnSchema, {
      statuses: [1, 1],
      values: { case: "vectors", value: { dimension: 2, values: bytes.subarray(1) } },
    });
    expect(decodeColumn(vectors, false).values).toEqual([Float32Array.of(1, 2), Float32Array.of(3, 4)]);
  });

  test("an output is found by name, as FP32 or FP64, raw or listed", () => {
    const answer = create(inference.ModelInferResponseSchema, {
      outputs: [
        { name: "label", datatype: "INT64" },
        { name: "probability", datatype: "FP64" },
      ],
      rawOutputContents: [new Uint8Array(8), new Uint8Array(Float64Array.of(0.5, 0.25).buffer)],
    });
    expect(decodeOutput(answer, "probability")).toEqual(Float32Array.of(0.5, 0.25));
    expect(() => decodeOutput(answer, "label")).toThrow(/INT64/);
    expect(() => decodeOutput(answer, "score")).toThrow(/no output "score"/);
    const listed = create(inference.ModelInferResponseSchema, {
      outputs: [{ name: "score", datatype: "FP32", contents: { fp32Contents: [0.5] } }],
    });
    expect(decodeOutput(listed, "score")).toEqual(Float32Array.of(0.5));
  });

  test("times keep their microseconds", () => {
    expect(timestampOfUs(1_700_000_000_123_456)).toEqual({ seconds: 1_700_000_000n, nanos: 123_456_000 });
    expect(durationOfMs(0.25)).toEqual({ seconds: 0n, nanos: 250_000 });
    expect(durationOfMs(1_500)).toEqual({ seconds: 1n, nanos: 500_000_000 });
  });
});
