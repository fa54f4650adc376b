import { expect, test } from "@jest/globals";
import { RequestIds } from "./request-id.ts";

test("request ids are UUIDs of version 7 that differ and sort by their order", () => {
  const ids = new RequestIds(1_700_000_000_000, Uint8Array.of(0x12, 0x34, 0x56, 0x78));
  const made = Array.from({ length: 300 }, () => ids.next());
  for (const id of made) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(new Set(made).size).toBe(made.length);
  expect([...made].sort()).toEqual(made);
  expect(Number.parseInt((made[0] ?? "").replaceAll("-", "").slice(0, 12), 16)).toBe(1_700_000_000_000);
});
