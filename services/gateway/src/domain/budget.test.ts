import { describe, expect, test } from "@jest/globals";
import { seededRandom } from "@weft/testkit";
import { DeadlineBudget } from "./budget.ts";

describe("deadline budget", () => {
  test("a stage has its own budget while all that are to come fit", () => {
    const budget = new DeadlineBudget([20, 30], 5);
    const endMs = budget.endMs(1_000, 100);
    expect(endMs).toBe(1_095);
    expect(budget.timeoutMs(0, endMs, 1_000)).toBe(20);
    expect(budget.timeoutMs(1, endMs, 1_020)).toBe(30);
  });

  test("a short deadline is shared in proportion, and what a fast stage leaves goes to the later ones", () => {
    const budget = new DeadlineBudget([20, 30], 0);
    const endMs = budget.endMs(0, 25);
    expect(budget.timeoutMs(0, endMs, 0)).toBeCloseTo(10);
    expect(budget.timeoutMs(1, endMs, 10)).toBeCloseTo(15);
    expect(budget.timeoutMs(1, endMs, 1)).toBeCloseTo(24);
  });

  test("at most a fifth of a deadline is kept back, and nothing is left after its end", () => {
    const budget = new DeadlineBudget([20], 5);
    expect(budget.endMs(0, 10)).toBe(8);
    expect(budget.timeoutMs(0, 8, 8)).toBe(0);
    expect(budget.timeoutMs(0, 8, 50)).toBe(0);
  });

  test("stages that use all of their time never pass the end", () => {
    const seed = 7;
    const random = seededRandom(seed);
    for (let round = 0; round < 1_000; round++) {
      const budgets = Array.from({ length: 1 + Math.floor(random() * 5) }, () => Math.floor(random() * 100));
      const budget = new DeadlineBudget(budgets, random() * 10);
      const totalMs = random() * 200;
      const endMs = budget.endMs(0, totalMs);
      let nowMs = 0;
      for (const stage of budgets.keys()) nowMs += budget.timeoutMs(stage, endMs, nowMs);
      if (nowMs > endMs + 1e-6 || endMs > totalMs) throw new Error(`seed ${seed}, round ${round}: ${nowMs} > ${endMs}`);
    }
  });
});
