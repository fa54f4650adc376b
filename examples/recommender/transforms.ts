import { defineTransform, type FeatureReference, type Value } from "@weft/scenario";
import { genres } from "./catalog.ts";
import { ageGroups, lifetime } from "./features.ts";

/** Newest rated and newest liked items that the user tower reads. */
export const historyCount = 50;

type Keys = readonly bigint[];
type Inputs = Readonly<Record<string, Value>>;

function numbered(name: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `${name}_${index + 1}`);
}

const historyNames = (["seen", "liked"] as const).map((name) => numbered(name, historyCount));

/** Item keys of the user's history as numbers, newest first, for an embedding lookup; absent past the end. */
export const userHistory = defineTransform<{ seen: Keys; liked: Keys }>({
  name: "user_history",
  inputs: {
    seen: `user_ratings:seen_${lifetime}`,
    liked: `user_ratings:liked_items_${lifetime}`,
  },
  outputs: Object.fromEntries(historyNames.flat().map((name) => [name, "float32" as const])),
  compute: ({ seen, liked }) => {
    const values: Record<string, Value> = {};
    for (const [list, keys] of [seen, liked].entries()) {
      for (const [index, name] of (historyNames[list] ?? []).entries()) {
        const key = keys?.[index];
        values[name] = key === undefined ? null : Number(key);
      }
    }
    return values;
  },
});

function number(value: Value | undefined): number | null {
  return typeof value === "number" ? value : typeof value === "bigint" ? Number(value) : null;
}

function count(value: Value | undefined): number {
  return number(value) ?? 0;
}

function minus(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : a - b;
}

function magnitude(a: number | null): number | null {
  return a === null ? null : Math.abs(a);
}

function ratio(a: number | null, b: number): number | null {
  return a === null || b === 0 ? null : a / b;
}

/** A mean pulled towards a prior that weighs as much as `weight` ratings. */
function smoothed(mean: number | null, n: number, prior: number, weight: number): number {
  return ((mean ?? 0) * n + prior * weight) / (n + weight);
}

function references(
  prefix: string,
  names: Readonly<Record<string, FeatureReference>>,
): Record<string, FeatureReference> {
  return Object.fromEntries(Object.entries(names).map(([name, reference]) => [`${prefix}_${name}`, reference]));
}

function perGenre(reference: (field: string) => FeatureReference): Readonly<Record<string, FeatureReference>> {
  return Object.fromEntries(genres.map(({ field }) => [field, reference(field)]));
}

/** What a user rates by genre, as shares of all ratings, and how much better or worse than the user's mean. */
const userGenreNames = genres.map(({ field }) => ({
  field,
  share: `${field}_share`,
  lift: `${field}_lift`,
  recent: `${field}_recent`,
  rating: `${field}_rating`,
}));

export const userGenres = defineTransform<Record<string, Value>>({
  name: "user_genres",
  inputs: {
    count: `user_ratings:count_${lifetime}`,
    recent: "user_ratings:count_1h",
    mean: `user_ratings:rating_${lifetime}`,
    all: `everyone:count_${lifetime}`,
    ...references(
      "count",
      perGenre((field) => `user_ratings:${field}_count_${lifetime}`),
    ),
    ...references(
      "recent",
      perGenre((field) => `user_ratings:${field}_count_1h`),
    ),
    ...references(
      "rating",
      perGenre((field) => `user_ratings:${field}_rating_${lifetime}`),
    ),
    ...references(
      "all",
      perGenre((field) => `everyone:${field}_count_${lifetime}`),
    ),
  },
  outputs: Object.fromEntries(
    userGenreNames.flatMap(({ share, lift, recent, rating }) =>
      [share, lift, recent, rating].map((name) => [name, "float32" as const]),
    ),
  ),
  compute: (inputs: Inputs) => {
    const values: Record<string, Value> = {};
    const total = count(inputs.count);
    const recent = count(inputs.recent);
    const all = count(inputs.all);
    const mean = number(inputs.mean) ?? 3.5;
    for (const names of userGenreNames) {
      const n = count(inputs[`count_${names.field}`]);
      const expected = all === 0 ? 0 : count(inputs[`all_${names.field}`]) / all;
      values[names.share] = ratio(n, total);
      values[names.lift] = Math.log((n + 20 * expected + 0.1) / (total + 20) / (expected + 0.005));
      values[names.recent] = ratio(count(inputs[`recent_${names.field}`]), recent);
      values[names.rating] = smoothed(number(inputs[`rating_${names.field}`]), n, mean, 3) - mean;
    }
    return values;
  },
});

/** How a film's genres meet the user's taste. */
export const taste = defineTransform<Record<string, Value>>({
  name: "taste",
  inputs: {
    ...references(
      "item",
      perGenre((field) => `item_profile:${field}`),
    ),
    ...references(
      "share",
      perGenre((field) => `user_genres:${field}_share`),
    ),
    ...references(
      "lift",
      perGenre((field) => `user_genres:${field}_lift`),
    ),
    ...references(
      "recent",
      perGenre((field) => `user_genres:${field}_recent`),
    ),
    ...references(
      "rating",
      perGenre((field) => `user_genres:${field}_rating`),
    ),
  },
  outputs: {
    genre_count: "float32",
    share_mean: "float32",
    share_max: "float32",
    share_min: "float32",
    recent_mean: "float32",
    recent_max: "float32",
    lift_mean: "float32",
    lift_max: "float32",
    lift_min: "float32",
    rating_mean: "float32",
    rating_max: "float32",
    rating_min: "float32",
    cosine: "float32",
  },
  compute: (inputs: Inputs) => {
    const present = genres.filter(({ field }) => inputs[`item_${field}`] === true).map(({ field }) => field);
    const of = (name: string): readonly number[] => present.map((field) => count(inputs[`${name}_${field}`]));
    const share = of("share");
    const recent = of("recent");
    const lift = of("lift");
    const rating = of("rating");
    const length = Math.sqrt(genres.reduce((sum, { field }) => sum + count(inputs[`share_${field}`]) ** 2, 0));
    const n = present.length;
    return {
      genre_count: n,
      share_mean: ratio(sum(share), n),
      share_max: greatest(share),
      share_min: least(share),
      recent_mean: ratio(sum(recent), n),
      recent_max: greatest(recent),
      lift_mean: ratio(sum(lift), n),
      lift_max: greatest(lift),
      lift_min: least(lift),
      rating_mean: ratio(sum(rating), n),
      rating_max: greatest(rating),
      rating_min: least(rating),
      cosine: ratio(sum(share), length * Math.sqrt(n)),
    };
  },
});

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function greatest(values: readonly number[]): number | null {
  return values.length === 0 ? null : Math.max(...values);
}

function least(values: readonly number[]): number | null {
  return values.length === 0 ? null : Math.min(...values);
}

/** How much a film is rated, of late and ever, beside all films. */
export const popularity = defineTransform<Record<string, Value>>({
  name: "popularity",
  inputs: {
    count_1d: "item_ratings:count_1d",
    count_7d: "item_ratings:count_7d",
    count_30d: "item_ratings:count_30d",
    count_90d: "item_ratings:count_90d",
    count: `item_ratings:count_${lifetime}`,
    liked_30d: "item_ratings:liked_30d",
    liked: `item_ratings:liked_${lifetime}`,
    rating: `item_ratings:rating_${lifetime}`,
    all_1d: "everyone:count_1d",
    all_7d: "everyone:count_7d",
    all_30d: "everyone:count_30d",
    all_90d: "everyone:count_90d",
    all: `everyone:count_${lifetime}`,
    all_liked_30d: "everyone:liked_30d",
    all_liked: `everyone:liked_${lifetime}`,
    all_rating: `everyone:rating_${lifetime}`,
  },
  outputs: {
    log_count: "float32",
    share_1d: "float32",
    share_7d: "float32",
    share_30d: "float32",
    share_90d: "float32",
    share: "float32",
    liked_share_30d: "float32",
    liked_share: "float32",
    liked_ratio: "float32",
    rating: "float32",
    trend: "float32",
  },
  compute: (inputs: Inputs) => {
    const perMille = (a: string, b: string): number | null => ratio(1000 * count(inputs[a]), count(inputs[b]));
    const share30d = perMille("count_30d", "all_30d");
    const share = perMille("count", "all");
    const n = count(inputs.count);
    const prior = count(inputs.all) === 0 ? 0.5 : count(inputs.all_liked) / count(inputs.all);
    return {
      log_count: Math.log1p(n),
      share_1d: perMille("count_1d", "all_1d"),
      share_7d: perMille("count_7d", "all_7d"),
      share_30d: share30d,
      share_90d: perMille("count_90d", "all_90d"),
      share,
      liked_share_30d: perMille("liked_30d", "all_liked_30d"),
      liked_share: perMille("liked", "all_liked"),
      liked_ratio: (count(inputs.liked) + prior * 10) / (n + 10),
      rating: smoothed(number(inputs.rating), n, number(inputs.all_rating) ?? 3.5, 10),
      trend: share30d === null || share === null ? null : Math.log((share30d + 0.2) / (share + 0.2)),
    };
  },
});

/** How a film's audience meets the user: age, gender, and the fame and year of what the user rates. */
export const fit = defineTransform<Record<string, Value>>({
  name: "fit",
  inputs: {
    age: "user_profile:age",
    female: "user_profile:female",
    user_mean: `user_ratings:rating_${lifetime}`,
    user_popularity: `user_ratings:popularity_${lifetime}`,
    user_popularity_1h: "user_ratings:popularity_1h",
    user_popularity_std: `user_ratings:popularity_std_${lifetime}`,
    user_popularity_min: `user_ratings:popularity_min_${lifetime}`,
    user_year: `user_ratings:year_${lifetime}`,
    user_year_1h: "user_ratings:year_1h",
    user_year_std: `user_ratings:year_std_${lifetime}`,
    user_year_min: `user_ratings:year_min_${lifetime}`,
    year: "item_profile:year",
    log_count: "popularity:log_count",
    rating: "popularity:rating",
    count: `item_ratings:count_${lifetime}`,
    item_age: `item_ratings:user_age_${lifetime}`,
    item_age_std: `item_ratings:user_age_std_${lifetime}`,
    female_count: `item_ratings:female_count_${lifetime}`,
    female_rating: `item_ratings:female_rating_${lifetime}`,
    male_rating: `item_ratings:male_rating_${lifetime}`,
    all: `everyone:count_${lifetime}`,
    all_female: `everyone:female_${lifetime}`,
    all_mean: `everyone:rating_${lifetime}`,
    ...Object.fromEntries(
      ageGroups.flatMap((group) => [
        [`count_${group}`, `item_ratings:${group}_count_${lifetime}`],
        [`recent_${group}`, `item_ratings:${group}_count_30d`],
        [`rating_${group}`, `item_ratings:${group}_rating_${lifetime}`],
        [`all_count_${group}`, `everyone:${group}_count_${lifetime}`],
        [`all_recent_${group}`, `everyone:${group}_count_30d`],
      ]),
    ),
  },
  outputs: {
    popularity_gap: "float32",
    popularity_gap_1h: "float32",
    popularity_scaled: "float32",
    popularity_over_min: "float32",
    year_gap: "float32",
    year_distance: "float32",
    year_distance_1h: "float32",
    year_scaled: "float32",
    year_over_min: "float32",
    age_gap: "float32",
    age_distance: "float32",
    age_scaled: "float32",
    gender_share: "float32",
    gender_lift: "float32",
    gender_rating: "float32",
    age_group_share: "float32",
    age_group_lift: "float32",
    age_group_recent: "float32",
    age_group_rating: "float32",
    expected_rating: "float32",
  },
  compute: (inputs: Inputs) => {
    const logCount = number(inputs.log_count);
    const year = number(inputs.year);
    const age = number(inputs.age);
    const rating = number(inputs.rating) ?? 3.5;
    const n = count(inputs.count);
    const allMean = number(inputs.all_mean) ?? 3.5;
    const popularityGap = minus(logCount, number(inputs.user_popularity));
    const yearGap = minus(year, number(inputs.user_year));
    const ageGap = minus(age, number(inputs.item_age));

    const female = inputs.female === true;
    const femaleShare = (count(inputs.female_count) + 5 * 0.26) / (n + 5);
    const femalePrior = (count(inputs.all_female) + 26) / (count(inputs.all) + 100);
    const genderShare = female ? femaleShare : 1 - femaleShare;
    const genderPrior = female ? femalePrior : 1 - femalePrior;
    const genderCount = female ? count(inputs.female_count) : n - count(inputs.female_count);

    const group = ageGroup(age);
    const groupCount = count(inputs[`count_${group}`]);
    const groupPrior = (count(inputs[`all_count_${group}`]) + 25) / (count(inputs.all) + 100);
    const groupShare = (groupCount + 5 * groupPrior) / (n + 5);
    return {
      popularity_gap: popularityGap,
      popularity_gap_1h: minus(logCount, number(inputs.user_popularity_1h)),
      popularity_scaled: ratio(popularityGap, (number(inputs.user_popularity_std) ?? 1) + 0.5),
      popularity_over_min: minus(logCount, number(inputs.user_popularity_min)),
      year_gap: yearGap,
      year_distance: magnitude(yearGap),
      year_distance_1h: magnitude(minus(year, number(inputs.user_year_1h))),
      year_scaled: ratio(yearGap, (number(inputs.user_year_std) ?? 10) + 3),
      year_over_min: minus(year, number(inputs.user_year_min)),
      age_gap: ageGap,
      age_distance: magnitude(ageGap),
      age_scaled: ratio(ageGap, (number(inputs.item_age_std) ?? 10) + 3),
      gender_share: genderShare,
      gender_lift: Math.log(genderShare / genderPrior),
      gender_rating:
        smoothed(number(female ? inputs.female_rating : inputs.male_rating), genderCount, rating, 5) - rating,
      age_group_share: groupShare,
      age_group_lift: Math.log(groupShare / groupPrior),
      age_group_recent: ratio(1000 * count(inputs[`recent_${group}`]), count(inputs[`all_recent_${group}`])),
      age_group_rating: smoothed(number(inputs[`rating_${group}`]), groupCount, rating, 5) - rating,
      expected_rating: rating + (number(inputs.user_mean) ?? allMean) - allMean,
    };
  },
});

function ageGroup(age: number | null): string {
  if (age === null) return "25_to_34";
  if (age < 25) return "under_25";
  if (age < 35) return "25_to_34";
  return age < 50 ? "35_to_49" : "from_50";
}

/** How near a film's neighbors are to what the user rated, liked and disliked; an empty history is far from everything. */
export const nearness = defineTransform<{
  rated: Keys;
  ratedSimilarities: Float32Array;
  liked: Keys;
  likedSimilarities: Float32Array;
  seen: Keys;
  likedItems: Keys;
  dislikedItems: Keys;
}>({
  name: "nearness",
  inputs: {
    rated: "item_neighbors:rated_keys",
    ratedSimilarities: "item_neighbors:rated_similarities",
    liked: "item_neighbors:liked_keys",
    likedSimilarities: "item_neighbors:liked_similarities",
    seen: `user_ratings:seen_${lifetime}`,
    likedItems: `user_ratings:liked_items_${lifetime}`,
    dislikedItems: `user_ratings:disliked_items_${lifetime}`,
  },
  outputs: {
    seen_sum: "float32",
    seen_share: "float32",
    seen_mean: "float32",
    seen_max: "float32",
    seen_count: "float32",
    recent_sum: "float32",
    liked_sum: "float32",
    liked_share: "float32",
    liked_max: "float32",
    disliked_sum: "float32",
    co_liked_sum: "float32",
    co_liked_share: "float32",
    co_liked_mean: "float32",
    co_liked_max: "float32",
    co_liked_recent: "float32",
    co_disliked_sum: "float32",
    liked_ratio: "float32",
  },
  compute: (inputs) => {
    const seen = positions(inputs.seen);
    const liked = positions(inputs.likedItems);
    const disliked = positions(inputs.dislikedItems);
    const bySeen = match(inputs.rated, inputs.ratedSimilarities, seen);
    const byLiked = match(inputs.rated, inputs.ratedSimilarities, liked);
    const byDisliked = match(inputs.rated, inputs.ratedSimilarities, disliked);
    const coLiked = match(inputs.liked, inputs.likedSimilarities, liked);
    const coDisliked = match(inputs.liked, inputs.likedSimilarities, disliked);
    return {
      seen_sum: bySeen.sum,
      seen_share: ratio(bySeen.sum, bySeen.total),
      seen_mean: ratio(bySeen.sum, Math.sqrt(seen.size)),
      seen_max: bySeen.max,
      seen_count: bySeen.count,
      recent_sum: bySeen.recent,
      liked_sum: byLiked.sum,
      liked_share: ratio(byLiked.sum, byLiked.total),
      liked_max: byLiked.max,
      disliked_sum: byDisliked.sum,
      co_liked_sum: coLiked.sum,
      co_liked_share: ratio(coLiked.sum, coLiked.total),
      co_liked_mean: ratio(coLiked.sum, Math.sqrt(liked.size)),
      co_liked_max: coLiked.max,
      co_liked_recent: coLiked.recent,
      co_disliked_sum: coDisliked.sum,
      liked_ratio: (byLiked.sum + 0.1) / (bySeen.sum + 0.2),
    };
  },
});

/** Position of each key in a list. One request asks for the same list once a candidate, so it is kept with the list. */
function positions(keys: Keys | null): ReadonlyMap<bigint, number> {
  if (keys === null) return new Map();
  const known = positionsOf.get(keys);
  if (known !== undefined) return known;
  const made = new Map(keys.map((key, index) => [key, index]));
  positionsOf.set(keys, made);
  return made;
}

const positionsOf = new WeakMap<Keys, ReadonlyMap<bigint, number>>();

/** Similarities of the neighbors that are in a history, and of those among its 10 newest. */
function match(
  keys: Keys | null,
  similarities: Float32Array | null,
  history: ReadonlyMap<bigint, number>,
): { sum: number; max: number; count: number; recent: number; total: number } {
  const found = { sum: 0, max: 0, count: 0, recent: 0, total: 0 };
  if (keys === null || similarities === null) return found;
  for (const [index, key] of keys.entries()) {
    const similarity = similarities[index] ?? 0;
    const position = history.get(key);
    found.total += similarity;
    if (position === undefined) continue;
    found.sum += similarity;
    found.count++;
    if (similarity > found.max) found.max = similarity;
    if (position < 10) found.recent += similarity;
  }
  return found;
}
