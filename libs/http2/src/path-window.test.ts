import { expect, test } from "@jest/globals";
import { PathWindow } from "./path-window.ts";

test("a window doubles, up to its bound, while half of it is read within a round trip", () => {
  const window = new PathWindow(1_000, 3_000);
  expect(window.consumed(249)).toBe(false);
  expect(window.consumed(1)).toBe(true);
  expect(window.consumed(400)).toBe(false);
  expect(window.consumed(100)).toBe(false);
  expect(window.answered()).toBe(true);
  expect(window.bytes).toBe(2_000);
  expect(window.consumed(500)).toBe(true);
  expect(window.consumed(1_000)).toBe(false);
  expect(window.answered()).toBe(true);
  expect(window.bytes).toBe(3_000);
  expect(window.consumed(10_000)).toBe(false);
});

test("a window stays where its reader or the path takes less, and an answer that was not asked for changes nothing", () => {
  const window = new PathWindow(1_000, 3_000);
  expect(window.answered()).toBe(false);
  expect(window.consumed(5_000)).toBe(true);
  expect(window.consumed(499)).toBe(false);
  expect(window.answered()).toBe(false);
  expect(window.answered()).toBe(false);
  expect(window.bytes).toBe(1_000);
  // It measures anew.
  expect(window.consumed(250)).toBe(true);
});
