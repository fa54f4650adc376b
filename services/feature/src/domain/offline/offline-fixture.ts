import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  defineEntity,
  defineFeatureView,
  defineModel,
  defineScenario,
  defineScorePipeline,
  defineSource,
  defineTrainingSet,
  defineTransform,
  type Scenario,
  type Value,
} from "@weft/scenario";
import { seededRandom } from "@weft/testkit";
import { createDuckDbStore } from "../../adapters/duckdb.ts";
import { compileView } from "../views/compile-view.ts";
import type { CompiledView } from "../views/view-state.ts";
import type { ColumnSpec, OfflineStore } from "./offline-store.ts";

/** A purchase, as the history of the tests holds it. */
export interface Purchase {
  readonly eventUs: number;
  readonly createdUs: number;
  readonly card: bigint;
  readonly shop: string;
  readonly amount: number | null;
  readonly item: bigint | null;
  readonly good: boolean | null;
}

/** A row of the spine. */
export interface Labelled {
  readonly eventUs: number;
  readonly card: bigint;
  readonly shop: string;
  readonly amount: number | null;
  readonly label: number;
}

const card = defineEntity({ name: "card", key: "int64" });
const shop = defineEntity({ name: "shop", key: "string" });
const purchases = defineSource({
  name: "purchases",
  file: "purchases.csv",
  eventTime: "at",
  createdTime: "known_at",
  fields: { card: "int64", shop: "string", amount: "float64", item: "int64", good: "bool" },
});
const labels = defineSource({
  name: "labels",
  file: "labels.csv",
  eventTime: "at",
  fields: { card: "int64", shop: "string", amount: "float32", label: "float64" },
});

/** Windows of a minute (slide 5 s) and an hour (slide 5 min). */
export const windows = { "1m": [60e6, 5e6], "1h": [3600e6, 300e6] } as const;
const both = ["1m", "1h"] as const;

const ofCard = defineFeatureView({
  name: "card_windows",
  entities: [{ entity: card, field: "card" }],
  source: purchases,
  aggregates: {
    n: { function: "count", windows: both },
    good: { function: "count", where: { field: "good", equals: true }, windows: both },
    sum: { function: "sum", field: "amount", windows: both },
    mean: { function: "mean", field: "amount", windows: both },
    min: { function: "min", field: "amount", windows: both },
    max: { function: "max", field: "amount", windows: both },
    std: { function: "std", field: "amount", windows: both },
    last: { function: "last", field: "amount", windows: both },
    items: { function: "distinct", field: "item", windows: both },
    recent: { function: "recent", field: "item", windows: both, limit: 2 },
    top: { function: "top", field: "item", windows: both, limit: 2 },
  },
});
const ofKinds = defineFeatureView({
  name: "card_kinds",
  entities: [{ entity: card, field: "card" }],
  source: purchases,
  aggregates: {
    session_n: { function: "count", kind: "session", windows: ["20s"] },
    session_last: { function: "last", field: "amount", kind: "session", windows: ["20s"] },
    closed_n: { function: "count", kind: "tumbling", windows: both },
    closed_max: { function: "max", field: "amount", kind: "tumbling", windows: both },
    shops: { function: "approx_distinct", field: "shop", windows: both },
    high: { function: "quantile", field: "amount", quantile: 0.75, windows: both },
  },
});
const ofBoth = defineFeatureView({
  name: "pair_windows",
  entities: [
    { entity: card, field: "card" },
    { entity: shop, field: "shop" },
  ],
  source: purchases,
  ladder: ["default"],
  aggregates: {
    n: { function: "count", windows: both },
    max: { function: "max", field: "amount", windows: both, default: -1 },
  },
});
const ofAll = defineFeatureView({
  name: "all_windows",
  entities: [],
  source: purchases,
  aggregates: { n: { function: "count", windows: ["1m"] } },
});
const fields = {
  amount: { type: "float64" },
  item: { type: "int64" },
  bought_good: { type: "bool", field: "good" },
} as const;
const newest = defineFeatureView({
  name: "newest",
  entities: [{ entity: card, field: "card" }],
  source: purchases,
  ttl: "1m",
  features: fields,
});
const newestPair = defineFeatureView({
  name: "newest_pair",
  entities: [
    { entity: card, field: "card" },
    { entity: shop, field: "shop" },
  ],
  source: purchases,
  ttl: "1m",
  ladder: ["stale", "default"],
  features: { amount: { type: "float64", default: -1 } },
});

/** A number that tells lists apart, order included. */
export function fingerprint(list: readonly (bigint | string)[] | null): number {
  return list === null ? -1 : list.reduce((sum, value) => (sum * 31 + Number(value) + 1) % 65_521, list.length);
}

type Keys = readonly bigint[];
const lists = defineTransform<{ [K in "a" | "b" | "c" | "d"]: Keys }>({
  name: "lists",
  inputs: {
    a: "card_windows:recent_1m",
    b: "card_windows:recent_1h",
    c: "card_windows:top_1m",
    d: "card_windows:top_1h",
  },
  outputs: { recent_1m: "float64", recent_1h: "float64", top_1m: "float64", top_1h: "float64" },
  compute: ({ a, b, c, d }) => ({
    recent_1m: fingerprint(a),
    recent_1h: fingerprint(b),
    top_1m: fingerprint(c),
    top_1h: fingerprint(d),
  }),
});
const ratio = defineTransform<{ amount: number; mean: number; list: number }>({
  name: "ratio",
  inputs: { amount: "request:amount", mean: "card_windows:mean_1h", list: "lists:recent_1h" },
  outputs: { over: "float32", high: "bool" },
  compute: ({ amount, mean, list }) => ({
    over: amount === null || mean === null ? null : amount / mean + (list ?? 0),
    high: amount === null ? null : amount > 4,
  }),
});
const trainingSet = defineTrainingSet({
  name: "labelled",
  source: labels,
  entities: { card: "card", shop: "shop" },
  label: "label",
  extra: ["card", "shop"],
  testShare: 0.2,
});
const windowed = ["n", "good", "sum", "mean", "min", "max", "std", "last", "items"];
const references = [
  ...both.flatMap((window) => windowed.map((name) => `card_windows:${name}_${window}`)),
  ...both.flatMap((window) => [`pair_windows:n_${window}`, `pair_windows:max_${window}`]),
  "card_kinds:session_n_20s",
  "card_kinds:session_last_20s",
  ...both.flatMap((window) =>
    ["closed_n", "closed_max", "shops", "high"].map((name) => `card_kinds:${name}_${window}`),
  ),
  "all_windows:n_1m",
  "newest:amount",
  "newest:item",
  "newest:bought_good",
  "newest_pair:amount",
  "request:amount",
  "lists:recent_1m",
  "lists:recent_1h",
  "lists:top_1m",
  "lists:top_1h",
  "ratio:over",
  "ratio:high",
];
const trainer = { name: "none", parameters: {} };
const model = defineModel({ name: "first", features: references.slice(5), trainingSet, trainer, output: "score" });
const second = defineModel({ name: "second", features: references.slice(0, 9), trainingSet, trainer, output: "score" });

/** A scenario with every function and kind of window, keyed by one entity, by two and by none. */
export const scenario: Scenario = defineScenario({
  name: "market",
  description: "Purchases by card and shop.",
  request: { amount: "float64" },
  views: [ofCard, ofKinds, ofBoth, ofAll, newest, newestPair],
  transforms: [ratio, lists],
  models: [model, second],
  pipeline: defineScorePipeline({
    name: "score",
    deadlineMs: 50,
    entities: [card],
    stages: { features: { budgetMs: 10 }, scoring: { budgetMs: 10, model } },
    decisions: [{ decision: "approve", atLeast: 0 }],
    fallback: { name: "rules", rules: () => ({ score: 0, reasons: [] }) },
  }),
  examples: [],
});

/** The scenario's views, compiled. */
export const views: readonly CompiledView[] = scenario.views.map((view) => compileView(view));

/**
 * A random history on a grid of 5 s, shifted now and then by a microsecond, so that window edges, TTL edges, ties, late
 * rows, duplicates and cards without history come up all the time.
 */
export function randomHistory(
  seed: number,
  cards: number,
): { purchases: Purchase[]; labels: Labelled[]; timesUs: number[] } {
  const random = seededRandom(seed);
  const upTo = (count: number) => Math.floor(random() * count);
  const startUs = 1_700_000_000_000_000 + upTo(300) * 1e6;
  const time = () => startUs + upTo(900) * 5e6 + (random() < 0.2 ? upTo(3) - 1 : 0);
  const timesUs = Array.from(
    { length: 12 },
    () => startUs + (300 + upTo(600)) * 5e6 + (random() < 0.5 ? upTo(3) - 1 : 0),
  );
  const all: Purchase[] = [];
  const asked: Labelled[] = [];
  for (let index = 0; index < cards; index++) {
    const owner = 9_007_199_254_740_993n + BigInt(index);
    for (let count = upTo(25); count > 0; count--) {
      // Half of the events lie near a time that is asked for.
      const anchor = (timesUs[upTo(timesUs.length)] ?? 0) - upTo(30) * 5e6 + upTo(3) - 1;
      const eventUs = random() < 0.5 ? time() : anchor;
      const purchase = {
        eventUs,
        createdUs: random() < 0.3 ? eventUs + upTo(4) * 30e6 : eventUs,
        card: owner,
        shop: `s${upTo(2)}`,
        amount: random() < 0.15 ? null : upTo(40) / 4,
        item: random() < 0.1 ? null : BigInt(upTo(4)),
        good: random() < 0.1 ? null : random() < 0.5,
      };
      all.push(purchase);
      if (random() < 0.1) all.push(purchase);
      if (random() < 0.1) all.push({ ...purchase, amount: upTo(40) / 4, item: BigInt(upTo(4)) });
    }
    for (const eventUs of timesUs) {
      if (random() < 0.5) continue;
      const amount = random() < 0.1 ? null : upTo(40) / 4;
      asked.push({ eventUs, card: owner, shop: `s${upTo(2)}`, amount, label: upTo(2) });
    }
  }
  return { purchases: all, labels: asked, timesUs };
}

/** An offline store in a new folder. */
export interface OfflineFixture {
  readonly root: string;
  readonly store: OfflineStore;
  write(history: { readonly purchases: readonly Purchase[]; readonly labels: readonly Labelled[] }): Promise<void>;
  readParquet(path: string, columns: readonly ColumnSpec[]): Promise<Value[][]>;
  close(): Promise<void>;
}

export async function openOfflineFixture(): Promise<OfflineFixture> {
  const root = await mkdtemp(join(tmpdir(), "weft-training-"));
  const folder = join(root, "offline", scenario.name);
  await mkdir(folder, { recursive: true });
  const store = createDuckDbStore({
    directory: join(root, "offline"),
    temporaryDirectory: join(root, "tmp"),
    memoryBytesMax: 2 ** 30,
    threads: 2,
  });
  const lines = (header: string, rows: readonly (readonly Value[])[]) =>
    [header, ...rows.map((row) => row.map((value) => (value === null ? "" : String(value))).join(","))].join("\n");
  return {
    root,
    store,
    async write({ purchases: rows, labels: asked }) {
      const facts = rows.map((p) => [p.eventUs, p.createdUs, p.card, p.shop, p.amount, p.item, p.good]);
      await writeFile(join(folder, purchases.file), lines("at,known_at,card,shop,amount,item,good", facts));
      const spine = asked.map((row) => [row.eventUs, row.card, row.shop, row.amount, row.label]);
      await writeFile(join(folder, labels.file), lines("at,card,shop,amount,label", spine));
    },
    async readParquet(path, columns) {
      const workspace = await store.open({ scenario: scenario.name });
      const rows: Value[][] = [];
      for await (const batch of workspace.query(`SELECT * FROM read_parquet('${path}')`, columns)) {
        for (let row = 0; row < batch.count; row++) rows.push(batch.columns.map((column) => column[row] ?? null));
      }
      await workspace.close();
      return rows;
    },
    close: () => rm(root, { recursive: true, force: true }),
  };
}
