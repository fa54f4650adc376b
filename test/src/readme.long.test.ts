import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { commandsOf, DocumentedCommands } from "./documented-commands.ts";
import { root } from "./weft.ts";

const commands = commandsOf(readFileSync(join(root, "README.md"), "utf8"));

/** Commands that this very run is inside of, or that need hours or a quiet machine: checked for existence instead. */
const notRun = new Map<RegExp, string>([
  [/^npm (test|run test:all)$/, "this suite is part of it"],
  [/^npx weft bench /, "measures; needs a quiet machine"],
  [/^npx weft train /, "trains for minutes"],
  [/^git clone /, "the checkout is here"],
]);

describe("the README", () => {
  let documented: DocumentedCommands;
  beforeAll(async () => {
    documented = await DocumentedCommands.open();
  });
  afterAll(() => documented.endServing(), 60_000);

  test("has commands", () => expect(commands.length).toBeGreaterThan(5));

  for (const line of commands) {
    const reason = [...notRun].find(([pattern]) => pattern.test(line))?.[1];
    if (reason !== undefined) continue;
    test(`runs: ${line}`, async () => {
      if (line === "npm start") {
        const output = await documented.serve(line, /Serving until Ctrl-C/);
        expect(output).toContain("recommender: 5 recommendations");
        expect(output).toContain("fraud (simulated data): decisions");
        return;
      }
      if (line === "npm start -- --once") await documented.endServing();
      const { code, output } = await documented.run(line, 580_000);
      expect({ line, code, output: code === 0 ? "" : output }).toEqual({ line, code: 0, output: "" });
      expect(output.length).toBeGreaterThan(0);
    });
  }
});
