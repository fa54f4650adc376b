import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromJson } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { gateway } from "@weft/contracts";
import { loadScenario } from "@weft/scenario";
import { percentile, printResult } from "./bench/result.ts";
import { checkGates } from "./commands/train.ts";
import { prepareData } from "./deploy/data.ts";
import { inputsDigest } from "./deploy/model-inputs.ts";
import { viewDefinition } from "./deploy/view-definition.ts";
import { settingsFor } from "./peers.ts";
import { pasteLines, scoreRequest } from "./requests.ts";
import { splitSettings } from "./settings-arguments.ts";

const fraud = join(__dirname, "..", "..", "examples", "fraud");

describe("settings among arguments", () => {
  test("are told apart from the command's own options", () => {
    expect(
      splitSettings([
        "up",
        "x",
        "--once",
        "--gateway.port=0",
        "--process.log-level",
        "debug",
        "--config",
        "f.json",
        "--json",
      ]),
    ).toEqual({
      settings: ["--gateway.port=0", "--process.log-level", "debug", "--config", "f.json"],
      rest: ["up", "x", "--once", "--json"],
    });
    expect(splitSettings(["--http2.keepalive-ms", "5", "up"])).toEqual({
      settings: ["--http2.keepalive-ms", "5"],
      rest: ["up"],
    });
  });

  test("are handed on to the processes that have them, with their values", () => {
    const settings = ["--gateway.port=0", "--tls.ca-file", "a.pem", "--ranking.port", "5", "--http2.keepalive-ms=1"];
    expect(settingsFor("gateway", settings)).toEqual([
      "--gateway.port=0",
      "--tls.ca-file",
      "a.pem",
      "--http2.keepalive-ms=1",
    ]);
    expect(settingsFor("feature", settings)).toEqual(["--tls.ca-file", "a.pem", "--http2.keepalive-ms=1"]);
  });
});

describe("gates", () => {
  test("name every metric that does not pass", () => {
    const gates = [
      { metric: "auc", atLeast: 0.9 },
      { metric: "brier", atMost: 0.1 },
      { metric: "none", atLeast: 0 },
    ];
    expect(() => checkGates("tree", gates.slice(0, 2), { auc: 0.95, brier: 0.05 })).not.toThrow();
    expect(() => checkGates("tree", gates, { auc: 0.5, brier: 0.2 })).toThrow(
      "auc 0.5 is below 0.9; brier 0.2 is above 0.1; none was not measured",
    );
  });
});

test("lines to paste name the files that TLS needs", () => {
  const request = create(gateway.ScoreRequestSchema, { scenario: "s" });
  const files = { caFile: "ca.pem", certFile: undefined, keyFile: undefined };
  expect(pasteLines("Score", request, "h:1", "h:2", files)).toEqual({
    grpcurl: `grpcurl -cacert ca.pem -d '{"scenario":"s"}' h:1 weft.gateway.v1.GatewayService/Score`,
    curl: `curl -s --cacert ca.pem -H 'content-type: application/json' -d '{"scenario":"s"}' https://h:2/weft.gateway.v1.GatewayService/Score`,
  });
  const own = { ...files, certFile: "own.crt", keyFile: "own.key" };
  expect(pasteLines("Score", request, "h:1", "h:2", own).grpcurl).toContain(
    "-cacert ca.pem -cert own.crt -key own.key ",
  );
});

describe("requests of examples", () => {
  test("round-trip through the lines to paste", () => {
    const scenario = loadScenario(fraud);
    for (const example of scenario.examples) {
      const request = scoreRequest(scenario, example);
      const { curl, grpcurl } = pasteLines("Score", request, "127.0.0.1:7000", "127.0.0.1:7080");
      const body = /-d '([^']*)'/.exec(curl)?.[1] ?? "";
      expect(grpcurl).toContain(body);
      expect(fromJson(gateway.ScoreRequestSchema, JSON.parse(body))).toEqual(request);
    }
  });
});

describe("the definition of a view", () => {
  test("does not depend on where or in what order it is written", () => {
    const [view] = loadScenario(fraud).views;
    if (view === undefined) throw new Error("no view");
    const { kind, name, at: _at, ...rest } = view;
    const reordered = {
      ...Object.fromEntries(Object.entries(rest).reverse()),
      kind,
      name,
      at: { file: "elsewhere", line: 1 },
    } as typeof view;
    expect(viewDefinition(reordered)).toBe(viewDefinition(view));
    expect(viewDefinition({ ...view, ttl: "3d" })).not.toBe(viewDefinition(view));
  });
});

describe("the inputs of a model", () => {
  const scenario = loadScenario(fraud);
  const [model] = scenario.models;
  if (model === undefined) throw new Error("no model");

  test("are what its lineage names, for every committed model", () => {
    for (const name of ["fraud", "recommender"]) {
      const folder = join(fraud, "..", name);
      const own = loadScenario(folder);
      for (const each of own.models) {
        const lineage = JSON.parse(readFileSync(join(folder, "artifacts", each.name, "lineage.json"), "utf8"));
        expect({ model: each.name, digest: inputsDigest(own, each) }).toEqual({
          model: each.name,
          digest: lineage.inputs_digest,
        });
      }
    }
  });

  test("change with the order of features, a view or a transform, and with nothing else", () => {
    const digest = inputsDigest(scenario, model);
    const [first = "", second = "", ...rest] = model.features;
    expect(inputsDigest(scenario, { ...model, features: [second, first, ...rest] })).not.toBe(digest);
    const slower = { ...scenario, views: scenario.views.map((view) => ({ ...view, ttl: "77d" as const })) };
    expect(inputsDigest(slower, model)).not.toBe(digest);
    const other = { ...scenario, transforms: scenario.transforms.map((each) => ({ ...each, compute: () => ({}) })) };
    expect(inputsDigest(other, model)).not.toBe(digest);
    expect(inputsDigest({ ...scenario, description: "other" }, { ...model, gates: [] })).toBe(digest);
  });
});

describe("prepareData", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "weft-data-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const script = (body: string) =>
    writeFileSync(
      join(folder, "data.ts"),
      `import { writeFileSync } from "node:fs";\nexport default async ({ directory, parameters }: { directory: string; parameters: Record<string, string> }) => {\n${body}\n};\n`,
    );
  const prepare = (parameters: Record<string, string>) =>
    prepareData({ folder, scenario: "toy", offlineDirectory: join(folder, "offline"), parameters });

  test("runs once, and again when a parameter changes; the folder appears whole or not at all", async () => {
    script(
      'if (parameters.fail === "yes") throw new Error("midway");\nwriteFileSync(directory + "/a.csv", ["n", parameters.n, Math.random(), ""].join("\\n"));',
    );
    const target = await prepare({ n: "1" });
    const first = readFileSync(join(target, "a.csv"), "utf8");
    await prepare({ n: "1" });
    expect(readFileSync(join(target, "a.csv"), "utf8")).toBe(first);
    await expect(prepare({ n: "2", fail: "yes" })).rejects.toThrow("midway");
    expect(readFileSync(join(target, "a.csv"), "utf8")).toBe(first);
    await prepare({ n: "2" });
    expect(readFileSync(join(target, "a.csv"), "utf8")).toMatch(/^n\n2\n/);
  });
});

describe("bench results", () => {
  test("percentiles are of the nearest rank", () => {
    const values = Float64Array.from({ length: 1_000 }, (_, index) => index + 1);
    expect([percentile(values, 0.5), percentile(values, 0.99), percentile(values, 0.999)]).toEqual([500, 990, 999]);
  });

  test("a failing bar sets exit status 1", () => {
    const before = process.exitCode;
    const result = {
      bench: "x",
      commit: "c",
      machine: "m",
      offeredPerSecond: 1,
      acceptedPerSecond: 1,
      shedPerSecond: 0,
      errors: 0,
      latencyMs: { p50: 1, p99: 1, p999: 1 },
      cpuCores: 1,
      rows: [],
    };
    const write = process.stdout.write;
    process.stdout.write = () => true;
    printResult({ ...result, bars: [{ name: "b", value: 1, bar: ">= 2", pass: false }] }, true);
    process.stdout.write = write;
    const after = process.exitCode;
    process.exitCode = before;
    expect(after).toBe(1);
  });
});
