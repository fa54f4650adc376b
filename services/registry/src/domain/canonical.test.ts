import { expect, test } from "@jest/globals";
import { canonicalJson, sha256 } from "./canonical.ts";
import { isDigest, isName, isVersion } from "./names.ts";
import { decodePageToken, encodePageToken } from "./page-token.ts";
import { featureViewContent } from "./records.ts";

test("equal values have equal canonical JSON, whatever the order of their keys", () => {
  expect(canonicalJson({ b: [1, { d: null, c: "é" }], a: true, z: undefined })).toBe(
    '{"a":true,"b":[1,{"c":"é","d":null}]}',
  );
  expect(canonicalJson({ a: true, b: [1, { c: "é", d: null }] })).toBe('{"a":true,"b":[1,{"c":"é","d":null}]}');
  expect(() => canonicalJson({ a: Number.NaN })).toThrow(RangeError);
});

test("a view's digest does not depend on the layout of its JSON", () => {
  const compact = featureViewContent("s", "v", '{"a":1,"b":2}');
  expect(featureViewContent("s", "v", ' { "b": 2,\n "a": 1 } ')).toEqual(compact);
  expect(compact?.digest).toBe(sha256('{"a":1,"b":2}'));
  for (const json of ["", "[]", "1", "null", "{"]) expect(featureViewContent("s", "v", json)).toBeUndefined();
});

test("names, digests and versions have one rule each", () => {
  for (const name of ["a", "card_stats", "two-tower", `a${"b".repeat(62)}`]) expect(isName(name)).toBe(true);
  for (const name of ["", "A", "1a", "_a", "a b", "a/b", "a\n", `a${"b".repeat(63)}`]) expect(isName(name)).toBe(false);
  expect(isDigest("0".repeat(64))).toBe(true);
  for (const digest of ["", "0".repeat(63), "A".repeat(64), `${"0".repeat(64)}\n`])
    expect(isDigest(digest)).toBe(false);
  for (const version of ["1", "42"]) expect(isVersion(version)).toBe(true);
  for (const version of ["", "0", "01", "1.0", "-1"]) expect(isVersion(version)).toBe(false);
});

test("a page token goes on with the list and the scenario it was made for only", () => {
  const token = encodePageToken("models", "fraud", 42);
  expect(decodePageToken("models", "fraud", token)).toBe(42);
  expect(decodePageToken("models", "fraud", "")).toBeUndefined();
  for (const [list, scenario, text] of [
    ["releases", "fraud", token],
    ["models", "", token],
    ["models", "fraud", `${token}=`],
    ["models", "fraud", "42"],
    ["models", "fraud", Buffer.from('[1,"models","fraud",-1]').toString("base64url")],
    ["models", "fraud", "x".repeat(10_000)],
  ] as const) {
    expect(() => decodePageToken(list, scenario, text)).toThrow(/page token/);
  }
});
