import { expect, test } from "@jest/globals";
import { defineSource } from "./definitions.ts";
import { type Expectation, expectationFaults, expectationText } from "./expectations.ts";

const source = (...expectations: readonly unknown[]) =>
  defineSource({
    name: "payments",
    file: "payments.csv",
    eventTime: "time",
    fields: { card: "int64", amount: "float64", kind: "string", seen: { keys: "int64" } },
    expectations: expectations as readonly Expectation[],
  });

test("faults of expectations say which one and why", () => {
  const fine = source(
    { expect: "not_null", field: "seen", policy: "warn" },
    { expect: "between", field: "card", min: 0n, policy: "quarantine" },
    { expect: "in_set", field: "card", values: [1, 2n], policy: "reject" },
    { expect: "unique", fields: ["card", "kind"], policy: "reject" },
    { expect: "freshness", maxAge: "2d", policy: "warn" },
    { expect: "row_count", min: 1, policy: "reject" },
    { expect: "null_rate", field: "kind", max: 0.1, policy: "warn" },
    { expect: "distribution", field: "kind", policy: "warn" },
  );
  expect(expectationFaults(fine)).toEqual([]);
  expect(fine.expectations?.map(expectationText)).toEqual([
    "seen not null",
    "card at least 0",
    "card in {1, 2}",
    "card, kind unique",
    "newest event at most 2d old",
    "row count at least 1",
    "null rate of kind at most 0.1",
    "kind distributed as before, PSI at most 0.2",
  ]);
  expect(
    expectationFaults(
      source(
        { expect: "not_null", field: "none", policy: "warn" },
        { expect: "not_null", field: "kind", policy: "drop" },
        { expect: "between", field: "kind", min: 0, policy: "warn" },
        { expect: "between", field: "amount", policy: "warn" },
        { expect: "between", field: "amount", min: 2, max: 1, policy: "warn" },
        { expect: "between", field: "card", min: 0.5, policy: "warn" },
        { expect: "between", field: "amount", max: Number.NaN, policy: "warn" },
        { expect: "in_set", field: "kind", values: [], policy: "warn" },
        { expect: "in_set", field: "kind", values: [1], policy: "warn" },
        { expect: "null_rate", field: "kind", max: 2, policy: "warn" },
        { expect: "unique", fields: ["kind"], policy: "quarantine" },
        { expect: "freshness", maxAge: "soon", policy: "warn" },
        { expect: "better", policy: "warn" },
        { expect: "distribution", field: "seen", policy: "warn" },
      ),
    ),
  ).toEqual([
    'expectation 1: the source has no field "none"',
    'expectation 2: policy "drop" must be warn, quarantine or reject',
    "expectation 3: between needs a number field",
    "expectation 4: needs min or max",
    "expectation 5: min 2 is above max 1",
    "expectation 6: the bound 0.5 must be a whole number",
    "expectation 7: the bound NaN is not a number",
    "expectation 8: in_set needs 1 to 1000 values",
    'expectation 9: in_set: the values must be of the field\'s type, "string"',
    "expectation 10: max must be from 0 to 1",
    "expectation 11: unique is about all rows together, so its policy must be warn or reject",
    'expectation 12: maxAge "soon" is not a duration such as "2d"',
    'expectation 13: "better" is not an expectation',
    "expectation 14: distribution needs a field of numbers, truth values or texts",
  ]);
});
