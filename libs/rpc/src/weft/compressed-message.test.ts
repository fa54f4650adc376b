import { gzipSync } from "node:zlib";
import { expect, test } from "@jest/globals";
import type { WeftError } from "@weft/errors";
import { CompressedMessage } from "./compressed-message.ts";

const wanted = () => true;

test("a message is decompressed when it is read, as often as it is", async () => {
  const message = new CompressedMessage(gzipSync("content"), 7);
  for (let times = 0; times < 2; times++) expect(Buffer.from(await message.read(wanted)).toString()).toBe("content");
});

test("more than the limit, and what is no gzip, fail by their reasons", async () => {
  const reasonOf = (bytes: Uint8Array) =>
    new CompressedMessage(bytes, 6).read(wanted).catch((error: WeftError) => error.reason);
  expect(await reasonOf(gzipSync("content"))).toBe("MESSAGE_TOO_LARGE");
  expect(await reasonOf(gzipSync(Buffer.alloc(100_000_000)))).toBe("MESSAGE_TOO_LARGE");
  expect(await reasonOf(Buffer.from("content"))).toBe("FRAMING_MALFORMED");
  expect(await reasonOf(gzipSync("four").subarray(0, 20))).toBe("FRAMING_MALFORMED");
});

test("four are decompressed at once, a thousand wait, more fail; whom nobody waits for any more costs nothing", async () => {
  const message = new CompressedMessage(gzipSync(Buffer.alloc(1_000_000)), 1_000_000);
  let asked = 0;
  const results = await Promise.all(
    Array.from({ length: 1_010 }, (_, index) =>
      message
        .read(() => {
          asked++;
          return index < 4;
        })
        .then(
          (bytes) => bytes.length,
          (error: WeftError) => error.reason,
        ),
    ),
  );
  expect(results.slice(0, 4)).toEqual(new Array(4).fill(1_000_000));
  expect(results.slice(4, 1_004)).toEqual(new Array(1_000).fill(0));
  expect(results.slice(1_004)).toEqual(new Array(6).fill("DECOMPRESSIONS_WAITING"));
  expect(asked).toBe(1_004);
  // Turns are handed back.
  expect((await message.read(wanted)).length).toBe(1_000_000);
});
