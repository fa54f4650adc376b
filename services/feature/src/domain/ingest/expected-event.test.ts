import { expect, test } from "@jest/globals";
import { defineSource } from "@weft/scenario";
import { createExpectingReader } from "./expected-event.ts";

test("a message that does not meet an expectation is no event; one that is warned of is", () => {
  const row = (amount: number) => ({ eventTimeUs: 1, createdTimeUs: 1, values: [amount] });
  const read = (value: Uint8Array | undefined) => row(value?.[0] ?? 0);
  const source = defineSource({
    name: "payments",
    file: "payments.csv",
    eventTime: "time",
    fields: { amount: "float64" },
    expectations: [
      { expect: "between", field: "amount", max: 10, policy: "warn" },
      { expect: "between", field: "amount", max: 20, policy: "quarantine" },
      { expect: "between", field: "amount", max: 30, policy: "reject" },
    ],
  });
  const expecting = createExpectingReader(source, read);
  expect(expecting(Uint8Array.of(15), 0, 0)).toEqual(row(15));
  for (const [amount, expected] of [
    [25, 20],
    [35, 30],
  ] as const)
    expect(() => expecting(Uint8Array.of(amount), 0, 0)).toThrow(
      expect.objectContaining({ reason: "EXPECTATION_NOT_MET", message: `expected amount at most ${expected}` }),
    );
  const { expectations: _, ...plain } = source;
  expect(createExpectingReader(plain, read)).toBe(read);
});
