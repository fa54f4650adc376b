import { describe, expect, test } from "@jest/globals";
import { seededRandom } from "@weft/repeatable";
import { balancerContract, FakeBackend, fakeBackends } from "../../testing/balancer.contract.ts";
import { ConsistentHash } from "./consistent-hash.ts";
import { createBalancer } from "./create.ts";
import { LeastRequest } from "./least-request.ts";
import { RoundRobin } from "./round-robin.ts";
import { Weighted } from "./weighted.ts";

balancerContract("round_robin", (random) => createBalancer({ name: "round_robin" }, random));
balancerContract("least_request", (random) => createBalancer({ name: "least_request" }, random));
balancerContract("weighted", (random) => createBalancer({ name: "weighted" }, random));
balancerContract("consistent_hash", (random) =>
  createBalancer({ name: "consistent_hash", key: "k", loadFactor: undefined }, random),
);
balancerContract("consistent_hash with bounded load", (random) =>
  createBalancer({ name: "consistent_hash", key: "k", loadFactor: 1.25 }, random),
);

const seeds = [1, 20, 300, 4_000];

test("round robin goes round, and clients begin at different ones", () => {
  const backends = fakeBackends(5);
  const firsts = new Set<FakeBackend | undefined>();
  for (let seed = 0; seed < 50; seed++) {
    const balancer = new RoundRobin<FakeBackend>(seededRandom(seed));
    balancer.use(backends);
    const round = Array.from({ length: 10 }, () => balancer.pick());
    firsts.add(round[0]);
    expect(new Set(round.slice(0, 5)).size).toBe(5);
    expect(round.slice(5)).toEqual(round.slice(0, 5));
  }
  expect(firsts.size).toBe(5);
});

describe("least request", () => {
  test("an idle backend among busy ones is favoured", () => {
    const backends = fakeBackends(4);
    for (const backend of backends) backend.load = 10;
    const idle = backends[2] as FakeBackend;
    idle.load = 0;
    const balancer = new LeastRequest<FakeBackend>(seededRandom(5));
    balancer.use(backends);
    let picked = 0;
    for (let pick = 0; pick < 4_000; pick++) if (balancer.pick() === idle) picked++;
    // Whenever it is one of the two: 1/4 + 3/4 * 1/3.
    expect(picked / 4_000).toBeCloseTo(0.5, 1);
  });

  test.each(seeds)("a slow backend is given less than its turn, seed %d", (seed) => {
    const random = seededRandom(seed);
    const backends = fakeBackends(5);
    const slow = backends[0];
    const counts = { least: 0, turns: 0 };
    for (const kind of ["least", "turns"] as const) {
      for (const backend of backends) backend.load = 0;
      const balancer = kind === "least" ? new LeastRequest<FakeBackend>(random) : new RoundRobin<FakeBackend>(random);
      balancer.use(backends);
      // One call arrives a step; a call lasts 4 steps, on the slow one 40.
      const ends: { readonly at: number; readonly backend: FakeBackend }[] = [];
      for (let step = 0; step < 5_000; step++) {
        for (let index = ends.length - 1; index >= 0; index--) {
          const end = ends[index];
          if (end === undefined || end.at > step) continue;
          end.backend.load--;
          ends.splice(index, 1);
        }
        const backend = balancer.pick();
        if (backend === undefined) continue;
        backend.load++;
        if (backend === slow) counts[kind]++;
        ends.push({ at: step + (backend === slow ? 40 : 4), backend });
      }
    }
    expect(counts.turns).toBe(1_000);
    expect(counts.least).toBeLessThan(counts.turns * 0.5);
  });
});

test.each(seeds)("weights are met exactly and smoothly, seed %d", (seed) => {
  const random = seededRandom(seed);
  const backends = Array.from({ length: 6 }, (_, index) => new FakeBackend(`${index}`, 1 + Math.floor(random() * 9)));
  const total = backends.reduce((sum, { weight }) => sum + weight, 0);
  const balancer = new Weighted<FakeBackend>();
  balancer.use(backends);
  const counts = new Map<FakeBackend, number>();
  for (let pick = 1; pick <= total * 20; pick++) {
    const picked = balancer.pick();
    if (picked === undefined) throw new Error("none");
    counts.set(picked, (counts.get(picked) ?? 0) + 1);
    // At no time is one further from its share than this.
    for (const backend of backends)
      expect(Math.abs((counts.get(backend) ?? 0) - (pick * backend.weight) / total)).toBeLessThan(backends.length);
    if (pick % total === 0)
      for (const { weight, id } of backends) expect([id, counts.get(byId(id))]).toEqual([id, (weight * pick) / total]);
  }
  function byId(id: string): FakeBackend {
    return backends.find((backend) => backend.id === id) as FakeBackend;
  }
});

describe("consistent hash", () => {
  const keys = Array.from({ length: 5_000 }, (_, index) => `user-${index}`);
  const ring = (backends: readonly FakeBackend[], loadFactor?: number, random = seededRandom(9)) => {
    const balancer = new ConsistentHash<FakeBackend>({ loadFactor, random });
    balancer.use(backends);
    return balancer;
  };
  const owners = (balancer: ConsistentHash<FakeBackend>) => keys.map((key) => balancer.pick(key)?.id);

  test("a key stays with its backend, in every process and whatever the order of the addresses", () => {
    const backends = fakeBackends(12);
    expect(owners(ring([...backends].reverse(), undefined, seededRandom(1)))).toEqual(owners(ring(backends)));
  });

  test.each(seeds)(
    "a backend that goes moves only its own keys, one that comes takes only its share, seed %d",
    (seed) => {
      const random = seededRandom(seed);
      const backends = fakeBackends(3 + Math.floor(random() * 30));
      const gone = backends[Math.floor(random() * backends.length)] as FakeBackend;
      const before = owners(ring(backends));
      const after = owners(ring(backends.filter((backend) => backend !== gone)));
      let moved = 0;
      for (const [index, owner] of before.entries()) {
        if (owner === gone.id) {
          moved++;
          expect(after[index]).not.toBe(gone.id);
        } else expect(after[index]).toBe(owner);
      }
      const share = keys.length / backends.length;
      expect(moved).toBeGreaterThan(share * 0.5);
      expect(moved).toBeLessThan(share * 1.6);
    },
  );

  test("one that takes no calls is passed over as one that is gone", () => {
    const backends = fakeBackends(8);
    const full = backends[3] as FakeBackend;
    const balancer = ring(backends);
    full.canTake = false;
    expect(owners(balancer)).toEqual(owners(ring(backends.filter((backend) => backend !== full))));
  });

  test("weights are shares of the keys", () => {
    const backends = [new FakeBackend("a", 1), new FakeBackend("b", 3), new FakeBackend("c", 4)];
    const counts: Record<string, number> = {};
    for (const owner of owners(ring(backends))) counts[owner ?? ""] = (counts[owner ?? ""] ?? 0) + 1;
    for (const { id, weight } of backends) expect((counts[id] ?? 0) / keys.length).toBeCloseTo(weight / 8, 1);
  });

  test.each(seeds)("with a load factor none gets more than that multiple of the mean, seed %d", (seed) => {
    const random = seededRandom(seed);
    const backends = fakeBackends(10);
    const balancer = ring(backends, 1.25, random);
    // A tenth of the keys ask for nine tenths of the calls.
    for (let call = 0; call < 2_000; call++) {
      const hot = random() < 0.9;
      const picked = balancer.pick(keys[Math.floor(random() * (hot ? 2 : keys.length))]);
      if (picked !== undefined) picked.load++;
    }
    const most = Math.max(...backends.map(({ load }) => load));
    expect(most).toBeLessThanOrEqual(Math.ceil(200 * 1.25) + 1);
    expect(most).toBeGreaterThan(200);
  });
});
