/** Features a row of `bench features`. */
export const featureCount = 50;
/** Users that there are; a request asks for some of them at random. */
export const userCount = 10_000;
/** Names of the features. */
export const featureNames: readonly string[] = Array.from({ length: featureCount }, (_, index) => `f${index}`);
/** Name of the scenario, its model and its view. */
export const names = { scenario: "bench", model: "model", view: "users" } as const;

/** Code of a scenario with one view of float32 fields, and a model that reads all of them. */
export function scenarioText(): string {
  const fields = featureNames.map((name) => `${name}: "float32"`).join(", ");
  const features = featureNames.map((name) => `${name}: { type: "float32" }`).join(", ");
  return `import { defineEntity, defineFeatureView, defineModel, defineScenario, defineScorePipeline, defineSource, defineTrainingSet } from "@weft/scenario";
const user = defineEntity({ name: "user", key: "int64" });
const rows = defineSource({ name: "rows", file: "rows.csv", eventTime: "event_time", fields: { user: "int64", ${fields} } });
const users = defineFeatureView({ name: "${names.view}", entities: [{ entity: user, field: "user" }], source: rows, features: { ${features} } });
const labelled = defineTrainingSet({ name: "labelled", source: rows, entities: { user: "user" }, label: "f0", testShare: 0.2 });
const model = defineModel({ name: "${names.model}", features: ${JSON.stringify(featureNames.map((name) => `${names.view}:${name}`))}, trainingSet: labelled, trainer: { name: "lightgbm", parameters: {} }, output: "probability" });
export default defineScenario({
  name: "${names.scenario}",
  description: "Reads of one view.",
  request: {},
  views: [users],
  models: [model],
  pipeline: defineScorePipeline({
    name: "score",
    deadlineMs: 100,
    entities: [user],
    stages: { features: { budgetMs: 20 }, scoring: { budgetMs: 20, model } },
    decisions: [{ decision: "review", atLeast: 0.5 }, { decision: "approve", atLeast: 0 }],
    fallback: { name: "rules", rules: () => ({ score: 0, reasons: [] }) },
  }),
  examples: [{ entities: { user: 1n }, request: {}, eventTimeUs: 1n }],
});
`;
}
