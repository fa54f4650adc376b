import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { DataContext, PrepareData } from "@weft/scenario";
import { fileOf, genres, labelHorizonUs } from "./catalog.ts";
import { ItemNeighbors } from "./neighbors.ts";

const folder = "recbole/dataset_example/ml-100k";
const secondUs = 1_000_000;
const dayUs = 86_400 * secondUs;
const seed = 20_260_101;

/** A request is made of users with at least this many ratings. */
const requestRatingsMin = 5;
/** Requests sampled a user for the ranker's impressions, at most. */
const requestsPerUser = 10;
/** Candidates of a request: the best by neighbors, the most popular, and any others, all chosen blind to the label. */
const candidateCounts = { neighbors: 30, popular: 25, random: 10 };
/** Share of the ratings, by time, after which evaluation requests are made. */
const evaluationShare = 0.2;
/** An evaluation request knows at least this many ratings of its user. */
const evaluationRatingsMin = 10;
/** Days between two runs of the batch job that recomputes neighbors. */
const neighborsEveryDays = 14;

interface User {
  readonly id: number;
  readonly age: number;
  readonly gender: string;
  readonly occupation: string;
}

interface Item {
  readonly id: number;
  readonly title: string;
  readonly year: number | undefined;
  readonly genres: readonly boolean[];
}

interface Rating {
  readonly user: number;
  readonly item: number;
  readonly rating: number;
  readonly timeUs: number;
}

/** Writes the sources of the scenario from the MovieLens-100K files that the Python package `recbole` carries. */
const prepareData: PrepareData = async (context) => {
  const files = await context.pythonPackageFiles(
    "recbole==1.2.1",
    ["inter", "user", "item"].map((kind) => `${folder}/ml-100k.${kind}`),
  );
  const ratings = readRatings(await readTable(files, "inter"));
  const users = readUsers(await readTable(files, "user"));
  const items = readItems(await readTable(files, "item"));
  const done = stages(context, 4);

  await writeEntities(context, ratings, users, items);
  done();
  await writeRatings(context, ratings, users, items);
  await writeInteractions(context, ratings, items);
  done();
  await writeNeighborsAndImpressions(context, ratings, items);
  done();
  await writeEvaluation(context, ratings, items);
  done();
};

export default prepareData;

function stages(context: DataContext, total: number): () => void {
  let count = 0;
  context.progress(0, total);
  return () => context.progress(++count, total);
}

async function readTable(files: readonly string[], kind: string): Promise<readonly (readonly string[])[]> {
  const path = files.find((file) => file.endsWith(`.${kind}`));
  if (path === undefined) throw new Error(`the package recbole has no file ml-100k.${kind}`);
  const lines = (await readFile(path, "utf8")).split("\n").filter((line) => line !== "");
  return lines.slice(1).map((line) => line.split("\t"));
}

/** Ratings in time order; those of one second in the order of user and item, since the data does not say more. */
function readRatings(rows: readonly (readonly string[])[]): readonly Rating[] {
  return rows
    .map(([user, item, rating, seconds]) => ({
      user: Number(user),
      item: Number(item),
      rating: Number(rating),
      timeUs: Number(seconds) * secondUs,
    }))
    .sort((a, b) => a.timeUs - b.timeUs || a.user - b.user || a.item - b.item);
}

function readUsers(rows: readonly (readonly string[])[]): ReadonlyMap<number, User> {
  return new Map(
    rows.map(([id, age, gender = "", occupation = ""]) => [
      Number(id),
      { id: Number(id), age: Number(age), gender, occupation },
    ]),
  );
}

function readItems(rows: readonly (readonly string[])[]): ReadonlyMap<number, Item> {
  return new Map(
    rows.map(([id, title = "", year = "", names = ""]) => {
      const present = new Set(names.split(" "));
      return [
        Number(id),
        {
          id: Number(id),
          title: displayTitle(title),
          year: /^\d{4}$/.test(year) ? Number(year) : undefined,
          genres: genres.map((genre) => present.has(genre.label)),
        },
      ];
    }),
  );
}

/** "Usual Suspects, The" → "The Usual Suspects". */
function displayTitle(title: string): string {
  return title.replace(/^([^(]+), (The|A|An)(?= \(|$)/, "$2 $1");
}

/** Users are known from their first rating on; the catalog does not say when an item came in, so it is known throughout. */
async function writeEntities(
  context: DataContext,
  ratings: readonly Rating[],
  users: ReadonlyMap<number, User>,
  items: ReadonlyMap<number, Item>,
): Promise<void> {
  const firstSeen = new Map<number, number>();
  for (const { user, timeUs } of ratings) if (!firstSeen.has(user)) firstSeen.set(user, timeUs);
  const startUs = Math.floor((ratings[0]?.timeUs ?? 0) / dayUs) * dayUs;

  const userRows = [...users.values()].map(({ id, age, gender, occupation }) =>
    row(firstSeen.get(id) ?? startUs, id, age, gender === "F", occupation),
  );
  await write(context, "users", "event_time,user_id,age,female,occupation", userRows);

  const itemRows = [...items.values()].map(({ id, title, year, genres: flags }) =>
    row(startUs, id, quoted(title), year, quoted(genreText(flags)), ...flags),
  );
  await write(context, "items", `event_time,item_id,title,year,genres,${genreFields()}`, itemRows);
}

/** Ratings as events that carry what aggregates group by: the item's genres and year, the user's age and gender. */
async function writeRatings(
  context: DataContext,
  ratings: readonly Rating[],
  users: ReadonlyMap<number, User>,
  items: ReadonlyMap<number, Item>,
): Promise<void> {
  const counts = new Map<number, number>();
  const rows = ratings.map(({ user, item, rating, timeUs }) => {
    const who = users.get(user);
    const what = items.get(item);
    if (who === undefined || what === undefined) throw new Error(`a rating names user ${user} and item ${item}`);
    const before = counts.get(item) ?? 0;
    counts.set(item, before + 1);
    return row(
      timeUs,
      user,
      item,
      rating,
      rating >= 4,
      rating <= 2,
      Math.log1p(before).toFixed(4),
      what.year,
      who.age,
      who.gender === "F",
      ageGroup(who.age),
      ...what.genres,
    );
  });
  const fields = "user_id,item_id,rating,liked,disliked,item_popularity,item_year,user_age,user_female,user_age_group";
  await write(context, "ratings", `event_time,${fields},${genreFields()}`, rows);
}

function ageGroup(age: number): string {
  if (age < 25) return "under_25";
  if (age < 35) return "25_to_34";
  return age < 50 ? "35_to_49" : "from_50";
}

/** Each rating, and beside it one item drawn from all that the user had not rated by then. */
async function writeInteractions(
  context: DataContext,
  ratings: readonly Rating[],
  items: ReadonlyMap<number, Item>,
): Promise<void> {
  const random = createRandom(seed);
  const ids = [...items.keys()];
  const seen = new Map<number, Set<number>>();
  const rows: string[] = [];
  for (const [index, { user, item, rating, timeUs }] of ratings.entries()) {
    const known = seen.get(user) ?? new Set();
    seen.set(user, known.add(item));
    let other = item;
    while (known.has(other)) other = ids[Math.floor(random() * ids.length)] ?? item;
    rows.push(row(timeUs, index, user, item, 1, rating), row(timeUs, index, user, other, 0, 0));
  }
  await write(context, "interactions", "event_time,group_id,user_id,item_id,label,rating", rows);
}

/**
 * The batch job that recomputes every item's neighbors, and the requests that a ranker learns from.
 *
 * A request's candidates are chosen from what was known at its time and blind to what the user did next, so that no
 * feature can give away why a row is there. Labels: 1 liked within the horizon, 0 not.
 */
async function writeNeighborsAndImpressions(
  context: DataContext,
  ratings: readonly Rating[],
  items: ReadonlyMap<number, Item>,
): Promise<void> {
  const random = createRandom(seed + 1);
  const ids = [...items.keys()];
  const neighbors = new ItemNeighbors(Math.max(...ids));
  const byUser = Map.groupBy(ratings, ({ user }) => user);
  const requests = sampleRequests(byUser, random);
  const popularity = new Map<number, number>();
  const neighborRows: string[] = [];
  const impressionRows: string[] = [];
  const everyUs = neighborsEveryDays * dayUs;
  let nextSnapshotUs = (Math.floor((ratings[0]?.timeUs ?? 0) / everyUs) + 1) * everyUs;
  let read = 0;

  const advance = (toUs: number): void => {
    for (let rating = ratings[read]; rating !== undefined && rating.timeUs < toUs; rating = ratings[++read]) {
      neighbors.add(rating.user, rating.item, rating.rating >= 4);
      popularity.set(rating.item, (popularity.get(rating.item) ?? 0) + 1);
    }
  };
  const snapshots = (toUs: number): void => {
    for (; nextSnapshotUs <= toUs; nextSnapshotUs += everyUs) {
      advance(nextSnapshotUs);
      for (const changed of neighbors.snapshot()) {
        const { item, rated, liked } = changed;
        const lists = [rated.keys, rated.similarities, liked.keys, liked.similarities].map(list);
        neighborRows.push(row(nextSnapshotUs, item, ...lists));
      }
    }
  };

  for (const [group, { user, timeUs }] of requests.entries()) {
    snapshots(timeUs);
    advance(timeUs);
    const history = byUser.get(user) ?? [];
    const known = new Set(history.filter((rating) => rating.timeUs < timeUs).map(({ item }) => item));
    const soon = new Map(
      history
        .filter((rating) => rating.timeUs >= timeUs && rating.timeUs < timeUs + labelHorizonUs)
        .map(({ item, rating }) => [item, rating >= 4 ? 1 : 0]),
    );
    const unseen = ids.filter((id) => !known.has(id));
    const chosen = new Set<number>(best(unseen, neighbors.scores([...known]), candidateCounts.neighbors));
    for (const item of best(unseen, popularity, candidateCounts.popular)) chosen.add(item);
    for (let i = 0; i < candidateCounts.random; i++) {
      const item = unseen[Math.floor(random() * unseen.length)];
      if (item !== undefined) chosen.add(item);
    }
    for (const item of chosen) {
      impressionRows.push(row(timeUs, timeUs + labelHorizonUs, group, user, item, soon.get(item) ?? 0));
    }
  }
  snapshots(Math.max(...ratings.slice(-1).map(({ timeUs }) => timeUs)));
  const lists = "rated_keys,rated_similarities,liked_keys,liked_similarities";
  await write(context, "item_neighbors", `event_time,item_id,${lists}`, neighborRows);
  await write(context, "impressions", "event_time,label_time,group_id,user_id,item_id,label", impressionRows);
}

/** Moments, in time order, at which a user came back or went on, and rated something within the horizon. */
function sampleRequests(
  byUser: ReadonlyMap<number, readonly Rating[]>,
  random: () => number,
): readonly { readonly user: number; readonly timeUs: number }[] {
  const requests: { user: number; timeUs: number }[] = [];
  for (const [user, history] of byUser) {
    const times = history.map(({ timeUs }) => timeUs);
    const eligible = [...new Set(times)].filter((timeUs) => times.indexOf(timeUs) >= requestRatingsMin);
    for (let i = 0; i < requestsPerUser && eligible.length > 0; i++) {
      // Short histories are the usual case when somebody is served, so positions are drawn evenly on a logarithmic scale.
      const position = Math.floor(Math.exp(random() * Math.log(eligible.length + 1)) - 1);
      const [timeUs] = eligible.splice(Math.min(position, eligible.length - 1), 1);
      if (timeUs !== undefined) requests.push({ user, timeUs });
    }
  }
  return requests.sort((a, b) => a.timeUs - b.timeUs || a.user - b.user);
}

/**
 * One request a user active in the last part of the data, at the first moment there by which enough of the user's
 * ratings are known; with every item the user had not rated by then, so that any retrieval can be judged.
 * Grades: the rating that came later, 0 where none did.
 */
async function writeEvaluation(
  context: DataContext,
  ratings: readonly Rating[],
  items: ReadonlyMap<number, Item>,
): Promise<void> {
  const fromUs = (ratings[Math.floor(ratings.length * (1 - evaluationShare))]?.timeUs ?? 0) + 2 * labelHorizonUs;
  const requests: { user: number; timeUs: number; history: readonly Rating[] }[] = [];
  for (const [user, history] of Map.groupBy(ratings, (rating) => rating.user)) {
    const times = history.map(({ timeUs }) => timeUs);
    const timeUs = times.find((time) => time >= fromUs && times.indexOf(time) >= evaluationRatingsMin);
    if (timeUs !== undefined) requests.push({ user, timeUs, history });
  }
  requests.sort((a, b) => a.timeUs - b.timeUs || a.user - b.user);
  const rows: string[] = [];
  for (const [group, { user, timeUs, history }] of requests.entries()) {
    const known = new Set(history.filter((rating) => rating.timeUs < timeUs).map(({ item }) => item));
    const later = new Map(history.map(({ item, rating }) => [item, rating]));
    for (const item of items.keys()) {
      if (!known.has(item)) rows.push(row(timeUs, group, user, item, later.get(item) ?? 0));
    }
  }
  await write(context, "evaluation", "event_time,group_id,user_id,item_id,label", rows);
}

/** The n keys of greatest score, ties by smaller key; those without a score are left out. */
function best(keys: readonly number[], scores: ReadonlyMap<number, number>, n: number): readonly number[] {
  return keys
    .filter((key) => (scores.get(key) ?? 0) > 0)
    .sort((a, b) => (scores.get(b) ?? 0) - (scores.get(a) ?? 0) || a - b)
    .slice(0, n);
}

/** Uniform numbers in [0, 1), the same for the same seed (mulberry32). */
function createRandom(start: number): () => number {
  let state = start >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

function genreFields(): string {
  return genres.map((genre) => genre.field).join(",");
}

function genreText(flags: readonly boolean[]): string {
  return genres
    .filter((_, index) => flags[index])
    .map((genre) => genre.label)
    .join(", ");
}

function list(values: readonly number[]): string {
  return quoted(`[${values.join(",")}]`);
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}

function row(...values: readonly (string | number | boolean | undefined)[]): string {
  return values.map((value) => value ?? "").join(",");
}

async function write(context: DataContext, source: string, header: string, rows: readonly string[]): Promise<void> {
  await writeFile(join(context.directory, fileOf(source)), `${header}\n${rows.join("\n")}\n`);
}
