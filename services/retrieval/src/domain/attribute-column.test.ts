import { describe, expect, test } from "@jest/globals";
import { AttributeColumnBuilder, type AttributeCondition, type AttributeScalar } from "./attribute-column.ts";

function column(values: readonly AttributeScalar[]) {
  const builder = new AttributeColumnBuilder("a");
  for (const value of values) expect(builder.add(value)).toBeUndefined();
  return builder.build();
}

function matching(values: readonly AttributeScalar[], condition: Partial<AttributeCondition>): number[] {
  const built = column(values);
  const matches = built.matches({ attribute: "a", anyOf: [], atLeast: undefined, atMost: undefined, ...condition });
  return values.map((_, row) => row).filter((row) => matches[built.codes[row] ?? 0] === 1);
}

describe("AttributeColumn", () => {
  const huge = 2n ** 53n;

  test.each<[string, AttributeScalar[], Partial<AttributeCondition>, number[]]>([
    ["text", ["a", "b", null, "a"], { anyOf: ["a", "z"] }, [0, 3]],
    ["null", ["a", null, "b"], { anyOf: [null] }, [1]],
    ["flag", [true, false, true], { anyOf: [true] }, [0, 2]],
    ["number in a range", [1.5, 2, 3, null], { atLeast: 1.5, atMost: 2 }, [0, 1]],
    ["number by an integer", [1, 2.5, 2], { anyOf: [2n] }, [2]],
    ["integer by a number", [1n, 2n], { anyOf: [2, 2.5] }, [1]],
    ["integers beyond 2^53 keep their bits", [huge, huge + 1n, huge + 2n], { anyOf: [huge + 1n] }, [1]],
    ["integers beyond 2^53 in a range", [huge, huge + 1n, huge + 2n], { atLeast: Number(huge + 2n) }, [2]],
    ["both conditions", [1n, 5n, 9n], { anyOf: [1n, 5n], atLeast: 2 }, [1]],
    ["an empty column matches no value", [null, null], { anyOf: ["a"] }, []],
  ])("%s", (_name, values, condition, expected) => {
    expect(matching(values, condition)).toEqual(expected);
  });

  test("types that do not fit are refused", () => {
    expect(() => matching(["a"], { atLeast: 1 })).toThrow('filter on "a": a text attribute has no order');
    expect(() => matching(["a"], { anyOf: [1] })).toThrow('filter on "a": a text attribute cannot equal a number');
    expect(() => matching([1], { anyOf: [true] })).toThrow('filter on "a": a number attribute cannot equal a flag');
    const builder = new AttributeColumnBuilder("a");
    builder.add(1n);
    expect(builder.add("x")).toBe('attribute "a" is integer, not text');
    expect(new AttributeColumnBuilder("a").add(Number.NaN)).toBe('attribute "a" is not finite');
  });
});
