import {
  defineIndex,
  defineModel,
  defineRecommendPipeline,
  defineScenario,
  defineSource,
  defineTrainingSet,
  type FeatureReference,
} from "@weft/scenario";
import { fileOf, genres, labelHorizonUs } from "./catalog.ts";
import {
  everyone,
  item,
  itemNeighbors,
  itemProfile,
  itemRatings,
  lifetime,
  user,
  userProfile,
  userRatings,
} from "./features.ts";
import { fit, historyCount, nearness, popularity, taste, userGenres, userHistory } from "./transforms.ts";

const spineFields = { group_id: "int64", user_id: "int64", item_id: "int64", label: "float32" } as const;
const spineEntities = { user: "user_id", item: "item_id" };
const spineKeys = ["group_id", "user_id", "item_id"];

const interactions = defineTrainingSet({
  name: "interactions",
  source: defineSource({
    name: "interactions",
    file: fileOf("interactions"),
    eventTime: "event_time",
    fields: { ...spineFields, rating: "float32" },
    description: "Each rating, and beside it an item drawn from those the user had not rated by then.",
  }),
  entities: spineEntities,
  label: "label",
  extra: [...spineKeys, "rating"],
  testShare: 0.2,
});

const impressions = defineTrainingSet({
  name: "impressions",
  source: defineSource({
    name: "impressions",
    file: fileOf("impressions"),
    eventTime: "event_time",
    fields: { ...spineFields, label_time: "int64" },
    description: "Requests with candidates chosen from what was known at the time: near, popular and any others.",
  }),
  entities: spineEntities,
  label: "label",
  labelTime: "label_time",
  extra: [...spineKeys, "label_time"],
  testShare: 0.24,
});

const requests = defineTrainingSet({
  name: "evaluation",
  source: defineSource({
    name: "evaluation",
    file: fileOf("evaluation"),
    eventTime: "event_time",
    fields: spineFields,
    description: "Requests late in the data, each with every item its user had not rated by then.",
  }),
  entities: spineEntities,
  label: "label",
  extra: spineKeys,
  testShare: 0,
});

const userFeatures: readonly FeatureReference[] = [
  ...["seen", "liked"].flatMap((name) =>
    Array.from({ length: historyCount }, (_, index) => `user_history:${name}_${index + 1}`),
  ),
  "user_profile:age",
  "user_profile:female",
  `user_ratings:count_${lifetime}`,
  `user_ratings:rating_${lifetime}`,
  `user_ratings:popularity_${lifetime}`,
  "user_ratings:popularity_1h",
  `user_ratings:year_${lifetime}`,
  "user_ratings:year_1h",
  `user_ratings:year_std_${lifetime}`,
  ...genres.flatMap(({ field }) => [`user_genres:${field}_share`, `user_genres:${field}_rating`]),
  ...genres.map(({ field }) => `user_genres:${field}_recent`),
];

const itemFeatures: readonly FeatureReference[] = [
  "item_profile:item_id",
  "item_profile:year",
  "popularity:log_count",
  "popularity:share_30d",
  "popularity:share",
  "popularity:liked_share",
  "popularity:liked_ratio",
  "popularity:rating",
  "popularity:trend",
  `item_ratings:user_age_${lifetime}`,
  ...genres.map(({ field }) => `item_profile:${field}`),
];

/** One training makes both towers, so both models name the same parameters, and each the tower that it takes. */
const towers = {
  dimension: 32,
  epochs: 8,
  temperature: 0.2,
  group: "group_id",
  user: "user_id",
  item: "item_id",
  rating: "rating",
  userFeatures,
  itemFeatures,
  itemKey: "item_profile:item_id",
  histories: ["user_history:seen_", "user_history:liked_"],
};

const userTower = defineModel({
  name: "user_tower",
  features: userFeatures,
  trainingSet: interactions,
  trainer: { name: "two_tower", parameters: { ...towers, tower: "user" } },
  gates: [
    { metric: "auc", atLeast: 0.85 },
    { metric: "onnx_max_abs_diff", atMost: 1e-5 },
  ],
  output: "embedding",
});

const itemTower = defineModel({
  name: "item_tower",
  features: itemFeatures,
  trainingSet: interactions,
  trainer: { name: "two_tower", parameters: { ...towers, tower: "item" } },
  gates: [
    { metric: "auc", atLeast: 0.85 },
    { metric: "onnx_max_abs_diff", atMost: 1e-5 },
  ],
  output: "embedding",
});

const ranker = defineModel({
  name: "ranker",
  features: [
    ...[taste, popularity, fit, nearness].flatMap(({ name, outputs }) =>
      Object.keys(outputs).map((output) => `${name}:${output}`),
    ),
    ...["5m", "1h", "1d", "7d", "30d", lifetime].map((window) => `user_ratings:count_${window}`),
    `user_ratings:liked_${lifetime}`,
    `user_ratings:disliked_${lifetime}`,
    "user_ratings:rating_1h",
    `user_ratings:rating_${lifetime}`,
    `user_ratings:rating_std_${lifetime}`,
    "user_ratings:popularity_1h",
    `user_ratings:popularity_${lifetime}`,
    `user_ratings:popularity_std_${lifetime}`,
    `user_ratings:year_${lifetime}`,
    `user_ratings:year_std_${lifetime}`,
    "user_profile:age",
    "user_profile:female",
    ...genres.map(({ field }) => `user_genres:${field}_share`),
    "item_profile:year",
    ...genres.map(({ field }) => `item_profile:${field}`),
    ...["1d", "7d", "30d", "90d", lifetime].map((window) => `item_ratings:count_${window}`),
    "item_ratings:rating_30d",
    `item_ratings:rating_std_${lifetime}`,
    `item_ratings:user_age_${lifetime}`,
    `item_ratings:user_age_std_${lifetime}`,
  ],
  trainingSet: impressions,
  trainer: {
    name: "lightgbm_ranker",
    parameters: {
      group: "group_id",
      labelTime: "label_time",
      trees: 500,
      learningRate: 0.02,
      leaves: 15,
      minRowsInLeaf: 200,
      featureShare: 0.15,
      rowShare: 0.7,
      l2: 10,
      objective: "rank_xendcg",
    },
  },
  gates: [
    { metric: "ndcg_at_10", atLeast: 0.25 },
    { metric: "onnx_max_abs_diff", atMost: 1e-5 },
  ],
  output: "score",
});

const itemIndex = defineIndex({
  name: "items",
  item,
  catalog: itemProfile,
  model: itemTower,
  metric: "cosine",
  attributes: ["item_profile:genres", "item_profile:year", ...genres.map(({ field }) => `item_profile:${field}`)],
});

export default defineScenario({
  name: "recommender",
  description: "Recommends films to people by what they rated before (MovieLens-100K).",
  views: [userProfile, itemProfile, itemNeighbors, userRatings, itemRatings, everyone],
  transforms: [userHistory, userGenres, taste, popularity, fit, nearness],
  models: [userTower, itemTower, ranker],
  indexes: [itemIndex],
  pipeline: defineRecommendPipeline({
    name: "recommend_films",
    deadlineMs: 250,
    user,
    item,
    stages: {
      retrieval: {
        budgetMs: 80,
        sources: [{ name: "two_tower", index: itemIndex, queryModel: userTower, count: 100 }],
      },
      filtering: { budgetMs: 20, seen: `user_ratings:seen_${lifetime}` },
      scoring: { budgetMs: 120, model: ranker },
      ordering: { display: ["item_profile:title", "item_profile:year", "item_profile:genres"] },
    },
    fallback: { name: "popular", list: `everyone:top_${lifetime}`, refreshMs: 60_000 },
  }),
  evaluation: {
    name: "evaluate_recommender",
    parameters: {
      userTower: "user_tower",
      itemTower: "item_tower",
      ranker: "ranker",
      requests: "evaluation",
      ratings: fileOf("ratings"),
      candidates: 100,
      labelHorizonUs,
    },
    trainingSet: requests,
  },
  // Late in the data, each with a history.
  examples: [
    { entities: { user: 683n }, eventTimeUs: 893_289_600_000_000n },
    { entities: { user: 661n }, eventTimeUs: 893_289_600_000_000n },
    { entities: { user: 189n }, eventTimeUs: 893_289_600_000_000n },
    { entities: { user: 159n }, eventTimeUs: 893_289_600_000_000n },
  ],
});
