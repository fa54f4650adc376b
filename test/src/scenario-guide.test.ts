import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import { loadScenario } from "@weft/scenario";
import { root } from "./weft.ts";

const folder = mkdtempSync(join(tmpdir(), "weft-guide-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("the definitions that the guide to scenarios shows beside its scenario are without fault in it", () => {
  const guide = readFileSync(join(root, "docs", "scenarios.md"), "utf8");
  const [, scenario = ""] = /^```ts file=scenario\.ts\n([\s\S]*?)^```$/m.exec(guide) ?? [];
  const shown = [...guide.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, text = ""]) => text).join("\n");
  const views = [...shown.matchAll(/^const (\w+) = defineFeatureView\(/gm)].map(([, name]) => name);
  const services = [...shown.matchAll(/^const (\w+) = defineFeatureService\(/gm)].map(([, name]) => name);
  const whole = scenario
    .replace("import {", "import {\n  defineFeatureService,")
    .replace("export default", `${shown}\nexport default`)
    .replace("cityHistory],", `cityHistory, ${views.join(", ")}], featureServices: [${services.join(", ")}],`);
  writeFileSync(join(folder, "scenario.ts"), whole);
  const loaded = loadScenario(folder);
  expect(loaded.views).toHaveLength(2 + views.length);
  expect([views.length, loaded.featureServices?.length]).toEqual([3, 1]);
});
