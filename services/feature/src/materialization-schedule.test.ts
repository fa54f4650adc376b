import { expect, test } from "@jest/globals";
import { defineEntity, defineFeatureView, defineSource, type Scenario } from "@weft/scenario";
import { FakeClock, settle } from "@weft/testkit";
import type { Materialization } from "./domain/materialize/materialization-catalog.ts";
import { compileView } from "./domain/views/compile-view.ts";
import { MaterializationSchedule } from "./materialization-schedule.ts";
import type { MaterializationProgress, MaterializedRelease } from "./materializer.ts";

const card = defineEntity({ name: "card", key: "int64" });
const view = (name: string, refresh?: "0s" | "10m") => {
  const source = defineSource({
    name,
    file: `${name}.csv`,
    eventTime: "time",
    fields: { card: "int64" },
    ...(refresh === undefined ? {} : { refresh }),
  });
  const aggregates = { n: { function: "count", windows: ["1h"] } } as const;
  return compileView(defineFeatureView({ name, entities: [{ entity: card, field: "card" }], source, aggregates }));
};
const views = [view("slowly"), view("often", "10m"), view("never", "0s")];
const release = (id: string): MaterializedRelease => ({
  id,
  scenario: { name: "s", views: views.map((one) => one.view) } as unknown as Scenario,
  views,
});
const minuteMs = 60_000;

function start(interrupted: readonly Materialization[] = []) {
  const clock = new FakeClock();
  const runs: string[] = [];
  const faults: unknown[] = [];
  let gate: Promise<void> = Promise.resolve();
  let failing = 0;
  let running = 0;
  const schedule = new MaterializationSchedule({
    materializer: {
      async *run(of, { views: wanted, mode }): AsyncGenerator<MaterializationProgress> {
        if (++running > 1) throw new Error("two at a time");
        runs.push(`${of.id} ${wanted.map(({ name }) => name).join("+")} ${mode}`);
        await gate;
        running--;
        if (failing-- > 0) throw new Error("no");
      },
      async resume(of, known) {
        for (const { id } of known.filter((one) => one.release === of.id)) runs.push(`${of.id} resume ${id}`);
      },
    },
    interrupted,
    clock,
    everyMs: 55 * minuteMs,
    random: () => 0.5,
    failed: (_scenario, error) => faults.push(error),
  });
  const pass = async (ms: number) => {
    await clock.advance(ms);
  };
  return {
    schedule,
    runs,
    faults,
    pass,
    hold: (until: Promise<void>) => {
      gate = until;
    },
    fail: (times: number) => {
      failing = times;
    },
  };
}

test("looks at each source an interval after its view is loaded, with jitter, and again", async () => {
  const { schedule, runs, pass } = start();
  schedule.add(release("r1"));
  await pass(10.4 * minuteMs);
  expect(runs).toEqual([]);
  await pass(0.2 * minuteMs);
  expect(runs).toEqual(["r1 often incremental"]);
  for (let minutes = 11; minutes < 60; minutes++) await pass(minuteMs);
  expect(runs.filter((run) => run.includes("slowly"))).toEqual(["r1 slowly incremental"]);
  expect(runs.filter((run) => run.includes("often"))).toHaveLength(5);
  expect(runs.some((run) => run.includes("never"))).toBe(false);
  await schedule.close();
});

test("never runs two at a time; one that takes long puts the next one off, and a failed one is tried again sooner", async () => {
  const { schedule, runs, faults, pass, hold, fail } = start();
  schedule.add(release("r1"));
  const gate = Promise.withResolvers<void>();
  hold(gate.promise);
  await pass(11 * minuteMs);
  for (let minutes = 0; minutes < 100; minutes++) await pass(minuteMs);
  expect(runs).toEqual(["r1 often incremental"]);
  gate.resolve();
  await settle();
  fail(1);
  await pass(minuteMs);
  expect(runs).toHaveLength(2);
  expect(faults).toHaveLength(1);
  // The slower view failed, and comes again after six minutes.
  for (let minutes = 0; minutes < 7; minutes++) await pass(minuteMs);
  expect(runs.filter((run) => run.includes("slowly"))).toHaveLength(2);
  await schedule.close();
});

test("a source that fails holds up no other", async () => {
  const { schedule, runs, faults, pass, fail } = start();
  schedule.add({ ...release("r1"), views: [view("first", "10m"), view("second", "10m")] });
  fail(1);
  await pass(11 * minuteMs);
  expect(runs).toEqual(["r1 first incremental", "r1 second incremental"]);
  expect(faults).toHaveLength(1);
  await schedule.close();
});

test("begins anew what a crash interrupted once its release is there; views that two releases share are looked at once", async () => {
  const { schedule, runs, pass } = start([{ id: 7, release: "r2" } as Materialization]);
  schedule.add(release("r1"));
  schedule.add(release("r2"));
  await pass(0);
  expect(runs).toEqual(["r2 resume 7"]);
  await pass(11 * minuteMs);
  expect(runs.slice(1)).toEqual(["r2 often incremental"]);
  schedule.remove(release("r1"));
  await pass(11 * minuteMs);
  expect(runs).toHaveLength(3);
  schedule.remove(release("r2"));
  for (let minutes = 0; minutes < 30; minutes++) await pass(minuteMs);
  expect(runs).toHaveLength(3);
  await schedule.close();
});
