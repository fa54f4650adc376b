import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { afterAll, describe, expect, test } from "@jest/globals";
import { feature } from "@weft/contracts";
import { CallScope } from "@weft/rpc";
import {
  defineEntity,
  defineFeatureView,
  defineSource,
  type Expectation,
  type RowExpectation,
  type Scenario,
  type Value,
} from "@weft/scenario";
import { seededRandom } from "@weft/testkit";
import { createDuckDbStore } from "./adapters/duckdb.ts";
import { MemoryOnlineStore } from "./adapters/memory-online-store.ts";
import { SqliteEventLog } from "./adapters/sqlite-event-log.ts";
import { Ingest } from "./domain/ingest/ingest.ts";
import { RowChecks } from "./domain/ingest/row-checks.ts";
import { violationSql } from "./domain/materialize/validation-sql.ts";
import { ReadBatch } from "./domain/online/online-store.ts";
import { compileView } from "./domain/views/compile-view.ts";
import { viewId } from "./domain/views/feature-release.ts";
import { openMaterialization, openPushExpectations } from "./materialization-fixture.ts";

const root = mkdtempSync(join(tmpdir(), "weft-validation-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const folder = join(root, "offline", "s");
mkdirSync(folder, { recursive: true });
const offline = createDuckDbStore({
  directory: join(root, "offline"),
  temporaryDirectory: join(root, "temporary"),
  memoryBytesMax: 1 << 28,
  threads: 1,
});

const card = defineEntity({ name: "card", key: "int64" });
const fields = { card: "int64", amount: "float64", small: "float32", kind: "string", good: "bool" } as const;
const nowUs = 1_700_000_000_000_000;

function sourceWith(expectations: readonly Expectation[]) {
  return defineSource({
    name: "payments",
    file: "payments.csv",
    eventTime: "time",
    createdTime: "known",
    fields,
    expectations,
  });
}

type Row = readonly [time: number, known: number, card: bigint, amount: number | null, kind: string | null];
const write = (rows: readonly Row[]) =>
  writeFileSync(
    join(folder, "payments.csv"),
    `time,known,card,amount,small,kind,good\n${rows.map(([time, known, key, amount, kind]) => `${nowUs + time},${nowUs + known},${key},${amount ?? ""},0.5,${kind ?? ""},true`).join("\n")}\n`,
  );

async function start(expectations: readonly Expectation[]) {
  const source = sourceWith(expectations);
  const entities = [{ entity: card, field: "card" }];
  const compiled = compileView(
    defineFeatureView({ name: "newest", entities, source, features: { amount: { type: "float64" } } }),
  );
  const scenario = { name: "s", views: [compiled.view] } as unknown as Scenario;
  const store = new MemoryOnlineStore();
  const log = SqliteEventLog.open({ path: ":memory:", sizeMaxBytes: 1 << 24 });
  const ignore = () => undefined;
  const observer = { accepted: ignore, skipped: ignore, corrupt: ignore, behind: ignore };
  const ingest = new Ingest(log, store, observer, { queueRowsMax: 1_000 });
  const handle = await store.openView(viewId("s", "newest", compiled.digest));
  await ingest.addViews([{ scenario: "s", compiled, handle }]);
  const release = () => ({ id: "r1", scenario, views: [compiled] });
  const opened = openMaterialization({ release, offline, store, ingest });
  const context = () => new CallScope({ release: "r1" });
  return {
    source,
    compiled,
    ...opened,
    async materialize(mode = feature.MaterializeMode.FULL) {
      const request = create(feature.MaterializeRequestSchema, { scenario: "s", mode });
      for await (const _ of opened.handlers.materialize(request, context()));
    },
    report: async () =>
      opened.handlers.getValidationReport(
        create(feature.GetValidationReportRequestSchema, { scenario: "s" }),
        context(),
      ),
    amount(key: bigint): Value {
      const batch = new ReadBatch();
      batch.add(handle, key);
      store.get(batch);
      const reading = compiled.createReading();
      const stored = batch.values[0];
      compiled.read(stored === undefined ? undefined : compiled.decode(stored.bytes), 2 ** 52, reading);
      return reading.value(0);
    },
  };
}

const results = (report: Awaited<ReturnType<Awaited<ReturnType<typeof start>>["report"]>>) =>
  report.results?.map(({ expectation, met, violations, observed }) => [expectation, met, violations, observed]);

describe("expectations at materialization", () => {
  test("a batch that must be rejected is not published, and the generation before goes on serving", async () => {
    const service = await start([
      { expect: "between", field: "amount", min: 0, max: 100, policy: "reject" },
      { expect: "null_rate", field: "kind", max: 0.5, policy: "warn" },
    ]);
    write([[0, 0, 1n, 5, "a"]]);
    await service.materialize();
    expect(service.amount(1n)).toBe(5);
    expect((await service.report()).rejected).toBe(false);
    write([
      [0, 0, 1n, 7, null],
      [1, 1, 2n, 101, null],
      [1, 1, 3n, -1, "a"],
      [1, 1, 4n, null, null],
    ]);
    for (const mode of [feature.MaterializeMode.FULL, feature.MaterializeMode.INCREMENTAL])
      await expect(service.materialize(mode)).rejects.toMatchObject({
        reason: "EXPECTATION_NOT_MET",
        message:
          'source "payments": expected amount between 0 and 100; 2 of 4 rows do not (50.00 %); readers keep what they have',
      });
    expect([service.amount(1n), service.amount(2n)]).toEqual([5, null]);
    const report = await service.report();
    expect(report).toMatchObject({ rejected: true, materializationId: 3n });
    expect(results(report)).toEqual([
      ["columns have their declared types", true, 0n, "5 columns"],
      ["amount between 0 and 100", false, 2n, "2 of 4 rows do not (50.00 %)"],
      ["null rate of kind at most 0.5", false, 0n, "null rate 0.7500"],
    ]);
    expect(service.catalog.list("s", 1)).toMatchObject([{ state: "failed" }]);
    write([[0, 0, 1n, 8, "a"]]);
    await service.materialize();
    expect(service.amount(1n)).toBe(8);
  });

  test("rows that are set aside count nowhere: neither online nor in what training reads; those warned of do", async () => {
    const expectations: readonly Expectation[] = [
      { expect: "between", field: "amount", min: 0, policy: "quarantine" },
      { expect: "in_set", field: "kind", values: ["a", "it's"], policy: "warn" },
    ];
    write([
      [0, 0, 1n, 5, "a"],
      [9, 9, 1n, -5, "a"],
      [0, 0, 2n, 6, "b"],
      [0, 0, 3n, null, "it's"],
    ]);
    const service = await start(expectations);
    await service.materialize();
    expect([service.amount(1n), service.amount(2n), service.amount(3n)]).toEqual([5, 6, null]);
    expect(results(await service.report())).toEqual([
      ["columns have their declared types", true, 0n, "5 columns"],
      ["amount at least 0", false, 1n, "1 of 4 rows do not (25.00 %)"],
      ["kind in {a, it's}", false, 1n, "1 of 4 rows do not (25.00 %)"],
    ]);
    const workspace = await offline.open({ scenario: "s" });
    expect((await workspace.load(service.source)).rowCount).toBe(3);
    await workspace.close();
    // What is set aside decides what is stored: another rule, another state.
    const other = await start([{ ...expectations[0], min: 1 } as Expectation]);
    const none = await start([]);
    const warned = await start([{ ...expectations[0], policy: "warn" } as Expectation]);
    expect(other.compiled.digest).not.toBe(service.compiled.digest);
    expect(none.compiled.digest).not.toBe(service.compiled.digest);
    expect(warned.compiled.digest).toBe(none.compiled.digest);
    await expect(none.report()).rejects.toMatchObject({ reason: "REPORT_UNKNOWN" });
  });

  test("an increment is checked by what is new in it", async () => {
    const service = await start([
      { expect: "not_null", field: "amount", policy: "reject" },
      { expect: "between", field: "amount", max: 50, policy: "quarantine" },
      { expect: "row_count", min: 1, max: 3, policy: "reject" },
    ]);
    const first: Row[] = [
      [0, 0, 1n, 1, "a"],
      [1, 1, 2n, 2, "a"],
    ];
    write(first);
    await service.materialize(feature.MaterializeMode.INCREMENTAL);
    write([...first, [2, 2, 1n, 3, "a"], [3, 3, 1n, 99, "a"], [2, 2, 3n, 4, "a"]]);
    await service.materialize(feature.MaterializeMode.INCREMENTAL);
    expect([service.amount(1n), service.amount(3n)]).toEqual([3, 4]);
    expect(results(await service.report())?.slice(1)).toEqual([
      ["amount not null", true, 0n, "0 of 3 rows do not (0.00 %)"],
      ["amount at most 50", false, 1n, "1 of 3 rows do not (33.33 %)"],
      ["row count between 1 and 3", true, 0n, "2 rows"],
    ]);
  });

  test("a source that nothing comes from any more is not fresh, though nothing in it changed", async () => {
    const service = await start([
      { expect: "freshness", maxAge: "1h", policy: "reject" },
      { expect: "row_count", min: 1, policy: "warn" },
    ]);
    write([[0, 0, 1n, 1, "a"]]);
    service.clock.nowUs = nowUs + 1_800e6;
    await service.materialize(feature.MaterializeMode.INCREMENTAL);
    service.clock.nowUs = nowUs + 7_300e6;
    await expect(service.materialize(feature.MaterializeMode.INCREMENTAL)).rejects.toMatchObject({
      message: expect.stringContaining("expected newest event at most 1h old; newest event 2 h old"),
    });
    expect(service.amount(1n)).toBe(1);
  });

  test("uniqueness, freshness and counts are judged over the batch", async () => {
    const service = await start([
      { expect: "unique", fields: ["card"], policy: "warn" },
      { expect: "unique", fields: ["card", "kind"], policy: "warn" },
      { expect: "freshness", maxAge: "1h", policy: "warn" },
      { expect: "row_count", max: 2, policy: "warn" },
      { expect: "not_null", field: "kind", policy: "warn" },
    ]);
    write([
      [0, 0, 1n, 1, "a"],
      [0, 0, 1n, 1, "b"],
      [0, 0, 2n, 1, null],
    ]);
    await service.materialize();
    // The fixture's clock stands near 1970: no event is old.
    expect(results(await service.report())?.slice(1)).toEqual([
      ["card unique", false, 0n, "1 rows repeat another"],
      ["card, kind unique", true, 0n, "0 rows repeat another"],
      ["newest event at most 1h old", true, 0n, "newest event 0 s old"],
      ["row count at most 2", false, 0n, "3 rows"],
      ["kind not null", false, 1n, "1 of 3 rows do not (33.33 %)"],
    ]);
  });
});

describe("expectations on distributions", () => {
  test("compare with what the release was first materialized from, and let chance pass", async () => {
    const seed = 12;
    const random = seededRandom(seed);
    const service = await start([
      { expect: "distribution", field: "amount", policy: "reject" },
      { expect: "distribution", field: "kind", maxPsi: 0.1, policy: "warn" },
      { expect: "distribution", field: "good", policy: "warn" },
    ]);
    const drawn = (count: number, from: number, shift: number, kinds: readonly (string | null)[]): Row[] =>
      Array.from({ length: count }, (_, at): Row => {
        const amount = random() < 0.1 ? null : shift + random() + random() + random();
        return [from + at, from + at, BigInt(at), amount, kinds[Math.floor(random() * kinds.length)] ?? null];
      });
    const observed = async () =>
      (await service.report()).results?.slice(1).map(({ met, observed: text }) => [met, text]);
    const first = drawn(3_000, 0, 0, ["a", "a", "b", null]);
    write(first);
    await service.materialize();
    expect(await observed()).toEqual(Array(3).fill([true, "nothing to compare with yet"]));
    // The same again, few of the same, and others.
    await service.materialize();
    expect(await observed()).toEqual(Array(3).fill([true, "PSI 0.000 against 3000 rows"]));
    const few = drawn(40, 3_000, 0, ["a", "a", "b", null]);
    write([...first, ...few]);
    await service.materialize(feature.MaterializeMode.INCREMENTAL);
    expect((await observed())?.map(([met]) => met)).toEqual([true, true, true]);
    const otherKinds = drawn(500, 4_000, 0, ["b", "c", "b", null]);
    write([...first, ...few, ...otherKinds]);
    await service.materialize(feature.MaterializeMode.INCREMENTAL);
    expect((await observed())?.map(([met]) => met)).toEqual([true, false, true]);
    write([...first, ...few, ...otherKinds, ...drawn(500, 5_000, 0.8, ["a", "a", "b", null])]);
    await expect(service.materialize(feature.MaterializeMode.INCREMENTAL)).rejects.toMatchObject({
      reason: "EXPECTATION_NOT_MET",
      message: expect.stringContaining("expected amount distributed as before, PSI at most 0.2; PSI"),
    });
    expect({ seed, met: (await observed())?.map(([met]) => met) }).toEqual({ seed, met: [false, true, true] });
  });
});

describe("expectations at ingestion", () => {
  const push = (rows: readonly (readonly [bigint, number | null, string | null])[], requestId = "r") => ({
    scenario: "s",
    source: "payments",
    requestId,
    receivedUs: nowUs,
    fields: Object.keys(fields),
    rows: rows.map(([key, amount, kind]) => ({
      eventTimeUs: nowUs,
      createdTimeUs: nowUs,
      values: [key, amount, 0.5, kind, true],
    })),
  });

  test("a row to reject refuses the push, naming field and row; rows to set aside go to quarantine once", async () => {
    const source = sourceWith([
      { expect: "between", field: "amount", min: 0, max: 10, policy: "reject" },
      { expect: "in_set", field: "kind", values: ["a"], policy: "quarantine" },
      { expect: "not_null", field: "kind", policy: "warn" },
    ]);
    const { quarantine, expectations } = openPushExpectations();
    const bad = push([
      [1n, 5, "a"],
      [2n, 11, "b"],
      [3n, -1, "a"],
    ]);
    await expect(expectations.apply(bad, source)).rejects.toMatchObject({
      reason: "ROWS_UNEXPECTED",
      message:
        'source "payments" expects otherwise: row 1: expected amount between 0 and 10, and 1 more; nothing of this request was kept',
      violations: [
        { field: "columns.amount[1]", description: "row 1: expected amount between 0 and 10" },
        { field: "columns.amount[2]", description: "row 2: expected amount between 0 and 10" },
      ],
    });
    expect(await quarantine.summarize("s")).toEqual([]);
    const mixed = push([
      [1n, 5, "a"],
      [2n, 6, "b"],
      [3n, null, null],
    ]);
    for (let time = 0; time < 2; time++) {
      const { events, quarantinedCount } = await expectations.apply(mixed, source);
      expect(quarantinedCount).toBe(1);
      expect(events.rows.map(({ values }) => values[0])).toEqual([1n, 3n]);
    }
    expect(await quarantine.summarize("s")).toMatchObject([
      { source: "payments", reason: "EXPECTATION_NOT_MET", count: 1 },
    ]);
    const [event] = await quarantine.list({ scenario: "s", source: "payments" }, 0, 10);
    expect(event).toMatchObject({ detail: "expected kind in {a}", origin: "push/r/1", content: { kind: "row" } });
    const all = push([[1n, 1, "a"]]);
    expect((await expectations.apply(all, sourceWith([]))).events).toBe(all);
  });

  test("rows are judged alike when they are pushed and when they are materialized", async () => {
    const seed = 77;
    const random = seededRandom(seed);
    const pick = <T>(...of: readonly T[]): T => of[Math.floor(random() * of.length)] as T;
    const rows = Array.from({ length: 400 }, () => ({
      card: pick(0n, -1n, 1n, 9_007_199_254_740_993n, 9_007_199_254_740_992n, null),
      amount: pick(0, 0.1, 0.30000000000000004, 0.3, -1e-9, 1e21, 5, null),
      small: pick(0.1, 0.25, 0.5, 3, null),
      kind: pick("a", "b", "it's", "A", null),
      good: pick(true, false, null),
    }));
    const checks: RowExpectation[] = [
      { expect: "not_null", field: "amount", policy: "warn" },
      { expect: "between", field: "amount", min: 0, max: 0.3, policy: "warn" },
      { expect: "between", field: "amount", max: 1e20, policy: "warn" },
      { expect: "between", field: "small", min: 0.1, max: 0.5, policy: "warn" },
      { expect: "between", field: "small", max: 0.1, policy: "warn" },
      { expect: "between", field: "card", min: 0, max: 9_007_199_254_740_992n, policy: "warn" },
      { expect: "in_set", field: "card", values: [1, 9_007_199_254_740_993n], policy: "warn" },
      { expect: "in_set", field: "card", values: [0, 1], policy: "warn" },
      { expect: "in_set", field: "amount", values: [0.1, 5, 0], policy: "warn" },
      { expect: "in_set", field: "kind", values: ["it's", "b"], policy: "warn" },
      { expect: "in_set", field: "good", values: [true], policy: "warn" },
    ];
    const source = sourceWith(checks);
    const workspace = await offline.open({ scenario: "s" });
    writeFileSync(
      join(folder, "payments.csv"),
      `time,known,card,amount,small,kind,good\n${rows.map((row, at) => `${nowUs + at},${nowUs},${row.card ?? ""},${row.amount ?? ""},${row.small ?? ""},${row.kind ?? ""},${row.good ?? ""}`).join("\n")}\n`,
    );
    const { table } = await workspace.load(source);
    for (const check of checks) {
      const pushed = rows.map((row) => ({
        eventTimeUs: nowUs,
        createdTimeUs: nowUs,
        // A float32 column of a push holds 32 bits.
        values: [row.card, row.amount, row.small === null ? null : Math.fround(row.small), row.kind, row.good],
      }));
      const expected = new RowChecks(sourceWith([check])).check(pushed).warned.map(({ row }) => row);
      const found: number[] = [];
      const sql = `SELECT event_us FROM ${table} WHERE ${violationSql(source, check)} ORDER BY event_us`;
      for await (const { columns } of workspace.query(sql, [{ name: "event_us", type: "count" }]))
        found.push(...(columns[0] ?? []).map((time) => Number(time) - nowUs));
      expect({ seed, check: violationSql(source, check), found }).toEqual({
        seed,
        check: violationSql(source, check),
        found: expected,
      });
      expect(expected.length).toBeGreaterThan(0);
    }
    await workspace.close();
  });
});
