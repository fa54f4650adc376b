import { describe, expect, test } from "@jest/globals";
import type { ValueType } from "@weft/scenario";
import { recommending } from "../testing/scenarios.ts";
import { Faults } from "./faults.ts";
import { featureType, passesFilters, type RequestFilter, readFilters } from "./item-filters.ts";
import { PopularList } from "./popular-list.ts";

const attributes = new Map<string, ValueType>([
  ["p:year", "float32"],
  ["p:pages", "int64"],
  ["p:title", "string"],
  ["p:lent", "bool"],
]);
const filter = (attribute: string, more: Partial<RequestFilter> = {}): RequestFilter => ({
  attribute,
  anyOf: [],
  ...more,
});
const number = (value: number) => ({ kind: { case: "number", value } }) as const;

function faultsOf(given: readonly RequestFilter[]): string[] {
  const faults = new Faults();
  readFilters(given, attributes, faults);
  return faults.violations.map(({ field, description }) => `${field} ${description}`);
}

describe("item filters", () => {
  test("values take the attribute's own type", () => {
    const faults = new Faults();
    const [year, pages] = readFilters(
      [filter("p:year", { anyOf: [number(0.1)] }), filter("p:pages", { anyOf: [number(300)] })],
      attributes,
      faults,
    );
    expect(faults.none).toBe(true);
    expect(year?.anyOf).toEqual([Math.fround(0.1)]);
    expect(pages?.anyOf).toEqual([300n]);
  });

  test.each<[RequestFilter, string]>([
    [filter("p:colour"), "filters[0].attribute must be one of p:year, p:pages, p:title, p:lent"],
    [filter("p:year"), "filters[0] must have any_of, at_least or at_most"],
    [filter("p:title", { atLeast: 1 }), "filters[0].at_least cannot bound p:title, which is no number"],
    [filter("p:year", { atMost: Number.NaN }), "filters[0].at_most must be finite"],
    [filter("p:title", { anyOf: [number(1)] }), "filters[0].any_of[0] must have the attribute's type, string"],
    [filter("p:pages", { anyOf: [number(1.5)] }), "filters[0].any_of[0] must have the attribute's type, int64"],
    [filter("p:year", { anyOf: Array(1_001).fill(number(1)) }), "filters[0].any_of must be at most 1000 values"],
  ])("a faulty filter is refused: %j", (given, fault) => {
    expect(faultsOf([given])).toEqual([fault]);
  });

  test("filters are bounded", () => {
    expect(faultsOf(Array(33).fill(filter("p:year", { atLeast: 1 })))).toEqual(["filters must be at most 32"]);
  });

  test("bounds are inclusive, several filters must all hold, and no value passes none", () => {
    const range = [{ attribute: "p:year", anyOf: [], atLeast: 1990, atMost: 1999 }];
    expect([1989, 1990, 1999, 2000].map((year) => passesFilters({ "p:year": year }, range))).toEqual([
      false,
      true,
      true,
      false,
    ]);
    expect(passesFilters({ "p:year": null }, range)).toBe(false);
    expect(passesFilters({}, range)).toBe(false);
    const both = [...range, { attribute: "p:pages", anyOf: [3n, 4n], atLeast: undefined, atMost: undefined }];
    expect(passesFilters({ "p:year": 1995, "p:pages": 4n }, both)).toBe(true);
    expect(passesFilters({ "p:year": 1995, "p:pages": 5n }, both)).toBe(false);
  });

  test("types come from fields, aggregates and transforms", () => {
    expect(featureType(recommending, "book_profile:title")).toBe("string");
    expect(featureType(recommending, "reader_loans:loans_30d")).toBe("float64");
    expect(featureType(recommending, "reader_loans:seen_30d")).toBeUndefined();
    expect(featureType(recommending, "nowhere:x")).toBeUndefined();
  });
});

describe("popular list", () => {
  const filters = [{ attribute: "p:year", anyOf: [], atLeast: 2000, atMost: undefined }];
  const list = new PopularList();
  list.replace([
    { key: 1n, attributes: { "p:year": 1990 } },
    { key: 2n, attributes: { "p:year": 2001 } },
    { key: 3n, attributes: undefined },
    { key: 4n, attributes: { "p:year": 2002 } },
  ]);

  test("keeps its order, leaves out what is dropped, and is cut to the count", () => {
    expect(list.select(2, new Set([1n]), []).items.map(({ key }) => key)).toEqual([2n, 3n]);
  });

  test("never violates a filter, and counts items of which nothing is known", () => {
    const { items, unknown } = list.select(10, new Set(), filters);
    expect(items.map(({ key }) => key)).toEqual([2n, 4n]);
    expect(unknown).toBe(1);
  });

  test("an empty list does not replace a good one", () => {
    expect(list.replace([])).toBe(false);
    expect(list.items).toHaveLength(4);
  });
});
