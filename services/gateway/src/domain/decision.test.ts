import { expect, test } from "@jest/globals";
import { DecisionTable } from "./decision.ts";

test("a score takes the first threshold that it reaches, whatever the order they are declared in", () => {
  const table = new DecisionTable([
    { decision: "approve", atLeast: 0 },
    { decision: "decline", atLeast: 0.9 },
    { decision: "review", atLeast: 0.5 },
  ]);
  expect([0, 0.4999, 0.5, 0.8999, 0.9, 1, -1].map((score) => table.decide(score))).toEqual([
    "approve",
    "approve",
    "review",
    "review",
    "decline",
    "decline",
    "approve",
  ]);
});
