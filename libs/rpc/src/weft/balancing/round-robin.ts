import type { Backend, Balancer } from "./balancer.ts";

/** One after the other. */
export class RoundRobin<B extends Backend> implements Balancer<B> {
  #backends: readonly B[] = [];
  #next = 0;

  /** `random` decides where it begins, so that many clients do not begin at the same one. */
  constructor(random: () => number) {
    this.#next = Math.floor(random() * 0x4000_0000);
  }

  use(backends: readonly B[]): void {
    this.#backends = backends;
  }

  pick(): B | undefined {
    const backends = this.#backends;
    const count = backends.length;
    for (let tries = 0; tries < count; tries++) {
      this.#next = (this.#next + 1) % count;
      const backend = backends[this.#next];
      if (backend?.canTake === true) return backend;
    }
    return undefined;
  }
}
