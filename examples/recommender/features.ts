import {
  type Aggregate,
  type DurationText,
  defineEntity,
  defineFeatureView,
  defineSource,
  type ValueType,
} from "@weft/scenario";
import { fileOf, genres, neighborCount } from "./catalog.ts";

const everWindow = "20000d";

/** End of the name of a feature over all that is known so far: its window is longer than any history. */
export const lifetime = `ever_${everWindow}`;

type Windowed = Omit<Aggregate, "windows"> & { readonly windows: readonly string[] };

/** Splits windows of "ever" off, since so long a window needs a wide slide. */
function withLifetime(aggregates: Readonly<Record<string, Windowed>>): Readonly<Record<string, Aggregate>> {
  return Object.fromEntries(
    Object.entries(aggregates).flatMap(([name, aggregate]): [string, Aggregate][] => {
      const windows = aggregate.windows.filter((window): window is DurationText => window !== lifetime);
      return [
        ...(windows.length === 0 ? [] : [[name, { ...aggregate, windows }] satisfies [string, Aggregate]]),
        ...(windows.length === aggregate.windows.length
          ? []
          : [[`${name}_ever`, { ...aggregate, windows: [everWindow], slide: "10d" }] satisfies [string, Aggregate]]),
      ];
    }),
  );
}

export const user = defineEntity({ name: "user", key: "int64", description: "A person who rates films." });
export const item = defineEntity({ name: "item", key: "int64", description: "A film." });

const genreFlags: Record<string, ValueType> = Object.fromEntries(genres.map(({ field }) => [field, "bool"]));

export const ratings = defineSource({
  name: "ratings",
  file: fileOf("ratings"),
  eventTime: "event_time",
  fields: {
    user_id: "int64",
    item_id: "int64",
    rating: "float32",
    liked: "bool",
    disliked: "bool",
    item_popularity: "float32",
    item_year: "float32",
    user_age: "float32",
    user_female: "bool",
    user_age_group: "string",
    ...genreFlags,
  },
  description:
    "A rating of 1 to 5, with what aggregates group by: the film's genres and year, the person's age and gender.",
});

export const users = defineSource({
  name: "users",
  file: fileOf("users"),
  eventTime: "event_time",
  fields: { user_id: "int64", age: "float32", female: "bool", occupation: "string" },
  description: "What a person said at registration.",
});

export const items = defineSource({
  name: "items",
  file: fileOf("items"),
  eventTime: "event_time",
  fields: { item_id: "int64", title: "string", year: "float32", genres: "string", ...genreFlags },
  description: "The catalog.",
});

export const neighbors = defineSource({
  name: "item_neighbors",
  file: fileOf("item_neighbors"),
  eventTime: "event_time",
  fields: {
    item_id: "int64",
    rated_keys: { keys: "int64" },
    rated_similarities: { vector: neighborCount },
    liked_keys: { keys: "int64" },
    liked_similarities: { vector: neighborCount },
  },
  description: `A film's ${neighborCount} nearest by the people who rated (or liked) both; recomputed in batch every two weeks.`,
});

const byUser = [{ entity: user, field: "user_id" }];
const byItem = [{ entity: item, field: "item_id" }];

export const userProfile = defineFeatureView({
  name: "user_profile",
  entities: byUser,
  source: users,
  features: { age: { type: "float32" }, female: { type: "bool" }, occupation: { type: "string" } },
});

export const itemProfile = defineFeatureView({
  name: "item_profile",
  entities: byItem,
  source: items,
  features: {
    item_id: { type: "int64" },
    title: { type: "string" },
    genres: { type: "string" },
    year: { type: "float32" },
    ...Object.fromEntries(genres.map(({ field }) => [field, { type: "bool" as const }])),
  },
});

export const itemNeighbors = defineFeatureView({
  name: "item_neighbors",
  entities: byItem,
  source: neighbors,
  features: {
    rated_keys: { type: { keys: "int64" } },
    rated_similarities: { type: { vector: neighborCount } },
    liked_keys: { type: { keys: "int64" } },
    liked_similarities: { type: { vector: neighborCount } },
  },
});

const genreAggregates: Record<string, Windowed> = Object.fromEntries(
  genres.flatMap(({ field }) => {
    const where = { field, equals: true };
    return [
      [`${field}_count`, { function: "count", where, windows: ["1h", lifetime] }],
      [`${field}_rating`, { function: "mean", field: "rating", where, windows: [lifetime] }],
    ] satisfies [string, Windowed][];
  }),
);

export const userRatings = defineFeatureView({
  name: "user_ratings",
  entities: byUser,
  source: ratings,
  aggregates: withLifetime({
    count: { function: "count", windows: ["5m", "1h", "1d", "7d", "30d", lifetime] },
    liked: { function: "count", where: { field: "liked", equals: true }, windows: ["1h", lifetime] },
    disliked: { function: "count", where: { field: "disliked", equals: true }, windows: ["1h", lifetime] },
    rating: { function: "mean", field: "rating", windows: ["1h", lifetime] },
    rating_std: { function: "std", field: "rating", windows: [lifetime] },
    popularity: { function: "mean", field: "item_popularity", windows: ["1h", lifetime] },
    popularity_std: { function: "std", field: "item_popularity", windows: [lifetime] },
    popularity_min: { function: "min", field: "item_popularity", windows: [lifetime] },
    year: { function: "mean", field: "item_year", windows: ["1h", lifetime] },
    year_std: { function: "std", field: "item_year", windows: [lifetime] },
    year_min: { function: "min", field: "item_year", windows: [lifetime] },
    seen: { function: "recent", field: "item_id", windows: [lifetime], limit: 1000 },
    liked_items: {
      function: "recent",
      field: "item_id",
      where: { field: "liked", equals: true },
      windows: [lifetime],
      limit: 200,
    },
    disliked_items: {
      function: "recent",
      field: "item_id",
      where: { field: "disliked", equals: true },
      windows: [lifetime],
      limit: 200,
    },
    ...genreAggregates,
  }),
});

export const ageGroups = ["under_25", "25_to_34", "35_to_49", "from_50"] as const;

const audience: Record<string, Windowed> = Object.fromEntries([
  ...[true, false].flatMap((female) => {
    const where = { field: "user_female", equals: female };
    const name = female ? "female" : "male";
    return [
      [`${name}_count`, { function: "count", where, windows: [lifetime] }],
      [`${name}_rating`, { function: "mean", field: "rating", where, windows: [lifetime] }],
    ] satisfies [string, Windowed][];
  }),
  ...ageGroups.flatMap((group) => {
    const where = { field: "user_age_group", equals: group };
    return [
      [`${group}_count`, { function: "count", where, windows: ["30d", lifetime] }],
      [`${group}_rating`, { function: "mean", field: "rating", where, windows: [lifetime] }],
    ] satisfies [string, Windowed][];
  }),
]);

export const itemRatings = defineFeatureView({
  name: "item_ratings",
  entities: byItem,
  source: ratings,
  aggregates: withLifetime({
    count: { function: "count", windows: ["1d", "7d", "30d", "90d", lifetime] },
    liked: { function: "count", where: { field: "liked", equals: true }, windows: ["30d", lifetime] },
    disliked: { function: "count", where: { field: "disliked", equals: true }, windows: [lifetime] },
    rating: { function: "mean", field: "rating", windows: ["30d", lifetime] },
    rating_std: { function: "std", field: "rating", windows: [lifetime] },
    user_age: { function: "mean", field: "user_age", windows: [lifetime] },
    user_age_std: { function: "std", field: "user_age", windows: [lifetime] },
    ...audience,
  }),
});

/** One row for all: what everyone rates. */
export const everyone = defineFeatureView({
  name: "everyone",
  entities: [],
  source: ratings,
  aggregates: withLifetime({
    top: {
      function: "top",
      field: "item_id",
      where: { field: "liked", equals: true },
      windows: ["30d", lifetime],
      limit: 100,
    },
    count: { function: "count", windows: ["1d", "7d", "30d", "90d", lifetime] },
    liked: { function: "count", where: { field: "liked", equals: true }, windows: ["30d", lifetime] },
    female: { function: "count", where: { field: "user_female", equals: true }, windows: [lifetime] },
    rating: { function: "mean", field: "rating", windows: [lifetime] },
    ...Object.fromEntries(
      ageGroups.map((group) => [
        `${group}_count`,
        { function: "count", where: { field: "user_age_group", equals: group }, windows: ["30d", lifetime] },
      ]),
    ),
    ...Object.fromEntries(
      genres.map(({ field }) => [
        `${field}_count`,
        { function: "count", where: { field, equals: true }, windows: [lifetime] },
      ]),
    ),
  }),
});
