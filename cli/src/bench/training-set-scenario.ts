/** Rows of the spine of `bench training-set`. */
export const labelRows = 1_000_000;
/** Views that are joined, and features that each gives. */
export const viewCount = 5;
export const featuresPerView = 10;
/** Names of the scenario and of what is built. */
export const trainingSetNames = { scenario: "bench", trainingSet: "labelled" } as const;

const accounts = 100_000;
const shops = 5_000;
const paymentRows = 1_000_000;
const startUs = 1_735_689_600_000_000n;
const spanSeconds = 90 * 86_400;
const profileFields = Array.from({ length: featuresPerView }, (_, index) => `f${index}`);
const functions = ["count", "sum", "mean", "min", "max"] as const;
const windows = ["1h", "1d"] as const;

/** Code of a scenario with three window views and two field views, ten features each, and a model that reads them all. */
export function trainingSetScenario(): string {
  const aggregates = functions
    .map((name) => {
      const field = name === "count" ? "" : `field: "amount", `;
      return `amount_${name}: { function: "${name}", ${field}windows: ${JSON.stringify(windows)} }`;
    })
    .join(", ");
  const windowed = functions.flatMap((name) => windows.map((window) => `amount_${name}_${window}`));
  const fieldTypes = profileFields.map((name) => `${name}: "float64"`).join(", ");
  const fieldFeatures = profileFields.map((name) => `${name}: { type: "float64" }`).join(", ");
  const features = [
    ...["account_payments", "shop_payments", "pair_payments"].flatMap((view) =>
      windowed.map((name) => `${view}:${name}`),
    ),
    ...["account_profile", "shop_profile"].flatMap((view) => profileFields.map((name) => `${view}:${name}`)),
  ];
  return `import { defineEntity, defineFeatureView, defineModel, defineScenario, defineScorePipeline, defineSource, defineTrainingSet } from "@weft/scenario";
const account = defineEntity({ name: "account", key: "int64" });
const shop = defineEntity({ name: "shop", key: "int64" });
const byAccount = { entity: account, field: "account_id" };
const byShop = { entity: shop, field: "shop_id" };
const payments = defineSource({ name: "payments", file: "payments.parquet", eventTime: "event_us", createdTime: "created_us", fields: { account_id: "int64", shop_id: "int64", amount: "float64" } });
const accounts = defineSource({ name: "accounts", file: "accounts.parquet", eventTime: "event_us", createdTime: "created_us", fields: { account_id: "int64", ${fieldTypes} } });
const shops = defineSource({ name: "shops", file: "shops.parquet", eventTime: "event_us", createdTime: "created_us", fields: { shop_id: "int64", ${fieldTypes} } });
const labels = defineSource({ name: "labels", file: "labels.parquet", eventTime: "event_us", fields: { account_id: "int64", shop_id: "int64", label: "int64" } });
const aggregates = { ${aggregates} } as const;
const features = { ${fieldFeatures} } as const;
const views = [
  defineFeatureView({ name: "account_payments", entities: [byAccount], source: payments, aggregates }),
  defineFeatureView({ name: "shop_payments", entities: [byShop], source: payments, aggregates }),
  defineFeatureView({ name: "pair_payments", entities: [byAccount, byShop], source: payments, aggregates }),
  defineFeatureView({ name: "account_profile", entities: [byAccount], source: accounts, ttl: "30d", features }),
  defineFeatureView({ name: "shop_profile", entities: [byShop], source: shops, ttl: "30d", features }),
];
const labelled = defineTrainingSet({ name: "${trainingSetNames.trainingSet}", source: labels, entities: { account: "account_id", shop: "shop_id" }, label: "label", testShare: 0.2 });
const model = defineModel({ name: "model", features: ${JSON.stringify(features)}, trainingSet: labelled, trainer: { name: "lightgbm_classifier", parameters: {} }, output: "probability" });
export default defineScenario({
  name: "${trainingSetNames.scenario}",
  description: "A training set over five views.",
  request: {},
  views,
  models: [model],
  pipeline: defineScorePipeline({
    name: "score",
    deadlineMs: 100,
    entities: [account, shop],
    stages: { features: { budgetMs: 20 }, scoring: { budgetMs: 20, model } },
    decisions: [{ decision: "review", atLeast: 0.5 }, { decision: "approve", atLeast: 0 }],
    fallback: { name: "rules", rules: () => ({ score: 0, reasons: [] }) },
  }),
  examples: [{ entities: { account: 1n, shop: 1n }, request: {}, eventTimeUs: ${startUs}n }],
});
`;
}

/** A whole number below `bound`, from the row and a salt alone. */
function drawn(salt: number, bound: number): string {
  return `CAST(HASH(i, ${salt}) % ${bound} AS BIGINT)`;
}

const event = `${startUs} + ${drawn(1, spanSeconds)} * 1000000`;
/** One row in five is known up to an hour late. */
const lateness = `CASE WHEN ${drawn(2, 5)} = 0 THEN ${drawn(3, 3_600)} * 1000000 ELSE 0 END`;
const numbers = profileFields
  .map((name, index) => `CAST(${drawn(10 + index, 10_000)} AS DOUBLE) / 16 AS ${name}`)
  .join(", ");

/** Queries of DuckDB that give the rows of each source's file. */
export const trainingSetSources: Readonly<Record<string, string>> = {
  "payments.parquet": `SELECT ${event} AS event_us, ${event} + ${lateness} AS created_us, ${drawn(4, accounts)} AS account_id, ${drawn(5, shops)} AS shop_id, CAST(${drawn(6, 100_000)} AS DOUBLE) / 128 AS amount FROM range(${paymentRows}) r(i)`,
  "accounts.parquet": `SELECT ${event} AS event_us, ${event} + ${lateness} AS created_us, i % ${accounts} AS account_id, ${numbers} FROM range(${4 * accounts}) r(i)`,
  "shops.parquet": `SELECT ${event} AS event_us, ${event} + ${lateness} AS created_us, i % ${shops} AS shop_id, ${numbers} FROM range(${40 * shops}) r(i)`,
  "labels.parquet": `SELECT ${event} AS event_us, ${drawn(4, accounts)} AS account_id, ${drawn(5, shops)} AS shop_id, ${drawn(7, 2)} AS label FROM range(${labelRows}) r(i)`,
};
