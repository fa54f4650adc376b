import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { loadScenario, type ScenarioError } from "./index.ts";

const good = `import { defineEntity, defineFeatureView, defineModel, defineScenario, defineScorePipeline, defineSource, defineTrainingSet, defineTransform } from "@weft/scenario";
import { limit } from "./limit.ts";

const card = defineEntity({ name: "card", key: "int64" });
const events = defineSource({ name: "events", file: "events.csv", eventTime: "time", fields: { card: "int64", amount: "float64", fraud: "bool" } });
const activity = defineFeatureView({ name: "activity", entities: [{ entity: card, field: "card" }], source: events, aggregates: { spent: { function: "sum", field: "amount", windows: ["1h", "24h"] } } });
const ratio = defineTransform({ name: "ratio", inputs: { spent: "activity:spent_1h", amount: "request:amount" }, outputs: { value: "float64" }, compute: ({ spent, amount }: { spent: number | null; amount: number | null }) => ({ value: spent === null || amount === null ? null : amount / (spent + limit) }) });
const labelled = defineTrainingSet({ name: "labelled", source: events, entities: { card: "card" }, label: "fraud", testShare: 0.2 });
const model = defineModel({ name: "tree", features: ["activity:spent_24h", "ratio:value", "request:amount"], trainingSet: labelled, trainer: { name: "lightgbm_classifier", parameters: {} }, output: "probability" });
const pipeline = defineScorePipeline({ name: "main", deadlineMs: 50, entities: [card], stages: { features: { budgetMs: 20 }, scoring: { budgetMs: 20, model } }, decisions: [{ decision: "decline", atLeast: 0.5 }, { decision: "approve", atLeast: 0 }], fallback: { name: "rules", rules: () => ({ score: 0, reasons: [] }) } });
export default defineScenario({ name: "toy", description: "A toy.", request: { amount: "float64" }, views: [activity], transforms: [ratio], models: [model], pipeline, examples: [{ entities: { card: 1n }, request: { amount: 3 }, eventTimeUs: 1n }] });
`;

describe("loadScenario", () => {
  let root = "";
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), "weft-scenario-"));
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  const write = (name: string, scenario: string, limit = "export const limit: number = 1;\n") => {
    const folder = join(root, name);
    mkdirSync(folder);
    writeFileSync(join(folder, "scenario.ts"), scenario);
    writeFileSync(join(folder, "limit.ts"), limit);
    return folder;
  };
  const faultsOf = (folder: string) => {
    try {
      loadScenario(folder);
    } catch (error) {
      return (error as ScenarioError).faults.map(
        ({ file, line, message }) => `${file.slice(folder.length + 1)}:${line}: ${message}`,
      );
    }
    return [];
  };

  test("loads TypeScript from any folder, without a build or a package", () => {
    const scenario = loadScenario(write("good", good));
    expect(scenario.name).toBe("toy");
    expect(scenario.transforms[0]?.compute({ spent: 1, amount: 4 } as never)).toEqual({ value: 2 });
    expect(scenario.models[0]?.at.line).toBe(9);
  });

  test("reports every fault at once, each with its file and line", () => {
    const broken = good
      .replace('windows: ["1h", "24h"]', 'windows: ["1 hour"]')
      .replace('features: ["activity:spent_24h"', 'features: ["activity:spent_2h"')
      .replace('label: "fraud"', 'label: "truth"')
      .replace("budgetMs: 20, model", "budgetMs: 200, model");
    const faults = faultsOf(write("broken", broken));
    expect(faults).toEqual(
      expect.arrayContaining([
        'scenario.ts:6: view "activity": aggregate "spent": window "1 hour" is not a duration of at least 1s',
        'scenario.ts:7: transform "ratio" reads "activity:spent_1h", which is not defined',
        'scenario.ts:8: training set "labelled": source "events" has no label field "truth"',
        'scenario.ts:9: model "tree" reads "activity:spent_2h", which is not defined',
        'scenario.ts:10: stage "scoring": budgetMs must be above 0 and at most the pipeline\'s deadlineMs',
      ]),
    );
  });

  test("each fault of an aggregate names its view's file and line", () => {
    const faultOf = (aggregate: string) => {
      const broken = good.replace('function: "sum", field: "amount", windows: ["1h", "24h"]', aggregate);
      return faultsOf(write(`aggregate-${aggregates++}`, broken))[0];
    };
    let aggregates = 0;
    const at = 'scenario.ts:6: view "activity": aggregate "spent"';
    expect(faultOf('function: "median", field: "amount", windows: ["1h"]')).toBe(
      `${at} has the unknown function "median"`,
    );
    expect(faultOf('function: "quantile", field: "amount", windows: ["1h"]')).toBe(
      `${at} needs a quantile from 0 to 1`,
    );
    expect(faultOf('function: "max", field: "amount", quantile: 0.5, windows: ["1h"]')).toBe(
      `${at}: max takes no quantile`,
    );
    expect(faultOf('function: "top", field: "amount", windows: ["1h"]')).toBe(
      `${at}: top needs an int64 or string field`,
    );
    expect(faultOf('function: "count", kind: "hopping", windows: ["1h"]')).toBe(
      `${at}: kind "hopping" must be sliding, tumbling or session`,
    );
    expect(faultOf('function: "count", kind: "tumbling", windows: ["1h"], slide: "5m"')).toBe(
      `${at}: a tumbling window has no slide`,
    );
    expect(faultOf('function: "count", kind: "session", windows: ["1h"], longest: "30m"')).toBe(
      `${at}: longest "30m" is shorter than the gap "1h"`,
    );
    expect(faultOf('function: "count", kind: "session", windows: ["5s"], longest: "24h"')).toBe(
      `${at}: longest "24h" is more than 2048 slides of 5 s`,
    );
    expect(faultOf('function: "count", windows: ["90d"], slide: "1s"')).toBe(
      `${at}: window "90d" is more than 2048 slides of 1 s`,
    );
    expect(faultOf('function: "count", windows: ["1h"], slide: "soon"')).toBe(`${at}: slide "soon" is not a duration`);
  });

  test("what cannot be meant is a fault: defaults, conditions, keys and names", () => {
    const at = 'scenario.ts:6: view "activity"';
    let number = 0;
    const faultOf = (before: string, after: string) => {
      expect(good).toContain(before);
      return faultsOf(write(`meant-${number++}`, good.replace(before, after)));
    };
    const sum = 'function: "sum", field: "amount", windows: ["1h", "24h"]';
    expect(faultOf(sum, `${sum}, default: NaN`)).toEqual([
      `${at}: aggregate "spent" is float64, and NaN cannot stand in for it`,
    ]);
    expect(faultOf(sum, 'function: "count", windows: ["1h", "24h"], default: 0.5')).toEqual([
      `${at}: aggregate "spent" is int64, and 0.5 cannot stand in for it`,
    ]);
    expect(faultOf(sum, `${sum}, where: { field: "fraud", equals: "yes" }`)).toEqual([
      `${at}: aggregate "spent" is filtered by the text "yes", which a field of bool never equals`,
    ]);
    expect(faultOf(sum, `${sum}, where: { field: "card", equals: 3 }`)).toEqual([]);
    expect(faultOf("source: events, aggregates", 'source: events, ttl: "1d", aggregates')).toEqual([
      `${at}: a view of windows has no ttl, as its windows bound the age`,
    ]);
    expect(faultOf("source: events, aggregates", 'source: events, ladder: ["default", "stale"], aggregates')).toEqual([
      `${at}: a ladder of two steps is stale, then default`,
    ]);
    const fields = 'aggregates: { spent: { function: "sum", field: "amount", windows: ["1h", "24h"] } }';
    const newest = (of: string) => `features: { spent_1h: ${of}, spent_24h: { type: "float64", field: "amount" } }`;
    expect(faultOf(fields, newest('{ type: "float64", field: "amount", default: 1n }'))).toEqual([
      `${at}: feature "spent_1h" is float64, and 1n cannot stand in for it`,
    ]);
    expect(faultOf(fields, `ttl: "-1d" as never, ${newest('{ type: "float64", field: "amount" }')}`)).toEqual([
      `${at}: ttl "-1d" is not a duration such as "30d" or "0s"`,
    ]);
    expect(
      faultOf(
        'entities: [{ entity: card, field: "card" }]',
        'entities: [{ entity: card, field: "card" }, { entity: card, field: "card" }]',
      ),
    ).toEqual([`${at} names an entity twice`]);
    expect(faultOf('outputs: { value: "float64" }', 'outputs: { value: "bytes" as never }')).toContain(
      'scenario.ts:7: transform "ratio": output "value" has the unknown type "bytes"',
    );
    expect(faultOf('label: "fraud"', 'label: "fraud", labelTime: "reported"')).toEqual([
      'scenario.ts:8: training set "labelled": source "events" has no int64 field "reported" with the label\'s time',
    ]);
    expect(faultOf('entities: { card: "card" }', "entities: {}")).toEqual([
      'scenario.ts:8: training set "labelled" names no field for entity "card", by which model "tree" reads view "activity"',
    ]);
    expect(faultOf('entities: { card: "card" }', 'entities: { card: "amount" }')).toEqual([
      'scenario.ts:8: training set "labelled": field "amount" is float64 but entity "card" has int64 keys',
    ]);
    expect(
      faultOf(
        'source: events, entities: { card: "card" }',
        'source: { ...events, fields: { ...events.fields, more: "bool" } }, entities: { card: "card" }',
      ),
    ).toEqual(['scenario.ts:5: two definitions of source "events"']);
  });

  test("feature services: a model reads one, and each fault has its file and line", () => {
    const service =
      'const inputs = defineFeatureService({ name: "inputs", features: ["activity:spent_24h", "ratio:value", "request:amount"], owner: "risk", tags: { tier: "1" } });\n';
    const served = good
      .replace("import { define", "import { defineFeatureService, define")
      .replace("const labelled", `${service}const labelled`)
      .replace(
        'features: ["activity:spent_24h", "ratio:value", "request:amount"], trainingSet',
        "features: inputs, trainingSet",
      )
      .replace("models: [model],", "models: [model], featureServices: [inputs],");
    const scenario = loadScenario(write("service", served));
    expect(scenario.models[0]?.features).toEqual(["activity:spent_24h", "ratio:value", "request:amount"]);
    expect(scenario.featureServices?.[0]).toMatchObject({ name: "inputs", owner: "risk", tags: { tier: "1" } });

    const broken = served.replace(
      'name: "inputs", features: ["activity:spent_24h"',
      'name: "tree", features: ["activity:spent_2h"',
    );
    expect(faultsOf(write("service-broken", broken))).toEqual(
      expect.arrayContaining([
        'scenario.ts:8: two definitions of feature-service "tree"',
        'scenario.ts:8: feature service "tree" reads "activity:spent_2h", which is not defined',
        'scenario.ts:10: model "tree" reads "activity:spent_2h", which is not defined',
      ]),
    );
    const untidy = served
      .replace('tags: { tier: "1" }', "tags: { tier: 1 as unknown as string }")
      .replace('features: ["activity', 'features: ["request:amount", "activity');
    expect(faultsOf(write("service-untidy", untidy))).toEqual(
      expect.arrayContaining([
        'scenario.ts:8: feature service "inputs" lists a feature twice',
        'scenario.ts:8: feature-service "inputs": tag "tier" must be a text of at most 128 characters',
      ]),
    );
  });

  test("an example that could not be asked is a fault", () => {
    const wrong = good.replace(
      "entities: { card: 1n }, request: { amount: 3 }",
      "entities: { card: 1 }, request: { amont: 3 }",
    );
    expect(faultsOf(write("example", wrong))).toEqual([
      'scenario.ts:11: example 1: the key of entity "card" is int64, in code a bigint, not a number',
      'scenario.ts:11: example 1 has no request field "amount"',
      'scenario.ts:11: example 1: the scenario has no request field "amont"',
    ]);
  });

  test("names the place of a syntax error, a throw and a missing import", () => {
    expect(faultsOf(write("syntax", good.replace("const card =", "const card = = ")))[0]).toMatch(/^scenario\.ts:4: /);
    expect(faultsOf(write("throws", good, 'export const limit = 1;\nthrow new Error("no limit");\n'))[0]).toBe(
      "limit.ts:2: no limit",
    );
    expect(faultsOf(write("export", "export const scenario = 1;\n"))[0]).toContain("must export default");
    expect(faultsOf(join(root, "nowhere"))[0]).toContain("no such file");
  });

  test("a transform that reads its own output is a fault", () => {
    const cyclic = good.replace('amount: "request:amount" }, outputs', 'amount: "ratio:value" }, outputs');
    expect(faultsOf(write("cyclic", cyclic))).toEqual(['scenario.ts:7: transform "ratio" reads its own output']);
  });
});
