import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { commandsOf, DocumentedCommands } from "./documented-commands.ts";
import { root } from "./weft.ts";

const page = readFileSync(join(root, "docs", "features.md"), "utf8");
const commands = commandsOf(page);
const directory = mkdtempSync(join(tmpdir(), "weft-features-guide-"));

/** What each command must print, in the order of the page. */
const answers: readonly RegExp[] = [
  /lateness version 1: auc 0\.\d+/,
  /Serving until Ctrl-C/,
  /^ {2}warn .*score 0\.\d+/m,
  /"FEATURE_STATUS_PRESENT",\s+"FEATURE_STATUS_PRESENT",\s+"FEATURE_STATUS_DEFAULTED"/,
  /"acceptedCount": 1/,
  /score 0\.\d+/,
  /"done": true[\s\S]*OUTCOME_FULL/,
  /STATE_SUCCEEDED/,
  /"changed": true/,
  /driver_rating +unchanged/,
  /succeeded +incremental/,
  /values: all agree/,
  /"disagreements":0/,
  /"driver_rides__rides_24h"/,
  /"rating"/,
];

describe("the guide to features", () => {
  let documented: DocumentedCommands;
  beforeAll(async () => {
    documented = await DocumentedCommands.open([["../rides", join(directory, "rides")]]);
    mkdirSync(join(directory, "rides"));
    const files = [...page.matchAll(/^```ts file=(\S+)\n([\s\S]*?)^```$/gm)];
    expect(files.map(([, name]) => name)).toEqual(["data.ts", "scenario.ts"]);
    for (const [, name = "", text = ""] of files) writeFileSync(join(directory, "rides", name), text);
  }, 300_000);
  afterAll(async () => {
    await documented.endServing();
    rmSync(directory, { recursive: true, force: true });
  }, 60_000);

  test("says what each of its commands must print", () => expect(answers).toHaveLength(commands.length));

  for (const [index, line] of commands.entries())
    test(`runs: ${line}`, async () => {
      const wanted = answers[index] ?? /^$/;
      if (line.startsWith("npx weft up ")) {
        expect(await documented.serve(line, /Serving until Ctrl-C/)).toMatch(wanted);
        return;
      }
      const { code, output } = await documented.run(line, 580_000);
      expect({ line, code, output }).toEqual({ line, code: 0, output: expect.stringMatching(wanted) });
    });
});
