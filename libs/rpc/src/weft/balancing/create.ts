import type { Backend, Balancer, BalancingPolicy } from "./balancer.ts";
import { ConsistentHash } from "./consistent-hash.ts";
import { LeastRequest } from "./least-request.ts";
import { RoundRobin } from "./round-robin.ts";
import { Weighted } from "./weighted.ts";

/** The balancer of a policy. `random` is from 0 to 1. */
export function createBalancer<B extends Backend>(policy: BalancingPolicy, random: () => number): Balancer<B> {
  switch (policy.name) {
    case "round_robin":
      return new RoundRobin(random);
    case "least_request":
      return new LeastRequest(random);
    case "weighted":
      return new Weighted();
    case "consistent_hash":
      return new ConsistentHash({ loadFactor: policy.loadFactor, random });
  }
}
