import { describe, expect, test } from "@jest/globals";
import { DeadlineWheel, type Timed } from "../deadline-wheel.ts";
import { MessageReader, type RawMessage } from "./message-reader.ts";
import { decodePercent, encodePercent } from "./percent.ts";
import { formatTimeout, parseTimeout } from "./timeout.ts";

describe("grpc-timeout", () => {
  test.each([
    ["1H", 3_600_000],
    ["2M", 120_000],
    ["3S", 3_000],
    ["45m", 45],
    ["500u", 0.5],
    ["99999999n", 99.999999],
  ])("%s", (text, ms) => expect(parseTimeout(text)).toBeCloseTo(ms, 6));

  test.each(["", "m", "1", "1x", "123456789m", "-1m", "1.5S", " 1S", "1 S"])("malformed: %j", (text) =>
    expect(parseTimeout(text)).toBeUndefined(),
  );

  test("is never shorter than what is left, and never zero", () => {
    for (const ms of [-5, 0, 0.2, 1, 99.5, 99_999_999, 100_000_000, 1e12, 1e15]) {
      const read = parseTimeout(formatTimeout(ms)) ?? 0;
      expect(read).toBeGreaterThanOrEqual(Math.min(Math.max(1, ms), 99_999_999 * 3_600_000));
    }
  });
});

test("percent-encoding round trips any text, and passes over what is no encoding", () => {
  const texts = ["", "plain", "50% off", " spaces  ", "  ", " é ", "\t\r\n", "☺ 😈", "a%zzb", "\u0000\u007f\u0080"];
  for (const text of texts) {
    expect(encodePercent(text)).toMatch(/^(?! )[ -~]*(?<! )$/);
    expect(decodePercent(encodePercent(text))).toBe(text);
  }
  expect(decodePercent("100%")).toBe("100%");
  expect(decodePercent("%zz%41")).toBe("%zzA");
});

test("messages are cut out of content wherever it is cut", () => {
  const messages = ["", "a", "bc".repeat(40), "d".repeat(3), "", "e"];
  const content = Buffer.concat(
    messages.map((text) => {
      const prefix = Buffer.alloc(5);
      prefix.writeUInt32BE(text.length, 1);
      return Buffer.concat([prefix, Buffer.from(text)]);
    }),
  );
  const padded = Buffer.concat([Buffer.from("before"), content, Buffer.from("after")]);
  for (let cut = 0; cut <= content.length; cut++) {
    const reader = new MessageReader(1_000, undefined);
    const got: string[] = [];
    const sink = {
      message: (raw: RawMessage) => got.push(Buffer.from(raw as Uint8Array).toString()),
    };
    expect(reader.read(padded, 6, 6 + cut, sink)).toBeUndefined();
    expect(reader.read(padded, 6 + cut, 6 + content.length, sink)).toBeUndefined();
    expect([cut, got, reader.isPartial]).toEqual([cut, messages, false]);
  }
});

test("deadlines come in time, whether near, far or passed, and not after they are taken away", async () => {
  const wheel = new DeadlineWheel();
  const nowMs = Date.now();
  const came: number[] = [];
  const timed = (afterMs: number): Timed => ({
    deadlineMs: nowMs + afterMs,
    wheelSlot: -1,
    wheelPlace: 0,
    expired: () => came.push(afterMs),
  });
  const removed = timed(20);
  for (const one of [timed(30), timed(-10), removed, timed(10), timed(2_100), timed(Number.POSITIVE_INFINITY)])
    wheel.add(one);
  wheel.remove(removed);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(came).toEqual([-10, 10, 30]);
  await new Promise((resolve) => setTimeout(resolve, 2_100));
  expect(came).toEqual([-10, 10, 30, 2_100]);
});
