import type { Backend, Balancer } from "./balancer.ts";

/**
 * In turn, in proportion to the weights, and evenly over time: nginx's smooth weighted round robin. Weights 3 and 1 give
 * a, a, b, a and not a, a, a, b.
 */
export class Weighted<B extends Backend> implements Balancer<B> {
  #backends: readonly B[] = [];
  /** How far each one is behind its share, by place. */
  #due = new Float64Array(0);

  use(backends: readonly B[]): void {
    const before = new Map(this.#backends.map((backend, place) => [backend, this.#due[place] ?? 0]));
    this.#due = Float64Array.from(backends, (backend) => before.get(backend) ?? 0);
    this.#backends = backends;
  }

  pick(): B | undefined {
    const backends = this.#backends;
    const due = this.#due;
    let total = 0;
    let best = -1;
    let bestDue = Number.NEGATIVE_INFINITY;
    for (let place = 0; place < backends.length; place++) {
      const backend = backends[place];
      if (backend?.canTake !== true) continue;
      total += backend.weight;
      const now = (due[place] ?? 0) + backend.weight;
      due[place] = now;
      if (now > bestDue) {
        bestDue = now;
        best = place;
      }
    }
    if (best === -1) return undefined;
    due[best] = bestDue - total;
    return backends[best];
  }
}
