import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromJson, type JsonValue, type MessageInitShape } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { feature, gateway } from "@weft/contracts";
import { root, runWeft, startWeft, type Weft } from "./weft.ts";

const state = mkdtempSync(join(tmpdir(), "weft-faults-"));
afterAll(() => rmSync(state, { recursive: true, force: true }));

const fraud = join(root, "examples", "fraud");

/** A copy of the fraud scenario to break. */
function copyOfFraud(name: string): string {
  const folder = join(state, name, "fraud");
  cpSync(fraud, folder, { recursive: true });
  return folder;
}

function scoreBody(weft: Weft): Omit<gateway.ScoreRequest, "$typeName"> {
  const line = weft.output.paste[0]?.curl ?? "";
  const { $typeName: _, ...request } = fromJson(
    gateway.ScoreRequestSchema,
    JSON.parse(/-d '([^']*)'/.exec(line)?.[1] ?? "{}") as JsonValue,
  );
  return request;
}

describe("what a person gets wrong", () => {
  test("a broken scenario: every fault with file and line, exit 1", async () => {
    const folder = copyOfFraud("broken");
    const file = join(folder, "scenario.ts");
    const text = readFileSync(file, "utf8");
    const broken = text.replace(/budgetMs: \d+/, "budgetMs: 99999").replace(/testShare: [\d.]+/, "testShare: 7");
    expect(broken).not.toBe(text);
    writeFileSync(file, broken);
    const { code, stderr } = await runWeft([
      "up",
      folder,
      "--once",
      "--free-ports",
      "--data-directory",
      join(state, "broken-data"),
    ]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/fraud\/[a-z]+\.ts:\d+: .*budgetMs/);
    expect(stderr).toMatch(/fraud\/[a-z]+\.ts:\d+: .*testShare/);
    expect(stderr).not.toContain("    at ");
  });

  test("a corrupt artifact: refused by name before it is pushed", async () => {
    const folder = copyOfFraud("corrupt");
    const [model = ""] = readdirSync(join(folder, "artifacts")).filter((name) =>
      existsSync(join(folder, "artifacts", name, "model.onnx")),
    );
    const path = join(folder, "artifacts", model, "model.onnx");
    const bytes = readFileSync(path);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0xff;
    writeFileSync(path, bytes);
    const { code, stderr } = await runWeft([
      "up",
      folder,
      "--once",
      "--free-ports",
      "--data-directory",
      join(state, "corrupt-data"),
    ]);
    expect(code).toBe(1);
    expect(stderr).toContain("model.onnx is not the file that the manifest names");
  });

  test("a model on inputs that it was not trained on: refused before it is pushed", async () => {
    const folder = copyOfFraud("swapped");
    const file = join(folder, "scenario.ts");
    const text = readFileSync(file, "utf8");
    const swapped = text.replace('"request:amount",\n  "request:online",', '"request:online",\n  "request:amount",');
    expect(swapped).not.toBe(text);
    writeFileSync(file, swapped);
    const args = ["up", folder, "--once", "--free-ports", "--data-directory", join(state, "corrupt-data")];
    const { code, stderr } = await runWeft(args);
    expect(code).toBe(1);
    expect(stderr).toContain('model "fraud_tree" was trained on other inputs');
  });

  test("a taken port: named with the setting that changes it", async () => {
    const taken = createServer();
    const port = await new Promise<number>((resolve) =>
      taken.listen(0, "127.0.0.1", () => resolve((taken.address() as { port: number }).port)),
    );
    const { code, stderr } = await runWeft([
      "up",
      fraud,
      "--once",
      "--free-ports",
      `--gateway.port=${port}`,
      "--data-directory",
      join(state, "port-data"),
    ]);
    taken.close();
    expect(code).toBe(1);
    expect(stderr).toContain(`gateway: port ${port} is taken; set --gateway.port`);
  });

  test("an unknown setting, command or bench", async () => {
    expect(await runWeft(["serve", "ranking", "--ranking.colour=red"])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("--ranking.colour: no such setting"),
    });
    expect((await runWeft(["fly"])).code).toBe(1);
    expect(await runWeft(["bench", "nothing"])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/no bench "nothing"; there are .*hop.*score/),
    });
  });

  test("every command explains itself", async () => {
    for (const command of [
      "up",
      "serve",
      "train",
      "push",
      "release",
      "lineage",
      "recommend",
      "score",
      "bench",
      "doctor",
    ]) {
      const { code, stdout } = await runWeft([command, "--help"]);
      expect({ command, code }).toEqual({ command, code: 0 });
      expect(stdout).toContain(`Usage: weft ${command}`);
    }
    const { stdout } = await runWeft(["doctor", "--json"]);
    expect(JSON.parse(stdout).map(({ name }: { name: string }) => name)).toContain("node");
  });
});

describe("what breaks while serving", () => {
  const directory = join(state, "serving");
  let weft: Weft;
  beforeAll(async () => {
    mkdirSync(directory, { recursive: true });
    weft = await startWeft([fraud], [], directory);
  }, 300_000);
  afterAll(async () => {
    await weft?.stop();
  }, 60_000);

  test("kill -9 while rows are pushed: everything acknowledged is there, once", async () => {
    const request = scoreBody(weft);
    const seconds = request.eventTime?.seconds ?? 0n;
    const card = request.entities.card?.kind.value;
    if (typeof card !== "bigint") throw new Error("the example has no card");
    const paymentsOf = async () => {
      const { columns } = await weft.dial(feature.FeatureService).getOnlineFeatures({
        scenario: "fraud",
        features: ["card_payments:count_1h"],
        entities: [{ entity: "card", integers: [card] }],
        asOf: { seconds: seconds + 60n },
      });
      const values = columns[0]?.values;
      return values?.case === "int64s" ? Number(values.value.values[0]) : Number.NaN;
    };
    const before = await paymentsOf();
    const features = weft.dial(feature.FeatureService);
    let acknowledged = 0;
    const pushing = (async () => {
      for (let index = 0; index < 100_000; index++) {
        const columns = paymentColumns(card, seconds * 1_000_000n + BigInt(index));
        await features.push({ scenario: "fraud", source: "transactions", requestId: `push-${index}`, columns });
        acknowledged++;
      }
    })().catch(() => {});
    while (acknowledged < 200) await new Promise((resolve) => setTimeout(resolve, 5));
    weft.process.kill("SIGKILL");
    await pushing;
    const survived = acknowledged;
    weft = await startWeft([fraud], [], directory);
    const counted = (await paymentsOf()) - before;
    // One more than acknowledged may be there: its answer was under way.
    expect(counted).toBeGreaterThanOrEqual(survived);
    expect(counted).toBeLessThanOrEqual(survived + 1);
  }, 300_000);
});

/** One payment of a card, as columns of the source. */
function paymentColumns(card: bigint, eventTimeUs: bigint): MessageInitShape<typeof feature.ColumnSchema>[] {
  const integers = (name: string, value: bigint): MessageInitShape<typeof feature.ColumnSchema> => ({
    name,
    values: { case: "int64s", value: { values: [value] } },
  });
  return [
    integers("event_time_us", eventTimeUs),
    integers("transaction_id", eventTimeUs),
    integers("card_id", card),
    integers("customer_id", 3_000_034n),
    integers("terminal_id", 5_000_543n),
    { name: "device_id", values: { case: "strings", value: { values: ["c-1"] } } },
    { name: "amount", values: { case: "float64s", value: { values: [10] } } },
    { name: "online", values: { case: "bools", value: { values: [false] } } },
  ];
}

/** The command line of a service of a mesh, and its process id. */
function serviceProcess(weft: Weft, service: string): { readonly pid: number; readonly args: readonly string[] } {
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const parent = /\nPPid:\t(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
      const args = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1);
      if (Number(parent) === weft.process.pid && args.includes("serve") && args.includes(service))
        return { pid: Number(pid), args };
    } catch {
      // It ended while it was looked at.
    }
  }
  throw new Error(`no process serves ${service}`);
}

describe("a mesh that loses a service", () => {
  let weft: Weft;
  beforeAll(async () => {
    weft = await startWeft([fraud], ["--mesh"], join(state, "mesh"));
  }, 300_000);
  afterAll(async () => {
    await weft?.stop();
  }, 60_000);

  test("answers by its rules while ranking is gone, says so, and recovers when it is back", async () => {
    const request = scoreBody(weft);
    const client = weft.dial(gateway.GatewayService);
    expect((await client.score(request)).degraded).toBe(false);
    const { pid, args } = serviceProcess(weft, "ranking");
    process.kill(pid, "SIGKILL");
    const degraded: gateway.ScoreResponse[] = [];
    for (let call = 0; call < 50; call++) {
      const start = performance.now();
      degraded.push(await client.score(request, { timeoutMs: 500 }));
      expect(performance.now() - start).toBeLessThan(1_000);
    }
    expect(degraded.every((response) => response.degraded && response.decision !== "")).toBe(true);
    expect(degraded.at(-1)?.degradations[0]).toMatchObject({ stage: "scoring", fallback: expect.stringMatching(/.+/) });
    const [command = "", ...rest] = args;
    const again = spawn(command, rest, { stdio: "ignore" });
    let response = degraded.at(-1);
    for (let attempt = 0; attempt < 300 && response?.degraded === true; attempt++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      response = await client.score(request, { timeoutMs: 500 });
    }
    expect(response?.degraded).toBe(false);
    const ended = new Promise((resolve) => again.once("exit", resolve));
    again.kill("SIGTERM");
    await ended;
  }, 120_000);
});
