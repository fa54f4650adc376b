import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { removeState, runWeft, startWeft, type Weft } from "./weft.ts";

let weft: Weft;
beforeAll(async () => {
  weft = await startWeft(["examples/fraud"]);
}, 400_000);
afterAll(async () => {
  if (weft === undefined) return;
  expect(await weft.stop()).toBe(0);
  removeState(weft);
}, 60_000);

async function materialize(...args: readonly string[]) {
  const { host, port } = weft.output.addresses.feature;
  return runWeft(["materialize", "fraud", ...args, `--peers.feature=${host}:${port}`]);
}

function linesOf(file: string): { readonly header: string; readonly last: string } {
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  return { header: lines[0] ?? "", last: lines.at(-1) ?? "" };
}

/** The lines of a table, as cells. */
const cells = (text: string) => text.split("\n").map((line) => line.split(/ {2,}/));

describe("weft materialize on a running Weft", () => {
  test("loads what is new, shows what readers see, goes back, and says how it went", async () => {
    const unchanged = await materialize("--incremental");
    expect(unchanged.code).toBe(0);
    expect(cells(unchanged.stdout)[0]).toEqual(["view", "how", "rows", "generation"]);
    expect(cells(unchanged.stdout)).toContainEqual(["card_payments", "unchanged", "0", "2"]);

    const file = join(weft.directory, "feature", "offline", "fraud", "transactions.csv");
    const { header, last } = linesOf(file);
    const fields = header.split(",");
    const row = last.split(",");
    const later = fields.map((name, at) =>
      name === "event_time_us" ? String(BigInt(row[at] ?? 0) + 1_000_000n) : (row[at] ?? ""),
    );
    appendFileSync(file, `${later.join(",")}\n`);
    const increment = await materialize("--incremental", "--view", "card_payments");
    expect(cells(increment.stdout)).toContainEqual(["card_payments", "incremental", "1", "3"]);
    expect(increment.stdout).toContain("ok  transactions  amount between 0 and 1000000");

    const bad = later.map((value, at) => (fields[at] === "amount" ? "-1" : value));
    bad[fields.indexOf("event_time_us")] = String(BigInt(later[fields.indexOf("event_time_us")] ?? 0) + 1_000_000n);
    appendFileSync(file, `${bad.join(",")}\n`);
    const refused = await materialize("--incremental", "--view", "card_payments");
    expect(refused.code).not.toBe(0);
    expect(refused.stdout).toContain("REJECTED  transactions  amount between 0 and 1000000");
    expect(refused.stdout).toContain("Nothing was published: readers keep what they have.");
    expect(refused.stderr).toContain('source "transactions": expected amount between 0 and 1000000');

    const back = await materialize("--roll-back", "--view", "card_payments", "--json");
    expect(JSON.parse(back.stdout)).toEqual({ views: [{ view: "card_payments", generation: "2", changed: true }] });
    const status = await materialize("--status");
    expect(
      cells(status.stdout)
        .map(([, state]) => state)
        .slice(0, 4),
    ).toEqual(["state", "failed", "succeeded", "succeeded"]);
  }, 120_000);
});
