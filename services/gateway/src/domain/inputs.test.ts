import { describe, expect, test } from "@jest/globals";
import { recommending, recommendPipeline, scorePipeline, scoring } from "../testing/scenarios.ts";
import { Faults } from "./faults.ts";
import { RequestInputs, type RequestKey, type RequestValue, readEventTimeUs } from "./inputs.ts";

const inputs = new RequestInputs(scoring, scorePipeline.entities);
const text = (value: string): RequestKey => ({ kind: { case: "text", value } });
const number = (value: number): RequestValue => ({ kind: { case: "number", value } });
const whole = {
  amount: number(12.5),
  hour: { kind: { case: "integer", value: 3n } },
  online: { kind: { case: "flag", value: true } },
  note: { kind: { case: "text", value: "x" } },
} as const;

function faultsOf(run: (faults: Faults) => unknown): string[] {
  const faults = new Faults();
  run(faults);
  return faults.violations.map(({ field, description }) => `${field} ${description}`);
}

describe("request inputs", () => {
  test("a whole request is read in the order of the scenario", () => {
    const faults = new Faults();
    expect(inputs.keys({ account: text("a") }, "entities", faults)).toEqual([["a"]]);
    expect(inputs.values(whole, "features", faults)).toEqual([12.5, 3n, true, "x"]);
    expect(faults.none).toBe(true);
  });

  test.each<[string, Record<string, RequestKey>, string]>([
    ["missing", {}, "entities.account is missing"],
    ["of the wrong type", { account: { kind: { case: "integer", value: 1n } } }, "entities.account must be a text key"],
    ["empty", { account: text("") }, "entities.account must not be empty"],
    ["too long", { account: text("ü".repeat(257)) }, "entities.account must be at most 512 bytes"],
    ["unset", { account: { kind: { case: undefined } } }, "entities.account must be a text key"],
  ])("a key that is %s", (_, keys, fault) => {
    expect(faultsOf((faults) => inputs.keys(keys, "entities", faults))).toEqual([fault]);
  });

  test("an unknown entity or field is named", () => {
    const keys = { account: text("a"), card: text("b") };
    expect(faultsOf((faults) => inputs.keys(keys, "entities", faults))).toEqual([
      "entities.card is no entity of this pipeline",
    ]);
    expect(faultsOf((faults) => inputs.values({ ...whole, colour: number(1) }, "features", faults))).toEqual([
      "features.colour is no request field of this scenario",
    ]);
  });

  test.each<[string, RequestValue, string]>([
    ["amount", number(Number.NaN), "features.amount must be finite; leave the value unset where it is not known"],
    [
      "amount",
      number(Number.NEGATIVE_INFINITY),
      "features.amount must be finite; leave the value unset where it is not known",
    ],
    ["amount", number(1e300), "features.amount is out of the range of float32"],
    ["amount", { kind: { case: "text", value: "1" } }, "features.amount must be a number"],
    ["hour", number(3), "features.hour must be an integer"],
    ["online", number(1), "features.online must be a flag (true or false)"],
    ["note", number(1), "features.note must be a text"],
    ["note", { kind: { case: "text", value: "y".repeat(65_537) } }, "features.note must be at most 65536 bytes"],
  ])("a wrong %s", (name, value, fault) => {
    expect(faultsOf((faults) => inputs.values({ ...whole, [name]: value }, "features", faults))).toEqual([fault]);
  });

  test("all faults are said at once; an unset value is null and a missing one is a fault", () => {
    expect(faultsOf((faults) => inputs.values({ hour: number(1) }, "features", faults))).toHaveLength(4);
    const faults = new Faults();
    expect(inputs.values({ ...whole, hour: { kind: { case: undefined } } }, "features", faults)[1]).toBeNull();
    expect(faults.none).toBe(true);
  });

  test("faults are bounded", () => {
    const faults = new Faults();
    for (let index = 0; index < 1_000; index++) faults.add(`excluded_ids[${index}]`, "is wrong");
    expect(faults.violations).toHaveLength(32);
    expect(faults.toString()).toMatch(/and 968 more$/);
  });

  test("a read takes the entities and fields that it needs, through transforms", () => {
    const read = inputs.read(scorePipeline.stages.scoring.model.features, "tree");
    expect(read.entities.map(({ name }) => name)).toEqual(["account"]);
    expect(read.fields.map(({ name }) => name)).toEqual(["amount"]);
    expect(read.stale).toEqual([false, true, false, false]);
    const reading = new RequestInputs(recommending, [recommendPipeline.user, recommendPipeline.item]);
    expect(reading.read(["book_profile:title"]).entities.map(({ name }) => name)).toEqual(["book"]);
    expect(reading.read(["everyone:popular_30d"]).entities).toEqual([]);
  });
});

describe("event time", () => {
  const nowMs = 1_700_000_000_000;
  const read = (seconds: bigint, nanos: number, faults = new Faults()) =>
    readEventTimeUs({ seconds, nanos }, nowMs, 1_000, faults);

  test("is the request's in microseconds, or now", () => {
    expect(read(1_600_000_000n, 123_456_789)).toBe(1_600_000_000_123_456);
    expect(readEventTimeUs(undefined, nowMs, 1_000, new Faults())).toBe(nowMs * 1_000);
  });

  test.each<[bigint, number, RegExp]>([
    [-1n, 0, /beginning of 1970/],
    [0n, 999, /beginning of 1970/],
    [0n, -1, /nanos/],
    [0n, 1_000_000_000, /nanos/],
    [1_700_000_002n, 0, /ahead/],
    [9_000_000_000_000n, 0, /ahead/],
  ])("refuses %d s %d ns", (seconds, nanos, fault) => {
    expect(faultsOf((faults) => read(seconds, nanos, faults))).toEqual([expect.stringMatching(fault)]);
  });
});
