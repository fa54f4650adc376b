import {
  defineEntity,
  defineFeatureView,
  defineIndex,
  defineModel,
  defineRecommendPipeline,
  defineScenario,
  defineScorePipeline,
  defineSource,
  defineTrainingSet,
  defineTransform,
  type RecommendPipeline,
  type ScorePipeline,
} from "@weft/scenario";

const eventTimeUs = 1_700_000_000_000_000n;
const eventTime = "event_time";

const account = defineEntity({ name: "account", key: "string" });
const events = defineSource({
  name: "events",
  file: "events.csv",
  eventTime,
  fields: { account_id: "string", amount: "float32", label: "float32" },
});
const labels = defineTrainingSet({
  name: "labels",
  source: events,
  entities: { account: "account_id" },
  label: "label",
  testShare: 0.2,
});
const totals = defineFeatureView({
  name: "totals",
  entities: [{ entity: account, field: "account_id" }],
  source: events,
  aggregates: { amount: { function: "sum", field: "amount", windows: ["1h"] } },
});
const profile = defineFeatureView({
  name: "profile",
  entities: [{ entity: account, field: "account_id" }],
  source: events,
  ladder: ["stale", "default"],
  features: { risk: { type: "float32", default: 0.5 } },
});
const ratio = defineTransform({
  name: "ratio",
  inputs: { amount: "request:amount", total: "totals:amount_1h" },
  outputs: { of_total: "float32" },
  compute: () => ({ of_total: null }),
});
const trainer = { name: "lightgbm_classifier", parameters: {} };
const champion = defineModel({
  name: "tree",
  features: ["totals:amount_1h", "profile:risk", "ratio:of_total", "request:amount"],
  trainingSet: labels,
  trainer,
  output: "probability",
});
const narrow = defineModel({
  name: "narrow",
  features: ["request:amount", "totals:amount_1h"],
  trainingSet: labels,
  trainer,
  output: "probability",
});
const other = defineModel({
  name: "other",
  features: ["request:amount", "request:hour"],
  trainingSet: labels,
  trainer,
  output: "probability",
});

/** The pipeline of `scoring`. */
export const scorePipeline: ScorePipeline = defineScorePipeline({
  name: "screening",
  deadlineMs: 100,
  entities: [account],
  stages: { features: { budgetMs: 20 }, scoring: { budgetMs: 30, model: champion } },
  shadows: [narrow, other],
  decisions: [
    { decision: "decline", atLeast: 0.9 },
    { decision: "review", atLeast: 0.5 },
    { decision: "approve", atLeast: 0 },
  ],
  reasons: (features) => ((features["totals:amount_1h"] ?? 0) > 100 ? ["SPENT_A_LOT"] : []),
  fallback: {
    name: "amount_rules",
    rules: ({ amount }) =>
      typeof amount === "number" && amount > 1_000
        ? { score: 0.95, reasons: ["LARGE_AMOUNT"] }
        : { score: 0.1, reasons: [] },
  },
});

/** A scenario that answers `Score`. */
export const scoring = defineScenario({
  name: "screening",
  description: "Screens events of accounts.",
  request: { amount: "float32", hour: "int64", online: "bool", note: "string" },
  views: [totals, profile],
  transforms: [ratio],
  models: [champion, narrow, other],
  pipeline: scorePipeline,
  examples: [{ entities: { account: "a" }, request: { amount: 12, hour: 3n, online: true, note: "" }, eventTimeUs }],
});

const reader = defineEntity({ name: "reader", key: "int64" });
const book = defineEntity({ name: "book", key: "int64" });
const loans = defineSource({
  name: "loans",
  file: "loans.csv",
  eventTime,
  fields: { reader_id: "int64", book_id: "int64", label: "float32" },
});
const books = defineSource({
  name: "books",
  file: "books.csv",
  eventTime,
  fields: { book_id: "int64", title: "string", year: "float32" },
});
const readerLoans = defineFeatureView({
  name: "reader_loans",
  entities: [{ entity: reader, field: "reader_id" }],
  source: loans,
  aggregates: {
    loans: { function: "count", windows: ["30d"] },
    seen: { function: "recent", field: "book_id", windows: ["30d"] },
  },
});
const bookProfile = defineFeatureView({
  name: "book_profile",
  entities: [{ entity: book, field: "book_id" }],
  source: books,
  ladder: ["default"],
  features: { title: { type: "string" }, year: { type: "float32", default: 2_000 } },
});
const everyone = defineFeatureView({
  name: "everyone",
  entities: [],
  source: loans,
  aggregates: { popular: { function: "top", field: "book_id", windows: ["30d"] } },
});
const borrowed = defineTrainingSet({
  name: "borrowed",
  source: loans,
  entities: { reader: "reader_id", book: "book_id" },
  label: "label",
  testShare: 0.2,
});
const readerTower = defineModel({
  name: "reader_tower",
  features: ["reader_loans:loans_30d"],
  trainingSet: borrowed,
  trainer,
  output: "embedding",
});
const bookTower = defineModel({
  name: "book_tower",
  features: ["book_profile:year"],
  trainingSet: borrowed,
  trainer,
  output: "embedding",
});
const ranker = defineModel({
  name: "ranker",
  features: ["reader_loans:loans_30d", "book_profile:year"],
  trainingSet: borrowed,
  trainer,
  output: "score",
});
const index = (name: string) =>
  defineIndex({
    name,
    item: book,
    catalog: bookProfile,
    model: bookTower,
    metric: "inner_product",
    attributes: ["book_profile:year", "book_profile:title"],
  });
const nearIndex = index("near_books");
const newIndex = index("new_books");

/** The pipeline of `recommending`. */
export const recommendPipeline: RecommendPipeline = defineRecommendPipeline({
  name: "reading",
  deadlineMs: 200,
  user: reader,
  item: book,
  stages: {
    retrieval: {
      budgetMs: 50,
      sources: [
        { name: "near", index: nearIndex, queryModel: readerTower, count: 4 },
        { name: "new", index: newIndex, queryModel: readerTower, count: 2 },
      ],
    },
    filtering: { budgetMs: 5, seen: "reader_loans:seen_30d" },
    scoring: { budgetMs: 60, model: ranker },
    ordering: { display: ["book_profile:title"] },
  },
  fallback: { name: "popular", list: "everyone:popular_30d", refreshMs: 60_000 },
});

/** A scenario that answers `Recommend`. */
export const recommending = defineScenario({
  name: "reading",
  description: "Recommends books to readers.",
  request: { weekend: "bool" },
  views: [readerLoans, bookProfile, everyone],
  models: [readerTower, bookTower, ranker],
  indexes: [nearIndex, newIndex],
  pipeline: recommendPipeline,
  examples: [{ entities: { reader: 1n }, request: { weekend: false }, eventTimeUs }],
});
