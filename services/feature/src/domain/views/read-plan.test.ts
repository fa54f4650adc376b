import { describe, expect, test } from "@jest/globals";
import {
  defineEntity,
  defineFeatureView,
  defineSource,
  defineTransform,
  type Scenario,
  type Transform,
  type Value,
} from "@weft/scenario";
import { seededRandom } from "@weft/testkit";
import { MemoryOnlineStore } from "../../adapters/memory-online-store.ts";
import { columnTarget } from "../../columns.ts";
import { compileView } from "./compile-view.ts";
import { type EntityKey, joinKeys } from "./entity-key.ts";
import { type PlannedView, type PlanSources, ReadPlan } from "./read-plan.ts";
import { Status } from "./view-state.ts";

const user = defineEntity({ name: "user", key: "string" });
const item = defineEntity({ name: "item", key: "int64" });
const now = 1_700_000_000_000_000;

const source = (name: string, fields: Parameters<typeof defineSource>[0]["fields"]) =>
  defineSource({ name, file: `${name}.csv`, eventTime: "time", fields });
const profiles = source("profiles", { user: "string", age: "float32", city: "string" });
const events = source("events", { user: "string", item: "int64", amount: "float64" });
const prices = source("prices", { item: "int64", price: "float64", on_sale: "bool" });
const byUser = { entity: user, field: "user" };
const byItem = { entity: item, field: "item" };

const views = [
  defineFeatureView({
    name: "profile",
    entities: [byUser],
    source: profiles,
    ttl: "1d",
    features: { age: { type: "float32", default: 33 }, city: { type: "string" } },
    ladder: ["default"],
  }),
  defineFeatureView({
    name: "price",
    entities: [byItem],
    source: prices,
    features: { price: { type: "float64" }, on_sale: { type: "bool" } },
  }),
  defineFeatureView({
    name: "bought",
    entities: [byUser, byItem],
    source: events,
    aggregates: {
      n: { function: "count", windows: ["1h", "30d"] },
      mean: { function: "mean", field: "amount", windows: ["1h"] },
    },
  }),
  defineFeatureView({
    name: "all",
    entities: [],
    source: events,
    aggregates: { popular: { function: "top", field: "item", windows: ["1h"], limit: 2 } },
  }),
];

let calls = 0;
const older = defineTransform({
  name: "older",
  inputs: { age: "profile:age" },
  outputs: { years: "float64" },
  compute: ({ age }: { age: number | null }) => {
    calls++;
    return { years: age === null ? null : age + 1 };
  },
});
const worth = defineTransform({
  name: "worth",
  inputs: { price: "price:price", years: "older:years", rate: "request:rate", n: "bought:n_30d", city: "profile:city" },
  outputs: { value: "float64", known: "bool", city: "string" },
  compute: ({ price, years, rate, n, city }: Record<string, Value>) => ({
    value: price === null ? null : Number(price) * Number(rate ?? 1) + Number(years ?? 0) + Number(n ?? 0) * 1000,
    known: city !== null,
    city: city ?? null,
  }),
});

const scenarioOf = (transforms: readonly Transform[]) =>
  ({ name: "shop", transforms, request: { rate: "float64" } }) as unknown as Scenario;

async function sources(transforms: readonly Transform[] = [older, worth]) {
  const store = new MemoryOnlineStore();
  const planned: PlannedView[] = [];
  const put = async (view: string, key: EntityKey, rows: readonly (readonly [number, readonly Value[]])[]) => {
    const found = planned.find(({ compiled }) => compiled.name === view);
    if (found === undefined) throw new Error(view);
    const state = found.compiled.emptyState();
    for (const [ageUs, values] of rows) state.apply({ eventTimeUs: now - ageUs, createdTimeUs: now - ageUs, values });
    const bytes = state.encode();
    await store.write([{ view: found.handle, key, merge: () => bytes }]);
  };
  for (const view of views)
    planned.push({ compiled: compileView(view), handle: await store.openView(view.name), version: "3" });
  const plan: PlanSources = {
    scenario: scenarioOf(transforms),
    views: new Map(planned.map((v) => [v.compiled.name, v])),
  };
  for (const [name, age, old] of [
    ["ann", 20, 0],
    ["bob", 40, 2 * 86_400e6],
  ] as const)
    await put("profile", name, [[old, [name, age, name === "ann" ? "Ulm" : null]]]);
  for (const id of [1n, 2n, 3n]) await put("price", id, [[5e6, [id, Number(id) * 1.5, id === 2n]]]);
  await put("bought", joinKeys(["ann", 2n]), [
    [1e6, ["ann", 2n, 4]],
    [2e6, ["ann", 2n, 8]],
    [7_200e6, ["ann", 2n, 100]],
  ]);
  await put("all", "", [
    [1e6, ["ann", 2n, 4]],
    [2e6, ["ann", 2n, 8]],
    [3e6, ["bob", 1n, 1]],
  ]);
  return { store, plan };
}

const references = [
  "worth:value",
  "price:price",
  "profile:age",
  "bought:n_1h",
  "bought:mean_1h",
  "price:on_sale",
  "request:rate",
  "older:years",
];

function run(plan: ReadPlan, store: MemoryOnlineStore, keys: Record<string, EntityKey[]>, rates: Value[]) {
  const own = plan.acquire();
  plan.entities.forEach(({ name }, index) => {
    own.keys[index] = keys[name] ?? [];
  });
  plan.fields.forEach((_, index) => {
    own.fields[index] = rates;
  });
  own.rows = Math.max(
    1,
    plan.fields.length > 0 ? rates.length : 1,
    ...plan.entities.map((_, i) => own.keys[i]?.length ?? 1),
  );
  plan.fetch(own, store);
  return own;
}

function matrix(plan: ReadPlan, store: MemoryOnlineStore, keys: Record<string, EntityKey[]>, rates: Value[] = [1]) {
  const own = run(plan, store, keys, rates);
  const values = new Float32Array(own.rows * plan.matrixNames.length);
  const statuses = new Uint8Array(values.length);
  const summaries = plan.toMatrix(own, now, values, statuses);
  plan.release(own);
  return { values: [...values], statuses: [...statuses], summaries };
}

describe("a read plan", () => {
  test("reads views, request fields and transforms of transforms into a matrix", async () => {
    const { store, plan } = await sources();
    const { values, statuses, summaries } = matrix(
      new ReadPlan(plan, references),
      store,
      { user: ["ann"], item: [2n] },
      [10],
    );
    expect(values).toEqual([3 * 10 + 21 + 3000, 3, 20, 2, 6, 1, 10, 21]);
    expect(new Set(statuses)).toEqual(new Set([Status.Present]));
    expect(
      summaries.map(({ view, version, missingCount, maxAgeUs }) => [view, version, missingCount, maxAgeUs]),
    ).toEqual([
      ["price", "3", 0, 5e6],
      ["profile", "3", 0, 0],
      ["bought", "3", 0, 1e6],
    ]);
  });

  test("says what it did not find: NaN in the matrix, a status a value", async () => {
    const { store, plan } = await sources();
    const of = (...names: string[]) => new ReadPlan(plan, names);
    const { NotFound, Defaulted, Present, Null } = Status;
    expect(matrix(of("price:price", "price:on_sale"), store, { item: [9n] })).toMatchObject({
      values: [Number.NaN, Number.NaN],
      statuses: [NotFound, NotFound],
      summaries: [{ missingCount: 2, maxAgeUs: -1 }],
    });
    // The row is older than its TTL; the ladder has "default" and no "stale".
    expect(matrix(of("profile:age", "older:years"), store, { user: ["bob"] })).toMatchObject({
      values: [33, 34],
      statuses: [Defaulted, Present],
    });
    expect(matrix(of("bought:n_1h", "bought:mean_1h"), store, { user: ["bob"], item: [1n] })).toMatchObject({
      values: [0, Number.NaN],
      statuses: [Present, NotFound],
    });
    expect(matrix(of("worth:value", "request:rate"), store, { user: ["x"], item: [9n] }, [null])).toMatchObject({
      values: [Number.NaN, Number.NaN],
      statuses: [Null, Null],
    });
  });

  test("answers values of every type, with event times", async () => {
    const { store, plan } = await sources();
    const lists = new ReadPlan(plan, ["all:popular_1h", "profile:city", "worth:city", "bought:n_1h", "price:on_sale"]);
    expect(lists.notNumeric).toBe("all:popular_1h");
    const own = run(lists, store, { user: ["ann"], item: [2n] }, [1]);
    const targets = lists.columns.map(({ type }) => columnTarget(type, 1, true));
    lists.toColumns(own, now, targets);
    const read = targets.map(({ held, statuses, eventTimesUs = [] }) => {
      const [time = 0n] = eventTimesUs;
      return [held.list[0], statuses[0], time === 0n ? undefined : now - Number(time)];
    });
    expect(read).toEqual([
      [[2n, 1n], Status.Present, 1e6],
      ["Ulm", Status.Present, 0],
      ["Ulm", Status.Present, undefined],
      [2n, Status.Present, 1e6],
      [true, Status.Present, 5e6],
    ]);
  });

  test("a single key stands for all rows, and what depends on it alone is computed once", async () => {
    const { store, plan } = await sources();
    const own = new ReadPlan(plan, references);
    calls = 0;
    const batch = matrix(own, store, { user: ["ann"], item: [1n, 2n, 9n, 3n] }, [2]);
    expect(calls).toBe(1);
    const single = [1n, 2n, 9n, 3n].map((id) => matrix(own, store, { user: ["ann"], item: [id] }, [2]));
    expect(batch.values).toEqual(single.flatMap(({ values }) => values));
    expect(batch.statuses).toEqual(single.flatMap(({ statuses }) => statuses));
    const missing = (index: number) =>
      single.reduce((sum, { summaries }) => sum + (summaries[index]?.missingCount ?? 0), 0);
    expect(batch.summaries.map(({ missingCount }) => missingCount)).toEqual([0, 1, 2].map(missing));
  });

  test("rows read together equal rows read alone, for any mix of single and many keys", async () => {
    const { store, plan } = await sources();
    const all = ["worth:value", "worth:known", ...references];
    for (let seed = 0; seed < 300; seed++) {
      const random = seededRandom(seed);
      const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
      const names = all.filter(() => random() < 0.5);
      if (names.length === 0) continue;
      const own = new ReadPlan(plan, names);
      const rows = 1 + Math.floor(random() * 5);
      const many = <T>(list: readonly T[]) => Array.from({ length: random() < 0.5 ? 1 : rows }, () => pick(list));
      const users = many(["ann", "bob", "eve"]);
      const items = many([1n, 2n, 7n]);
      const rates = many([1, 2, null]);
      const count = matrixRows(own, users, items, rates);
      const together = matrix(own, store, { user: users, item: items }, rates);
      const alone = Array.from({ length: count }, (_, row) => {
        const at = <T>(list: readonly T[]) => [list[list.length === 1 ? 0 : row] as T];
        return matrix(own, store, { user: at(users), item: at(items) }, at(rates));
      });
      expect({ seed, values: together.values }).toEqual({ seed, values: alone.flatMap(({ values }) => values) });
      expect({ seed, statuses: together.statuses }).toEqual({
        seed,
        statuses: alone.flatMap(({ statuses }) => statuses),
      });
    }
  });

  test("reads every key of a request in one batch", async () => {
    const { store, plan } = await sources();
    let reads = 0;
    const get = store.get.bind(store);
    store.get = (batch) => {
      reads++;
      return get(batch);
    };
    matrix(new ReadPlan(plan, references), store, { user: ["ann", "bob"], item: [1n, 2n] }, [1]);
    expect(reads).toBe(1);
  });

  test("refuses references that are not there, and transforms that read each other in a circle", async () => {
    const { plan } = await sources();
    for (const reference of ["nope:a", "profile:nope", "request:nope", "worth:nope", "profile", ":", "request:"])
      expect(() => new ReadPlan(plan, [reference])).toThrow(expect.objectContaining({ reason: "FEATURE_UNKNOWN" }));
    const a = defineTransform({
      name: "a",
      inputs: { x: "b:y" },
      outputs: { x: "float64" },
      compute: () => ({ x: 1 }),
    });
    const b = defineTransform({
      name: "b",
      inputs: { x: "a:x" },
      outputs: { y: "float64" },
      compute: () => ({ y: 1 }),
    });
    const { plan: circular } = await sources([a, b]);
    expect(() => new ReadPlan(circular, ["a:x"])).toThrow(expect.objectContaining({ reason: "DEFINITION_INVALID" }));
  });

  test("a transform that throws, or answers another type, is an error with its name", async () => {
    const throws = defineTransform({
      name: "throws",
      inputs: {},
      outputs: { x: "float64" },
      compute: () => {
        throw new Error("no");
      },
    });
    const lies = defineTransform({
      name: "lies",
      inputs: {},
      outputs: { x: "float64" },
      compute: () => ({ x: "text" }),
    });
    const { store, plan } = await sources([throws, lies]);
    for (const name of ["throws", "lies"])
      expect(() => matrix(new ReadPlan(plan, [`${name}:x`]), store, {})).toThrow(
        expect.objectContaining({ reason: "TRANSFORM_FAILED", metadata: { transform: name } }),
      );
  });
});

function matrixRows(
  plan: ReadPlan,
  users: readonly unknown[],
  items: readonly unknown[],
  rates: readonly unknown[],
): number {
  const needs = (name: string) => plan.entities.some((entity) => entity.name === name);
  return Math.max(
    1,
    needs("user") ? users.length : 1,
    needs("item") ? items.length : 1,
    plan.fields.length > 0 ? rates.length : 1,
  );
}
