import { describe, expect, test } from "@jest/globals";
import { nameFault, valueFault } from "./field-syntax.ts";
import { HeaderBlock, requestFault, responseFault, trailersFault } from "./header-block.ts";

describe("names and values of fields", () => {
  test.each(["a", "x-weft-1", "grpc-status", ":path", "a_b", "!#$%&'*+.^`|~"])("%j is a name", (name) =>
    expect(nameFault(name)).toBeUndefined(),
  );
  test.each(["", ":", "A", "a b", "a:", ":Path", "é", "a\0", "a\u007f"])("%j is none", (name) =>
    expect(nameFault(name)).toBeDefined(),
  );
  test.each(["", "a", "a b", "a\tb", "é", "\u0080\u00ff"])("%j is a value", (value) =>
    expect(valueFault("x", value)).toBeUndefined(),
  );
  test.each([" a", "a ", "\ta", "a\t", " ", "a\nb", "a\rb", "a\0", "\u0001", "\u007f"])("%j is none", (value) =>
    expect(valueFault("x", value)).toBeDefined(),
  );
  test.each([
    [":path", "/a.B/C?d=%20", "a"],
    [":path", "*", ""],
    [":path", "/", "/a b"],
    [":authority", "feature:7000", "user@feature"],
    [":authority", "[::1]:80", ""],
    ["host", "a", "a/b"],
    [":scheme", "https", "ht tp"],
    [":method", "POST", "P T"],
  ])("%s: %j is one, %j is not", (name, good, bad) => {
    expect(valueFault(name, good)).toBeUndefined();
    expect(valueFault(name, bad)).toBeDefined();
  });
});

function blockOf(fields: readonly (readonly [string, string])[]): HeaderBlock {
  const block = new HeaderBlock();
  for (const [name, value] of fields) block.add(name, value, 10_000);
  return block;
}

const request = [
  [":method", "POST"],
  [":scheme", "http"],
  [":path", "/"],
  [":authority", "a"],
] as const;

describe("header blocks", () => {
  test("a request has its four pseudo-header fields, or host", () => {
    expect(requestFault(blockOf(request))).toBeUndefined();
    expect(requestFault(blockOf([...request.slice(0, 3), ["host", "a"]]))).toBeUndefined();
    for (const missing of request.keys())
      expect(requestFault(blockOf(request.filter((_, index) => index !== missing)))).toBeDefined();
  });

  test.each<[string, readonly (readonly [string, string])[]]>([
    ["two of :path", [...request, [":path", "/"]]],
    ["a pseudo-header field after a regular one", [["a", "b"], ...request]],
    ["two of host", [...request, ["host", "a"], ["host", "a"]]],
    ["two of content-length", [...request, ["content-length", "1"], ["content-length", "1"]]],
    ["a content-length that is none", [...request, ["content-length", "+1"]]],
    ["te of HTTP/1.1", [...request, ["te", "gzip"]]],
    ["a field of HTTP/1.1", [...request, ["transfer-encoding", "chunked"]]],
    [":status in a request", [...request, [":status", "200"]]],
    ["an asterisk for a POST", [...request.filter(([name]) => name !== ":path"), [":path", "*"]]],
  ])("%s makes a request malformed", (_name, fields) => expect(requestFault(blockOf(fields))).toBeDefined());

  test.each<[string, readonly (readonly [string, string])[]]>([
    ["no status", []],
    ["a status that is none", [[":status", "20"]]],
    ["101", [[":status", "101"]]],
    [
      "content-length in a 1xx",
      [
        [":status", "103"],
        ["content-length", "0"],
      ],
    ],
    [
      "content-length in a 204",
      [
        [":status", "204"],
        ["content-length", "1"],
      ],
    ],
    [
      "a request's field",
      [
        [":status", "200"],
        [":path", "/"],
      ],
    ],
  ])("%s makes a response malformed", (_name, fields) => expect(responseFault(blockOf(fields))).toBeDefined());

  test("trailers have neither pseudo-header fields nor content-length", () => {
    expect(trailersFault(blockOf([["grpc-status", "0"]]))).toBeUndefined();
    expect(trailersFault(blockOf([[":status", "200"]]))).toBeDefined();
    expect(trailersFault(blockOf([["content-length", "0"]]))).toBeDefined();
  });
});
