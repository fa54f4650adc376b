import type { Backend, Balancer } from "./balancer.ts";

/**
 * The less loaded of two random ones (Mitzenmacher, "The power of two choices in randomized load balancing"). Unlike the
 * least loaded of all it does not send every client to the same backend at once.
 */
export class LeastRequest<B extends Backend> implements Balancer<B> {
  readonly #random: () => number;
  #backends: readonly B[] = [];

  constructor(random: () => number) {
    this.#random = random;
  }

  use(backends: readonly B[]): void {
    this.#backends = backends;
  }

  pick(): B | undefined {
    const backends = this.#backends;
    const count = backends.length;
    if (count <= 1) return backends[0]?.canTake === true ? backends[0] : undefined;
    const first = Math.floor(this.#random() * count);
    const other = (first + 1 + Math.floor(this.#random() * (count - 1))) % count;
    const chosen = lighter(backends[first], backends[other]);
    return chosen ?? this.#lightest();
  }

  /** Of all, where neither choice can take a call. */
  #lightest(): B | undefined {
    let found: B | undefined;
    for (const backend of this.#backends) found = lighter(found, backend);
    return found;
  }
}

function lighter<B extends Backend>(one: B | undefined, other: B | undefined): B | undefined {
  if (one?.canTake !== true) return other?.canTake === true ? other : undefined;
  if (other?.canTake !== true) return one;
  return (one.load + 1) * other.weight <= (other.load + 1) * one.weight ? one : other;
}
