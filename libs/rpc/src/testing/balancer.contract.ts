import { describe, expect, test } from "@jest/globals";
import { seededRandom } from "@weft/repeatable";
import type { Backend, Balancer } from "../weft/balancing/balancer.ts";

/** A backend whose state a test sets. */
export class FakeBackend implements Backend {
  readonly id: string;
  readonly weight: number;
  load = 0;
  canTake = true;

  constructor(id: string, weight = 1) {
    this.id = id;
    this.weight = weight;
  }
}

/** So many backends. */
export function fakeBackends(count: number): FakeBackend[] {
  return Array.from({ length: count }, (_, index) => new FakeBackend(`10.0.${index >> 8}.${index & 255}:7000`));
}

/** What every balancer does, whatever it prefers. */
export function balancerContract(name: string, create: (random: () => number) => Balancer<FakeBackend>): void {
  describe(`balancer ${name}`, () => {
    test("without backends there is none", () => {
      const balancer = create(seededRandom(1));
      expect(balancer.pick("key")).toBeUndefined();
      balancer.use([]);
      expect(balancer.pick(undefined)).toBeUndefined();
    });

    test("finds the one that can take a call, wherever it is, and nothing where none can", () => {
      const random = seededRandom(2);
      const backends = fakeBackends(17);
      const balancer = create(random);
      balancer.use(backends);
      for (const backend of backends) backend.canTake = false;
      expect(balancer.pick("key")).toBeUndefined();
      for (let trial = 0; trial < 100; trial++) {
        const one = backends[Math.floor(random() * backends.length)];
        if (one === undefined) continue;
        one.canTake = true;
        expect(balancer.pick(`key ${trial}`)).toBe(one);
        expect(balancer.pick(undefined)).toBe(one);
        one.canTake = false;
      }
    });

    test("chooses among those that it was given last", () => {
      const random = seededRandom(3);
      const all = fakeBackends(20);
      const balancer = create(random);
      for (let change = 0; change < 50; change++) {
        const given = all.filter(() => random() < 0.5);
        balancer.use(given);
        for (let pick = 0; pick < 20; pick++) {
          const picked = balancer.pick(`key ${pick}`);
          if (given.length === 0) expect(picked).toBeUndefined();
          else expect(given).toContain(picked);
        }
      }
    });

    test("uses each of equal backends, and about alike", () => {
      const backends = fakeBackends(10);
      const balancer = create(seededRandom(4));
      balancer.use(backends);
      const counts = new Map<FakeBackend, number>();
      const picks = 20_000;
      for (let pick = 0; pick < picks; pick++) {
        const picked = balancer.pick(`request ${pick}`);
        if (picked !== undefined) counts.set(picked, (counts.get(picked) ?? 0) + 1);
      }
      expect(counts.size).toBe(10);
      for (const count of counts.values()) {
        expect(count).toBeGreaterThan((picks / 10) * 0.7);
        expect(count).toBeLessThan((picks / 10) * 1.3);
      }
    });
  });
}
