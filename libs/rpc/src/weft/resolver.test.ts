import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { FakeClock, settle } from "@weft/repeatable";
import { addressId, Resolver } from "./resolver.ts";
import { parseTarget } from "./target.ts";

let timers: FakeClock;
let names: Map<string, readonly string[] | Error>;
let lookups: string[];
let seen: string[];
let resolver: Resolver;

beforeEach(() => {
  timers = new FakeClock(0);
  names = new Map();
  lookups = [];
  seen = [];
});
afterEach(() => resolver.close());

function start(target: string): void {
  resolver = new Resolver(
    parseTarget(target).addresses,
    {
      refreshMs: 30_000,
      gapMs: 1_000,
      backoff: { firstMs: 100, maxMs: 2_000 },
      timers,
      random: () => 0.5,
      async lookUp(host) {
        lookups.push(host);
        const found = names.get(host) ?? new Error(`${host} is unknown`);
        if (found instanceof Error) throw found;
        return found;
      },
    },
    {
      resolved: (addresses) => seen.push(addresses.map(({ host, port }) => addressId(host, port)).join(" ")),
      failed: (error) => seen.push(`failed: ${error.message}`),
    },
  );
  resolver.resolve();
}

test("addresses are taken as they are, once", async () => {
  start("ipv4:10.0.0.1:5,10.0.0.2:6,10.0.0.1:5");
  await settle();
  resolver.resolve();
  await timers.advance(3_600_000);
  expect(seen).toEqual(["10.0.0.1:5 10.0.0.2:6"]);
  expect([lookups, timers.dueMs()]).toEqual([[], []]);
});

test("names are resolved again now and then", async () => {
  names.set("a", ["10.0.0.1", "::1"]);
  names.set("b", ["10.0.0.3", "10.0.0.1"]);
  start("a:5,b:5");
  await settle();
  names.set("a", ["10.0.0.2"]);
  await timers.advance(30_000);
  expect(seen).toEqual(["10.0.0.1:5 [::1]:5 10.0.0.3:5", "10.0.0.2:5 10.0.0.3:5 10.0.0.1:5"]);
});

test("asking often resolves no more often than the gap allows", async () => {
  names.set("a", ["10.0.0.1"]);
  start("a:5");
  for (let step = 0; step < 100; step++) {
    resolver.resolve();
    await timers.advance(50);
  }
  expect(lookups.length).toBeLessThanOrEqual(6);
  expect(lookups.length).toBeGreaterThanOrEqual(5);
});

test("a name that cannot be resolved is tried again, ever later, and what it had is kept", async () => {
  start("a:5");
  await settle();
  expect(seen).toEqual(["failed: a is unknown"]);
  const times: number[] = [];
  for (let attempt = 0; attempt < 9; attempt++) {
    const due = timers.dueMs()[0] ?? 0;
    times.push(Math.round(due - timers.nowMs()));
    await timers.advance(due - timers.nowMs());
  }
  expect(times).toEqual([100, 160, 256, 410, 655, 1_049, 1_678, 2_000, 2_000]);
  names.set("a", ["10.0.0.1"]);
  await timers.advance(2_000);
  names.set("a", new Error("the server is gone"));
  await timers.advance(60_000);
  expect(seen.at(-1)).toBe("10.0.0.1:5");
  names.set("a", ["10.0.0.9"]);
  await timers.advance(30_000);
  expect(seen.at(-1)).toBe("10.0.0.9:5");
});

test("of several names those that resolve are used", async () => {
  names.set("b", ["10.0.0.2"]);
  start("a:5,b:6");
  await settle();
  expect(seen).toEqual(["10.0.0.2:6"]);
  names.set("a", ["10.0.0.1"]);
  await timers.advance(200);
  expect(seen.at(-1)).toBe("10.0.0.1:5 10.0.0.2:6");
});

test("one name with very many addresses is cut", async () => {
  names.set(
    "a",
    Array.from({ length: 5_000 }, (_, index) => `10.1.${index >> 8}.${index & 255}`),
  );
  start("a:5");
  await settle();
  expect(seen[0]?.split(" ").length).toBe(1_000);
});

test("nothing runs after the end", async () => {
  names.set("a", ["10.0.0.1"]);
  start("a:5");
  resolver.close();
  await timers.advance(120_000);
  expect([seen, timers.dueMs()]).toEqual([[], []]);
});
