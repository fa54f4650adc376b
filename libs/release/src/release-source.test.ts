import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { registry } from "@weft/contracts";
import type { CallOptions } from "@weft/rpc";
import { FakeClock, quietTelemetry, settle } from "@weft/testkit";
import { backoffMs } from "./backoff.ts";
import { observeReleases } from "./metrics.ts";
import { type LoadParts, type ReleaseEvent, ReleaseSource, type ReleaseSourceOptions } from "./release-source.ts";
import { bundleOf } from "./scenario-bundle.ts";
import { scenarioFiles } from "./testing.ts";

/** A registry in memory that can be taken away. */
class FakeRegistry {
  readonly artifacts = new Map<string, Uint8Array>();
  readonly downloads: string[] = [];
  opened = 0;
  away = false;
  silent = false;
  #state = create(registry.WatchReleasesResponseSchema);
  #wake = Promise.withResolvers<void>();

  put(bytes: Uint8Array): string {
    const digest = createHash("sha256").update(bytes).digest("hex");
    this.artifacts.set(digest, bytes);
    return digest;
  }

  release(scenario: string, number: number, code = bundleOf(scenarioFiles(scenario))): registry.Release {
    const codeDigest = this.put(code.bytes);
    const models = [{ name: "tree", version: "1", artifactDigest: this.put(Buffer.from(`model ${number}`)) }];
    return create(registry.ReleaseSchema, { id: `${scenario}-${number}`, scenario, codeDigest, models });
  }

  label(...releases: readonly [string, registry.Release][]): void {
    this.#state = create(registry.WatchReleasesResponseSchema, {
      revision: this.#state.revision + 1n,
      releases: releases.map(([label, release]) => ({ label, release })),
    });
    this.#changed();
  }

  /** Ends every watch. */
  drop(): void {
    this.#changed();
  }

  async *watchReleases(_: object, options: CallOptions = {}): AsyncGenerator<registry.WatchReleasesResponse> {
    this.opened++;
    const aborted = new Promise<never>((_, reject) => {
      options.signal?.addEventListener("abort", () => reject(new Error("cancelled")));
    });
    aborted.catch(() => {});
    for (;;) {
      if (this.away) throw new Error("connection refused");
      const wake = this.#wake.promise;
      if (!this.silent) yield this.#state;
      await Promise.race([wake, aborted]);
    }
  }

  async *getArtifact({ digest = "" }: { digest?: string }): AsyncGenerator<registry.GetArtifactResponse> {
    this.downloads.push(digest);
    const bytes = this.artifacts.get(digest);
    if (bytes === undefined) throw new Error("no such artifact");
    yield create(registry.GetArtifactResponseSchema, { chunk: bytes });
  }

  #changed(): void {
    const wake = this.#wake;
    this.#wake = Promise.withResolvers();
    wake.resolve();
  }
}

let directory: string;
let fake: FakeRegistry;
let clock: FakeClock;
let source: ReleaseSource<string>;
let events: string[];
let unloaded: string[];
let waiting: { readonly kind: string; readonly done: () => void }[];

function describeEvent(event: ReleaseEvent): string {
  return "release" in event ? `${event.kind} ${event.release.id}` : event.kind;
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-releases-"));
  fake = new FakeRegistry();
  clock = new FakeClock();
  events = [];
  unloaded = [];
  waiting = [];
});
afterEach(async () => {
  await source?.close();
  rmSync(directory, { recursive: true, force: true });
});

const loadModel = async ({ release, artifact }: LoadParts) =>
  `${release.id}: ${readFileSync(await artifact(release.models[0]?.artifactDigest ?? ""), "utf8")}`;

function start(change: Partial<ReleaseSourceOptions<string>> = {}): void {
  source = ReleaseSource.start<string>({
    registry: fake,
    cacheDirectory: directory,
    load: loadModel,
    unload: (value) => {
      unloaded.push(value.split(":")[0] ?? "");
    },
    clock,
    logger: quietTelemetry().logger,
    random: () => 0,
    ...change,
  });
  source.onChange((event) => {
    const text = describeEvent(event);
    events.push(text);
    for (const waiter of waiting.filter(({ kind }) => kind === text)) waiter.done();
    waiting = waiting.filter(({ kind }) => kind !== text);
  });
}

/** Resolves at the next such event. */
function next(kind: string): Promise<void> {
  return new Promise((done) => waiting.push({ kind, done }));
}

const reasonOf = (scenario: string, release = "") => {
  try {
    return source.resolve(scenario, release);
  } catch (error) {
    return (error as { reason: string }).reason;
  }
};
const all = () => source.all().map(({ release, labels }) => `${release.id}[${labels.join(",")}]`);

describe("resolving", () => {
  test("answers the champion and every labelled release, with its artifacts and definitions", async () => {
    const [a, b] = [fake.release("fraud", 1), fake.release("fraud", 2)];
    fake.label(["champion", a], ["challenger", b], ["shadow", b]);
    const scenarios: string[] = [];
    start({
      load: (parts) => {
        scenarios.push(`${parts.scenario.name} ${parts.scenario.views[0]?.name} ${parts.labels.join("+")}`);
        return loadModel(parts);
      },
    });
    expect(reasonOf("fraud")).toBe("RELEASE_NOT_LOADED");
    await source.firstReleaseWarm();
    expect(source.resolve("fraud", "")).toBe("fraud-1: model 1");
    expect(source.resolve("fraud", "fraud-2")).toBe("fraud-2: model 2");
    expect(all()).toEqual(["fraud-1[champion]", "fraud-2[challenger,shadow]"]);
    expect(scenarios).toEqual(["fraud card_stats champion", "fraud card_stats challenger+shadow"]);
    expect(fake.downloads.length).toBe(3);
  });

  test("says which of scenario and release is not there, and that a retry helps while it loads", async () => {
    const [a, other] = [fake.release("fraud", 1), fake.release("other", 1)];
    fake.label(["challenger", a], ["champion", other]);
    start();
    expect(reasonOf("none")).toBe("RELEASE_NOT_LOADED");
    await source.firstReleaseWarm();
    expect(reasonOf("none")).toBe("SCENARIO_UNKNOWN");
    expect(reasonOf("fraud")).toBe("RELEASE_UNKNOWN");
    expect(reasonOf("fraud", "fraud-9")).toBe("RELEASE_UNKNOWN");
    expect(reasonOf("fraud", "other-1")).toBe("RELEASE_UNKNOWN");
    expect(() => source.resolve("fraud", "")).toThrow('scenario "fraud" has no champion');
    const gate = Promise.withResolvers<void>();
    await source.close();
    start({ load: (parts) => gate.promise.then(() => loadModel(parts)) });
    await next("changed");
    expect(() => source.resolve("fraud", "fraud-1")).toThrow(expect.objectContaining({ code: 14, retryAfterMs: 200 }));
    gate.resolve();
  });
});

describe("moving labels", () => {
  test("a champion serves until its successor is loaded, then for the grace period", async () => {
    const [a, b] = [fake.release("fraud", 1), fake.release("fraud", 2)];
    fake.label(["champion", a]);
    const slow = Promise.withResolvers<void>();
    start({
      load: async (parts) => {
        if (parts.release.id === "fraud-2") await slow.promise;
        return loadModel(parts);
      },
    });
    await source.firstReleaseWarm();
    const moved = next("changed");
    fake.label(["champion", b]);
    await moved;
    await clock.advance(100_000);
    expect(source.resolve("fraud", "")).toBe("fraud-1: model 1");
    expect(all()).toEqual(["fraud-1[]"]);
    const loaded = next("loaded fraud-2");
    slow.resolve();
    await loaded;
    expect(source.resolve("fraud", "")).toBe("fraud-2: model 2");
    expect(source.resolve("fraud", "fraud-1")).toBe("fraud-1: model 1");
    await clock.advance(29_999);
    expect(source.resolve("fraud", "fraud-1")).toBe("fraud-1: model 1");
    const gone = next("unloaded fraud-1");
    await clock.advance(1);
    await gone;
    expect(reasonOf("fraud", "fraud-1")).toBe("RELEASE_UNKNOWN");
    expect(unloaded).toEqual(["fraud-1"]);
  });

  test("a release that gets a label back within the grace period stays", async () => {
    const [a, b] = [fake.release("fraud", 1), fake.release("fraud", 2)];
    fake.label(["champion", a], ["shadow", b]);
    start();
    await source.firstReleaseWarm();
    fake.label(["champion", a]);
    await next("changed");
    await clock.advance(20_000);
    fake.label(["champion", a], ["canary", b]);
    await next("changed");
    await clock.advance(100_000);
    expect(all()).toEqual(["fraud-1[champion]", "fraud-2[canary]"]);
    expect(unloaded).toEqual([]);
  });

  test("a champion whose label is taken away stops at once", async () => {
    const a = fake.release("fraud", 1);
    fake.label(["champion", a]);
    start();
    await source.firstReleaseWarm();
    fake.label(["shadow", a]);
    await next("changed");
    expect(reasonOf("fraud")).toBe("RELEASE_UNKNOWN");
    expect(source.resolve("fraud", "fraud-1")).toBe("fraud-1: model 1");
    fake.label();
    await next("changed");
    expect(reasonOf("fraud")).toBe("SCENARIO_UNKNOWN");
  });

  test("loads one at a time, champions first, and the newest state only", async () => {
    const [a, b, c] = [fake.release("fraud", 1), fake.release("fraud", 2), fake.release("other", 3)];
    fake.label(["shadow", a], ["challenger", b], ["champion", c]);
    let running = 0;
    const order: string[] = [];
    const gate = Promise.withResolvers<void>();
    start({
      load: async (parts) => {
        expect(++running).toBe(1);
        order.push(parts.release.id);
        await gate.promise;
        running--;
        return loadModel(parts);
      },
    });
    await next("changed");
    fake.label(["challenger", b], ["champion", c]);
    await next("changed");
    gate.resolve();
    await source.firstReleaseWarm();
    expect(order).toEqual(["other-3", "fraud-2"]);
  });
});

describe("failures", () => {
  test("a load that fails is reported and tried again, ever later, while the champion goes on", async () => {
    const [a, b] = [fake.release("fraud", 1), fake.release("fraud", 2)];
    fake.label(["champion", a]);
    const waits: number[] = [];
    let failing = true;
    start({
      load: (parts) => {
        if (failing && parts.release.id === "fraud-2") throw new Error("no memory");
        return loadModel(parts);
      },
      observe: (event) => {
        if (event.kind === "load-failed") waits.push(event.retryInMs);
      },
    });
    await source.firstReleaseWarm();
    const failed = next("load-failed fraud-2");
    fake.label(["champion", b]);
    await failed;
    for (let round = 0; round < 8; round++) {
      const again = next("load-failed fraud-2");
      await clock.advance(waits.at(-1) ?? 0);
      await again;
      expect(source.resolve("fraud", "")).toBe("fraud-1: model 1");
    }
    expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    expect(reasonOf("fraud", "fraud-2")).toBe("RELEASE_LOAD_FAILED");
    failing = false;
    const loaded = next("loaded fraud-2");
    await clock.advance(60_000);
    await loaded;
    expect(source.resolve("fraud", "")).toBe("fraud-2: model 2");
  });

  test("a missing artifact, a broken scenario and one of another name each fail their release alone", async () => {
    const good = fake.release("fraud", 1);
    const missing = fake.release("missing", 9);
    fake.artifacts.delete(missing.models[0]?.artifactDigest ?? "");
    const broken = fake.release("broken", 1, bundleOf(new Map([["scenario.ts", "export default nothing;\n"]])));
    const renamed = fake.release("renamed", 1, bundleOf(scenarioFiles("fraud")));
    fake.label(["champion", missing], ["champion", broken], ["champion", renamed], ["champion", good]);
    const failures = new Map<string, unknown>();
    start({
      observe: (event) => {
        if (event.kind === "load-failed") failures.set(event.release.id, event.error);
      },
    });
    await source.firstReleaseWarm();
    expect(all()).toEqual(["fraud-1[champion]"]);
    expect(failures.get("missing-9")).toMatchObject({ message: "no such artifact" });
    expect(failures.get("broken-1")).toMatchObject({ name: "ScenarioError", faults: [{ line: 1 }] });
    expect(failures.get("renamed-1")).toMatchObject({ reason: "SCENARIO_MISMATCH" });
    expect(reasonOf("missing")).toBe("RELEASE_LOAD_FAILED");
    expect(() => source.resolve("missing", "")).toThrow(
      'release "missing-9" of scenario "missing" could not be loaded',
    );
    expect(() => source.resolve("missing", "missing-9")).toThrow(/tried again: an internal fault/);
    expect(() => source.resolve("broken", "")).toThrow(/tried again: scenario\.ts:1: /);
    expect(() => source.resolve("renamed", "")).toThrow(/defines scenario "fraud", not "renamed"/);
  });

  test("is not warm while nothing is loaded, and a release that loses its label is not tried again", async () => {
    const a = fake.release("fraud", 1);
    fake.label(["champion", a]);
    start({ load: () => Promise.reject(new Error("no")) });
    let warm = false;
    void source.firstReleaseWarm().then(() => {
      warm = true;
    });
    await next("load-failed fraud-1");
    fake.label();
    await next("changed");
    await clock.advance(200_000);
    expect(events.filter((event) => event.startsWith("load-failed"))).toHaveLength(1);
    expect(warm).toBe(false);
  });

  test("a registry that is away changes nothing, and is found again with growing waits", async () => {
    const [a, b] = [fake.release("fraud", 1), fake.release("fraud", 2)];
    fake.label(["champion", a]);
    const waits: number[] = [];
    start({
      observe: (event) => {
        if (event.kind === "disconnected") waits.push(event.retryInMs);
      },
    });
    await source.firstReleaseWarm();
    fake.away = true;
    const lost = next("disconnected");
    fake.drop();
    await lost;
    for (let round = 0; round < 7; round++) await clock.advance(waits.at(-1) ?? 0);
    expect(waits).toEqual([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    expect(source.resolve("fraud", "")).toBe("fraud-1: model 1");
    fake.away = false;
    fake.label(["champion", b]);
    const loaded = next("loaded fraud-2");
    await clock.advance(5_000);
    await loaded;
    expect(events.slice(0, 2)).toEqual(["connected", "changed"]);
    expect(source.resolve("fraud", "")).toBe("fraud-2: model 2");
  });

  test("a watch that never answers, or has said nothing for long, is opened anew", async () => {
    const a = fake.release("fraud", 1);
    fake.label(["champion", a]);
    fake.silent = true;
    start();
    await settle();
    expect(fake.opened).toBe(1);
    await clock.advance(10_000);
    expect(events).toEqual(["disconnected"]);
    fake.silent = false;
    await clock.advance(100);
    await source.firstReleaseWarm();
    expect(fake.opened).toBe(2);
    const before = events.length;
    await clock.advance(300_000);
    expect(fake.opened).toBe(3);
    expect(events.slice(before)).toEqual(["changed"]);
  });

  test("holds a bounded number of releases, and takes the next when one has gone", async () => {
    const [a, b] = [fake.release("fraud", 1), fake.release("fraud", 2)];
    fake.label(["champion", a], ["shadow", b]);
    start({ limits: { releasesMax: 1 } });
    await source.firstReleaseWarm();
    expect(all()).toEqual(["fraud-1[champion]"]);
    expect(events).toContain("load-failed fraud-2");
    fake.label(["shadow", b]);
    await next("changed");
    const loaded = next("loaded fraud-2");
    await clock.advance(30_000);
    await loaded;
    expect(all()).toEqual(["fraud-2[shadow]"]);
  });
});

describe("closing", () => {
  test("waits for a load in progress, unloads everything, and leaves no timer", async () => {
    const [a, b] = [fake.release("fraud", 1), fake.release("fraud", 2)];
    fake.label(["champion", a], ["shadow", b]);
    const gate = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    start({
      load: async (parts) => {
        if (parts.release.id === "fraud-2") {
          begun.resolve();
          await gate.promise;
        }
        return loadModel(parts);
      },
    });
    await begun.promise;
    const closed = source.close();
    gate.resolve();
    await closed;
    expect(unloaded.sort()).toEqual(["fraud-1", "fraud-2"]);
    expect(clock.pending()).toBe(0);
    expect(source.all()).toEqual([]);
  });

  test("works while the registry is away", async () => {
    fake.away = true;
    start();
    await next("disconnected");
    await source.close();
    expect(clock.pending()).toBe(0);
  });
});

test("a listener that fails does not disturb the others, and metrics count the events", async () => {
  const telemetry = quietTelemetry();
  fake.label(["champion", fake.release("fraud", 1)]);
  start({ observe: observeReleases(telemetry.metrics, "ranking") });
  source.onChange(() => {
    throw new Error("broken listener");
  });
  const loaded = next("loaded fraud-1");
  await loaded;
  const { body } = await telemetry.metrics.expose();
  expect(body).toContain('release_loaded{service="ranking"} 1');
  expect(body).toContain('release_watch_connected{service="ranking"} 1');
});

test("waits double up to their bound, less a random half", () => {
  const limits = { minMs: 100, maxMs: 1_000 };
  expect([1, 2, 3, 4, 5, 99].map((failures) => backoffMs(failures, limits, () => 0))).toEqual([
    100, 200, 400, 800, 1_000, 1_000,
  ]);
  expect(backoffMs(1, limits, () => 1)).toBe(50);
});
