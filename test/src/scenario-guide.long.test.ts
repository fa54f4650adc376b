import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "@jest/globals";
import { root, runWeft } from "./weft.ts";

const guide = readFileSync(join(root, "docs", "scenarios.md"), "utf8");
const directory = mkdtempSync(join(tmpdir(), "weft-guide-"));
const folder = join(directory, "deliveries");

describe("the guide to scenarios", () => {
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  test("its files train and serve, from a folder outside the checkout", async () => {
    mkdirSync(folder);
    const files = [...guide.matchAll(/^```ts file=(\S+)\n([\s\S]*?)^```$/gm)];
    expect(files.map(([, name]) => name)).toEqual(["data.ts", "scenario.ts"]);
    for (const [, name = "", text = ""] of files) writeFileSync(join(folder, name), text);
    const state = ["--data-directory", join(directory, "state")];
    const trained = await runWeft(["train", folder, ...state], 580_000);
    expect({ code: trained.code, stderr: trained.code === 0 ? "" : trained.stderr }).toEqual({ code: 0, stderr: "" });
    expect(trained.stdout).toMatch(/lateness version 1: auc 0\.\d+/);
    const served = await runWeft(["up", "--once", "--json", "--free-ports", folder, ...state], 120_000);
    expect({ code: served.code, stderr: served.code === 0 ? "" : served.stderr }).toEqual({ code: 0, stderr: "" });
    const { results } = JSON.parse(served.stdout) as { results: { score: { decision: string; degraded?: boolean } }[] };
    expect(results.map(({ score }) => score.decision).sort()).toEqual(["go", "warn"]);
    expect(results.some(({ score }) => score.degraded === true)).toBe(false);
  });
});
