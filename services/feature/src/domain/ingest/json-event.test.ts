import { describe, expect, test } from "@jest/globals";
import { defineSource } from "@weft/scenario";
import { createJsonEventReader, EventFault } from "./json-event.ts";

const nowUs = 1_700_000_000_000_000;
const source = defineSource({
  name: "payments",
  file: "payments.csv",
  topic: "payments",
  eventTime: "time",
  createdTime: "created",
  fields: {
    card: "int64",
    shop: "string",
    amount: "float64",
    ratio: "float32",
    ok: "bool",
    raw: "bytes",
    seen: { keys: "int64" },
    tags: { keys: "string" },
    embedding: { vector: 2 },
    // What every object seems to have.
    ...Object.fromEntries([["constructor", "string" as const]]),
  },
});
const read = createJsonEventReader(source, new Set(["card", "shop"]), {
  valueBytesMax: 64,
  futureToleranceUs: 60_000_000,
});
const bytes = (text: string) => new TextEncoder().encode(text);
const rowOf = (text: string) => read(bytes(text), nowUs - 5, nowUs);
const event = (members: string) => `{"time": ${nowUs - 10}${members === "" ? "" : `, ${members}`}}`;

describe("a JSON message as an event", () => {
  test("holds every type; integers are exact to 64 bits", () => {
    expect(
      rowOf(
        event(
          `"created": ${nowUs}, "card": 9007199254740993, "shop": "ü", "amount": 0.5, "ratio": 0.1, "ok": true, "raw": "AQI=",
           "seen": [1, "9223372036854775807"], "tags": ["a"], "embedding": [1, -0.5], "unknown": {}`,
        ),
      ),
    ).toEqual({
      eventTimeUs: nowUs - 10,
      createdTimeUs: nowUs,
      values: [
        9_007_199_254_740_993n,
        "ü",
        0.5,
        Math.fround(0.1),
        true,
        Uint8Array.of(1, 2),
        [1n, 9_223_372_036_854_775_807n],
        ["a"],
        Float32Array.of(1, -0.5),
        null,
      ],
    });
  });

  test("what is absent or null has no value, and was created when the message was stamped", () => {
    expect(rowOf(event(`"card": null`))).toEqual({
      eventTimeUs: nowUs - 10,
      createdTimeUs: nowUs - 5,
      values: new Array(10).fill(null),
    });
  });

  test.each([
    ["an event before 1970", `{"time": -5000000}`, -5_000_000],
    ["a time in a text", `{"time": "1700000000000000"}`, nowUs],
    ["a time within the tolerance", `{"time": ${nowUs + 60_000_000}}`, nowUs + 60_000_000],
  ])("takes %s", (_what, text, eventTimeUs) => {
    expect(rowOf(text)).toMatchObject({ eventTimeUs });
  });

  test.each([
    ["nothing", undefined, "MESSAGE_UNREADABLE"],
    ["no JSON", bytes("{"), "MESSAGE_UNREADABLE"],
    ["no UTF-8", Uint8Array.of(0x7b, 0xff, 0x7d), "MESSAGE_UNREADABLE"],
    ["a list", bytes("[]"), "MESSAGE_UNREADABLE"],
    ["a number", bytes("7"), "MESSAGE_UNREADABLE"],
    ["null", bytes("null"), "MESSAGE_UNREADABLE"],
    ["no event time", bytes(`{"card": 1}`), "EVENT_TIME_INVALID"],
    ["an event time that is no whole number", bytes(`{"time": 1.5}`), "EVENT_TIME_INVALID"],
    ["an event time beyond all times", bytes(`{"time": 9223372036854775807}`), "EVENT_TIME_INVALID"],
    ["an event time too far ahead", bytes(`{"time": ${nowUs + 60_000_001}}`), "EVENT_TIME_INVALID"],
    ["a created time too far ahead", bytes(event(`"created": ${nowUs + 60_000_001}`)), "EVENT_TIME_INVALID"],
    ["an int64 that is a fraction", bytes(event(`"card": 1.5`)), "VALUE_INVALID"],
    ["an int64 above 64 bits", bytes(event(`"card": 9223372036854775808`)), "VALUE_INVALID"],
    ["an int64 that is a word", bytes(event(`"card": "seven"`)), "VALUE_INVALID"],
    ["a float that is a text", bytes(event(`"amount": "NaN"`)), "VALUE_INVALID"],
    ["a float beyond all floats", bytes(event(`"amount": 1e999`)), "VALUE_INVALID"],
    ["a bool that is a number", bytes(event(`"ok": 1`)), "VALUE_INVALID"],
    ["bytes that are no base64", bytes(event(`"raw": "%%"`)), "VALUE_INVALID"],
    ["a vector of another dimension", bytes(event(`"embedding": [1]`)), "VALUE_INVALID"],
    ["a vector with null", bytes(event(`"embedding": [1, null]`)), "VALUE_INVALID"],
    ["a list of other keys", bytes(event(`"seen": ["x"]`)), "VALUE_INVALID"],
    ["a text that is too long", bytes(event(`"constructor": "${"x".repeat(65)}"`)), "VALUE_TOO_LARGE"],
    ["a list that is too long", bytes(event(`"tags": ${JSON.stringify(new Array(17).fill("a"))}`)), "VALUE_TOO_LARGE"],
    ["a text of 10 MB", bytes(event(`"shop": "${"x".repeat(10_000_000)}"`)), "VALUE_TOO_LARGE"],
    ["an empty key", bytes(event(`"shop": ""`)), "KEY_INVALID"],
  ])("refuses %s: %s", (_what, value, reason) => {
    let fault: unknown;
    try {
      read(value, nowUs, nowUs);
    } catch (error) {
      fault = error;
    }
    expect(fault).toBeInstanceOf(EventFault);
    expect(fault).toMatchObject({ reason });
    // What is wrong, and not what was sent.
    expect(String(fault)).not.toContain("seven");
  });
});
