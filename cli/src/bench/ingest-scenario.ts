/** Names of the scenario of `bench ingest`. */
export const names = { scenario: "bench", source: "payments", view: "activity", topic: "payments" } as const;
/** Events that each card has before anything is measured. */
export const historyEvents = 4;
/** Bytes of what a view of these windows must know of an event: its time and its amount. */
export const rawEventBytes = 16;

/** Code of a scenario with one view: count, sum and max over five windows from a minute to a day, by card. */
export function scenarioText(): string {
  return `import { defineEntity, defineFeatureView, defineModel, defineScenario, defineScorePipeline, defineSource, defineTrainingSet } from "@weft/scenario";
const card = defineEntity({ name: "card", key: "int64" });
const payments = defineSource({ name: "${names.source}", file: "payments.csv", topic: "${names.topic}", eventTime: "event_time", fields: { card: "int64", amount: "float64" } });
const windows = ["1m", "5m", "1h", "6h", "24h"];
const activity = defineFeatureView({
  name: "${names.view}",
  entities: [{ entity: card, field: "card" }],
  source: payments,
  aggregates: {
    n: { function: "count", windows },
    total: { function: "sum", field: "amount", windows },
    most: { function: "max", field: "amount", windows },
  },
});
const labelled = defineTrainingSet({ name: "labelled", source: payments, entities: { card: "card" }, label: "amount", testShare: 0.2 });
const model = defineModel({ name: "model", features: ["${names.view}:n_1h"], trainingSet: labelled, trainer: { name: "lightgbm", parameters: {} }, output: "probability" });
export default defineScenario({
  name: "${names.scenario}",
  description: "Windows over payments.",
  request: {},
  views: [activity],
  models: [model],
  pipeline: defineScorePipeline({
    name: "score",
    deadlineMs: 100,
    entities: [card],
    stages: { features: { budgetMs: 20 }, scoring: { budgetMs: 20, model } },
    decisions: [{ decision: "review", atLeast: 0.5 }, { decision: "approve", atLeast: 0 }],
    fallback: { name: "rules", rules: () => ({ score: 0, reasons: [] }) },
  }),
  examples: [{ entities: { card: 1n }, request: {}, eventTimeUs: 1n }],
});
`;
}
