import { bundleOf, type ScenarioBundle } from "./scenario-bundle.ts";

/** The files of a small scenario, for tests. */
export function scenarioFiles(name: string, threshold = 0.5): ReadonlyMap<string, string> {
  return new Map([
    [
      "scenario.ts",
      `import { defineFeatureView, defineModel, defineScenario, defineScorePipeline, defineSource, defineTrainingSet } from "@weft/scenario";
import { card } from "./parts/entities.ts";
import { threshold } from "./settings.ts";

const payments = defineSource({ name: "payments", file: "payments.csv", eventTime: "event_time", fields: { card_id: "string", amount: "float64", fraud: "float32" } });
const view = defineFeatureView({ name: "card_stats", entities: [{ entity: card, field: "card_id" }], source: payments, features: { amount: { type: "float64" } } });
const training = defineTrainingSet({ name: "labelled", source: payments, entities: { card: "card_id" }, label: "fraud", testShare: 0.2 });
const model = defineModel({ name: "tree", features: ["card_stats:amount"], trainingSet: training, trainer: { name: "lightgbm", parameters: {} }, output: "probability" });

export default defineScenario({
  name: ${JSON.stringify(name)},
  description: "A small scenario.",
  request: { amount: "float64" },
  views: [view],
  models: [model],
  pipeline: defineScorePipeline({
    name: "score",
    deadlineMs: 100,
    entities: [card],
    stages: { features: { budgetMs: 20 }, scoring: { budgetMs: 20, model } },
    decisions: [{ decision: "review", atLeast: threshold }, { decision: "approve", atLeast: 0 }],
    fallback: { name: "rules", rules: () => ({ score: 0, reasons: [] }) },
  }),
  examples: [{ entities: { card: "c1" }, request: { amount: 1 }, eventTimeUs: 1n }],
});
`,
    ],
    [
      "parts/entities.ts",
      `import { defineEntity } from "@weft/scenario";\nexport const card = defineEntity({ name: "card", key: "string" });\n`,
    ],
    ["settings.ts", `export const threshold: number = ${threshold};\n`],
  ]);
}

/** The bundle of the small scenario. */
export function scenarioBundle(name: string, threshold?: number): ScenarioBundle {
  return bundleOf(scenarioFiles(name, threshold));
}
