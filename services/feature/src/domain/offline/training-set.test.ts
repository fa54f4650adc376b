import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { isWeftError } from "@weft/errors";
import type { Scenario, Value } from "@weft/scenario";
import { type MaterializeProgress, type MaterializeTarget, materialize } from "../materialize/materialize.ts";
import type { EntityKey } from "../views/entity-key.ts";
import { joinKeys } from "../views/entity-key.ts";
import { computeTransform } from "../views/transform.ts";
import { type SourceRow, sourceFields } from "../views/view-state.ts";
import {
  fingerprint,
  type Labelled,
  type OfflineFixture,
  openOfflineFixture,
  type Purchase,
  randomHistory,
  scenario,
  views,
  windows,
} from "./offline-fixture.ts";
import type { ColumnSpec } from "./offline-store.ts";
import { buildTrainingSet, type TrainingSetProgress, type TrainingSetResult } from "./training-set.ts";

const seed = 20_252;
const cards = 1_800;

type Vector = Record<string, number>;

let fixture: OfflineFixture;
beforeAll(async () => {
  fixture = await openOfflineFixture();
});
afterAll(() => fixture.close());

async function build(more: Partial<Parameters<typeof buildTrainingSet>[0]> = {}) {
  const messages: TrainingSetProgress[] = [];
  const { store, root } = fixture;
  const options = { scenario, trainingSet: "labelled", views, store, directory: `${root}/sets`, ...more };
  for await (const message of buildTrainingSet(options)) messages.push(message);
  const result = messages.at(-1)?.result;
  if (result === undefined) throw new Error("the last message has no result");
  return { messages, result };
}

async function vectors(result: TrainingSetResult): Promise<{ row: Labelled; vector: Vector }[]> {
  const specs = result.columns.map((name): ColumnSpec => {
    if (name === "event_time") return { name, type: "count" };
    if (name === "card") return { name, type: "int64" };
    if (name === "shop") return { name, type: "string" };
    return { name, type: name === "label" ? "float64" : "float32" };
  });
  const rows = await fixture.readParquet(result.path, specs);
  return rows.map((values) => {
    const at = (name: string) => values[result.columns.indexOf(name)] ?? null;
    const amount = at("request:amount") as number;
    return {
      row: {
        eventUs: at("event_time") as number,
        label: at("label") as number,
        card: at("card") as bigint,
        shop: at("shop") as string,
        amount: Number.isNaN(amount) ? null : amount,
      },
      vector: Object.fromEntries(
        result.columns.filter((name) => name.includes(":")).map((name) => [name, Number(at(name))]),
      ),
    };
  });
}

/** What DESIGN's rules say, computed from the whole history without any of the code under test. */
function bruteForce(history: readonly Purchase[], everyone: readonly Purchase[], row: Labelled): Vector {
  const t = row.eventUs;
  const vector: Vector = {};
  const mine = history.filter(({ createdUs }) => createdUs <= t);
  for (const [name, [windowUs, slideUs]] of Object.entries(windows)) {
    const from = Math.floor((t - windowUs) / slideUs) * slideUs;
    const inside = mine.filter(({ eventUs }) => eventUs >= from && eventUs < t);
    const amounts = inside.flatMap(({ amount }) => amount ?? []);
    const mean = amounts.reduce((sum, x) => sum + x, 0) / amounts.length;
    const order = (a: Purchase, b: Purchase) => b.eventUs - a.eventUs || b.createdUs - a.createdUs;
    const withAmount = inside.filter(({ amount }) => amount !== null);
    withAmount.sort((a, b) => order(a, b) || (b.amount ?? 0) - (a.amount ?? 0));
    const withItem = inside.filter(({ item }) => item !== null);
    withItem.sort((a, b) => order(a, b) || Number(a.item) - Number(b.item));
    const items = withItem.map(({ item }) => item ?? 0n);
    const counts = new Map<bigint, number>();
    for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
    const top = [...counts].sort(([a, x], [b, y]) => y - x || Number(a - b)).map(([item]) => item);
    const recent = [...new Set(items)];
    const pair = inside.filter((purchase) => purchase.shop === row.shop);
    const end = Math.floor(t / windowUs) * windowUs;
    const closed = mine.filter(({ eventUs }) => eventUs >= end - windowUs && eventUs < end);
    const closedAmounts = closed.flatMap(({ amount }) => amount ?? []);
    const inOrder = amounts.toSorted((a, b) => a - b);
    const pairAmounts = pair.flatMap(({ amount }) => amount ?? []);
    Object.assign(vector, {
      [`card_windows:n_${name}`]: inside.length,
      [`card_windows:good_${name}`]: inside.filter(({ good }) => good === true).length,
      [`card_windows:sum_${name}`]: amounts.reduce((sum, x) => sum + x, 0),
      [`card_windows:mean_${name}`]: mean,
      [`card_windows:min_${name}`]: amounts.length === 0 ? Number.NaN : Math.min(...amounts),
      [`card_windows:max_${name}`]: amounts.length === 0 ? Number.NaN : Math.max(...amounts),
      [`card_windows:std_${name}`]: Math.sqrt(amounts.reduce((sum, x) => sum + (x - mean) ** 2, 0) / amounts.length),
      [`card_windows:last_${name}`]: withAmount[0]?.amount ?? Number.NaN,
      [`card_windows:items_${name}`]: counts.size,
      [`card_kinds:closed_n_${name}`]: closed.length,
      [`card_kinds:closed_max_${name}`]: closedAmounts.length === 0 ? Number.NaN : Math.max(...closedAmounts),
      // Of so few shops the estimate is exact.
      [`card_kinds:shops_${name}`]: new Set(inside.map(({ shop }) => shop)).size,
      [`card_kinds:high_${name}`]: inOrder[Math.floor(0.75 * (inOrder.length - 1))] ?? Number.NaN,
      [`pair_windows:n_${name}`]: pair.length,
      [`pair_windows:max_${name}`]: pairAmounts.length === 0 ? -1 : Math.max(...pairAmounts),
      [`lists:recent_${name}`]: fingerprint(recent.slice(0, 2)),
      [`lists:top_${name}`]: fingerprint(top.slice(0, 2)),
    });
  }
  const session = sessionOf(mine, t);
  const lastOf = session
    .filter(({ amount }) => amount !== null)
    .sort((a, b) => b.eventUs - a.eventUs || b.createdUs - a.createdUs || (b.amount ?? 0) - (a.amount ?? 0))[0];
  vector["card_kinds:session_n_20s"] = session.length;
  vector["card_kinds:session_last_20s"] = lastOf?.amount ?? Number.NaN;
  const fromAll = Math.floor((t - 60e6) / 5e6) * 5e6;
  vector["all_windows:n_1m"] = everyone.filter(
    (one) => one.createdUs <= t && one.eventUs >= fromAll && one.eventUs < t,
  ).length;
  const asOf = (rows: readonly Purchase[]) =>
    [...rows]
      .filter(({ eventUs }) => eventUs <= t)
      .sort(
        (a, b) =>
          b.eventUs - a.eventUs ||
          b.createdUs - a.createdUs ||
          compare(b.amount, a.amount) ||
          compare(b.item, a.item) ||
          compare(b.good, a.good),
      )[0];
  const newest = asOf(mine);
  const fresh = newest !== undefined && newest.eventUs >= t - 60e6 ? newest : undefined;
  vector["newest:amount"] = fresh?.amount ?? Number.NaN;
  vector["newest:item"] = fresh === undefined || fresh.item === null ? Number.NaN : Number(fresh.item);
  vector["newest:bought_good"] = fresh === undefined || fresh.good === null ? Number.NaN : Number(fresh.good);
  vector["newest_pair:amount"] = asOf(mine.filter(({ shop }) => shop === row.shop))?.amount ?? -1;
  vector["request:amount"] = row.amount ?? Number.NaN;
  const mean = vector["card_windows:mean_1h"] ?? Number.NaN;
  const over = row.amount === null ? Number.NaN : row.amount / mean + (vector["lists:recent_1h"] ?? 0);
  vector["ratio:over"] = Number.isFinite(over) ? over : Number.NaN;
  vector["ratio:high"] = row.amount === null ? Number.NaN : Number(row.amount > 4);
  return vector;
}

/** The events of the session of 20 s that runs at t, of at most 2,048 slides of 5 s. */
function sessionOf(known: readonly Purchase[], t: number): Purchase[] {
  const from = Math.floor((t - 2_048 * 5e6) / 5e6) * 5e6;
  const before = known.filter(({ eventUs }) => eventUs < t && eventUs >= from).sort((a, b) => b.eventUs - a.eventUs);
  const end = before.findIndex(({ eventUs }, index) => (before[index - 1]?.eventUs ?? t) - eventUs > 20e6);
  return end < 0 ? before : before.slice(0, end);
}

function compare(a: number | bigint | boolean | null, b: number | bigint | boolean | null): number {
  if (a === b) return 0;
  if (a === null) return -1;
  return b === null || a > b ? 1 : -1;
}

function difference(actual: Vector, expected: Vector): string[] {
  return Object.keys(actual).filter((name) => {
    const [a, b] = [actual[name] ?? Number.NaN, Math.fround(expected[name] ?? Number.NaN)];
    // The oracle's own standard deviation rounds; the one under test does not.
    if (name.includes(":std_"))
      return !(Math.abs(a - b) <= 1e-6 * Math.abs(b) + 1e-7 || (Number.isNaN(a) && Number.isNaN(b)));
    if (name.includes(":high_")) return !(Math.abs(a - b) <= Math.abs(b) / 128 || (Number.isNaN(a) && Number.isNaN(b)));
    return !Object.is(a + 0, b + 0);
  });
}

describe("training set", () => {
  test(`equals brute force over the whole history: over 10,000 rows of every feature (seed ${seed})`, async () => {
    const history = randomHistory(seed, cards);
    await fixture.write(history);
    const { result, messages } = await build();
    const rows = await vectors(result);
    expect(rows.length).toBe(history.labels.length);
    expect(rows.length).toBeGreaterThan(10_000);
    expect(result.rows).toBe(rows.length);
    const byCard = new Map<bigint, Purchase[]>();
    for (const purchase of history.purchases)
      byCard.set(purchase.card, [...(byCard.get(purchase.card) ?? []), purchase]);
    const all = new Map<number, number>();
    for (const { row, vector } of rows) {
      const everyone = all.has(row.eventUs) ? [] : history.purchases;
      const expected = bruteForce(byCard.get(row.card) ?? [], everyone, row);
      if (everyone.length > 0) all.set(row.eventUs, expected["all_windows:n_1m"] ?? 0);
      expected["all_windows:n_1m"] = all.get(row.eventUs) ?? Number.NaN;
      const wrong = difference(vector, expected);
      if (wrong.length > 0) {
        const found = wrong.map((name) => `${name}: ${vector[name]}, expected ${expected[name]}`);
        throw new Error(`seed ${seed}, card ${row.card} at ${row.eventUs}: ${found.join("; ")}`);
      }
    }
    const shares = messages.map(({ rows: done }) => done);
    expect(shares).toEqual([...shares].sort((a, b) => a - b));
    expect(messages.at(-1)?.rows).toBe(rows.length);
    const kept = rows.filter(({ row }) => row.eventUs >= (result.testFromUs ?? 0)).length;
    expect(kept).toBeGreaterThanOrEqual(Math.floor(rows.length * 0.2));
    expect(rows.filter(({ row }) => row.eventUs > (result.testFromUs ?? 0)).length).toBeLessThan(rows.length * 0.2);
  });

  test(`gives the bits that materialization and online reads give (seed ${seed})`, async () => {
    const history = randomHistory(seed + 1, 300);
    await fixture.write(history);
    const rows = await vectors((await build()).result);
    let compared = 0;
    for (const timeUs of history.timesUs) {
      const states = await materialized(timeUs);
      for (const { row, vector } of rows.filter(({ row: { eventUs } }) => eventUs === timeUs)) {
        const served = serve(states, row);
        for (const name of Object.keys(vector)) {
          if (!Object.is(vector[name], Math.fround(Number(served[name] ?? Number.NaN)))) {
            throw new Error(
              `seed ${seed + 1}, card ${row.card} at ${timeUs}: ${name} is ${vector[name]} offline, ${served[name]} online`,
            );
          }
          compared++;
        }
      }
    }
    expect(compared).toBeGreaterThan(40_000);
  });

  test("has one content hash for one content, however the rows are stored or came in", async () => {
    const history = randomHistory(seed + 2, 60);
    await fixture.write(history);
    const first = await build();
    const reversed = { purchases: [...history.purchases].reverse(), labels: [...history.labels].reverse() };
    await fixture.write(reversed);
    const second = await build();
    expect(second.result).toEqual(first.result);
    expect(second.result.contentHash).toMatch(/^[0-9a-f]{64}$/);

    const half = history.purchases.length >> 1;
    await fixture.write({ ...history, purchases: history.purchases.slice(0, half) });
    const third = await build();
    expect(third.result.contentHash).not.toBe(first.result.contentHash);
    const pushed = await build({
      pushed: async function* ({ name }) {
        if (name === "purchases") yield { rows: history.purchases.slice(half).map(sourceRow), receivedUs: 0 };
      },
    });
    expect(pushed.result.contentHash).toBe(first.result.contentHash);
  });

  test("takes the rows of a range", async () => {
    const history = randomHistory(seed + 3, 40);
    await fixture.write(history);
    const [startUs = 0, , , endUs = 0] = [...history.timesUs].sort((a, b) => a - b);
    const rows = await vectors((await build({ startUs, endUs })).result);
    expect(rows.length).toBe(history.labels.filter(({ eventUs }) => eventUs >= startUs && eventUs < endUs).length);
    expect(rows.length).toBeGreaterThan(0);
    const empty = await build({ startUs: 1, endUs: 2 });
    expect(empty.result).toMatchObject({ rows: 0, testFromUs: undefined });
    expect(await vectors(empty.result)).toEqual([]);
  });

  test("says what cannot be built", async () => {
    const reasons: string[] = [];
    const [first] = scenario.models;
    if (first === undefined) throw new Error("the scenario has no model");
    const withFeature = (feature: string): Scenario => ({ ...scenario, models: [{ ...first, features: [feature] }] });
    const attempts: Partial<Parameters<typeof buildTrainingSet>[0]>[] = [
      { trainingSet: "other" },
      { startUs: 5, endUs: 5 },
      { scenario: withFeature("newest:colour") },
      { scenario: withFeature("request:colour") },
      { scenario: { ...scenario, models: [{ ...first, trainingSet: { ...first.trainingSet, entities: {} } }] } },
      { scenario: { ...scenario, models: [{ ...first, trainingSet: { ...first.trainingSet, label: "none" } }] } },
    ];
    for (const attempt of attempts) {
      const error: unknown = await build(attempt).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      reasons.push(isWeftError(error) ? error.reason : String(error));
    }
    expect(reasons).toEqual([
      "TRAINING_SET_UNKNOWN",
      "TRAINING_SET_RANGE",
      "TRAINING_SET_INVALID",
      "TRAINING_SET_INVALID",
      "TRAINING_SET_INVALID",
      "TRAINING_SET_INVALID",
    ]);
  });
});

describe("materialization", () => {
  test("writes the same bytes whatever the order of the rows, reports progress, and reads late rows by created time", async () => {
    const history = randomHistory(seed + 4, 80);
    await fixture.write(history);
    const messages: MaterializeProgress[] = [];
    const first = await materialized(undefined, messages);
    const owners = new Set(history.purchases.map(({ card }) => card)).size;
    const pairs = new Set(history.purchases.map(({ card, shop }) => `${card}/${shop}`)).size;
    const last = messages.at(-1);
    expect(last).toMatchObject({
      view: "",
      rowsRead: history.purchases.length * views.length,
      rowsTotal: history.purchases.length * views.length,
      entitiesWritten: 3 * owners + 2 * pairs + 1,
      done: true,
    });
    await fixture.write({ ...history, purchases: [...history.purchases].reverse() });
    const second = await materialized(undefined);
    expect([...second.keys()].sort()).toEqual([...first.keys()].sort());
    for (const [key, bytes] of first) expect(Buffer.from(second.get(key) ?? []).equals(bytes)).toBe(true);

    const endUs = history.timesUs[0] ?? 0;
    const known = history.purchases.filter(({ createdUs }) => createdUs <= endUs);
    await fixture.write({ ...history, purchases: known });
    const expected = await materialized(undefined);
    await fixture.write(history);
    const limited = await materialized(endUs);
    expect(limited).toEqual(expected);
  });
});

function sourceRow(purchase: Purchase): SourceRow {
  const { eventUs, createdUs, ...rest } = purchase;
  const values = sourceFields(scenario.views[0]?.source ?? failed()).map(({ name }) => rest[name as keyof typeof rest]);
  return { eventTimeUs: eventUs, createdTimeUs: createdUs, values };
}

function failed(): never {
  throw new Error("the scenario has no view");
}

async function materialized(
  endUs: number | undefined,
  messages: MaterializeProgress[] = [],
): Promise<Map<string, Uint8Array>> {
  const states = new Map<string, Uint8Array>();
  let published = false;
  const target: MaterializeTarget = {
    watermark: () => undefined,
    beginCopy: () => Promise.reject(new Error("nothing is there to copy")),
    begin: async (view) => ({
      async write(entries) {
        for (const { key, state } of entries) states.set(`${view.name}/${key}`, state);
      },
    }),
    async publish() {
      published = true;
      return () => 2;
    },
  };
  for await (const message of materialize({ scenario: scenario.name, views, store: fixture.store, target, endUs })) {
    messages.push(message);
  }
  expect(published).toBe(true);
  return states;
}

/** Reads as serving does: packed state, reading, transforms. */
function serve(states: ReadonlyMap<string, Uint8Array>, row: Labelled): Record<string, Value> {
  const values: Record<string, Value> = { "request:amount": row.amount };
  const keys: Record<string, EntityKey> = { card: row.card, shop: row.shop };
  for (const view of views) {
    const key = joinKeys(view.view.entities.map(({ entity }) => keys[entity.name] ?? ""));
    const bytes = states.get(`${view.name}/${key}`);
    const reading = view.createReading();
    view.read(bytes === undefined ? undefined : view.decode(bytes), row.eventUs, reading);
    for (const [index, { name }] of reading.features.entries()) values[`${view.name}:${name}`] = reading.value(index);
  }
  for (const name of ["lists", "ratio"]) {
    const transform = scenario.transforms.find((candidate) => candidate.name === name);
    if (transform === undefined) continue;
    const inputs = Object.fromEntries(
      Object.entries(transform.inputs).map(([local, from]) => [local, values[from] ?? null]),
    );
    for (const [output, value] of Object.entries(computeTransform(transform, inputs)))
      values[`${name}:${output}`] = value;
  }
  return values;
}
