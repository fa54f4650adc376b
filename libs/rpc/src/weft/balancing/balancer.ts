/** Something that calls can be sent to. */
export interface Backend {
  /** Names it: the same for the same address, in every process. */
  readonly id: string;
  /** Its share beside the others; a whole number from 1. */
  readonly weight: number;
  /** Calls that are on it now. */
  readonly load: number;
  /** Whether it takes another call now. */
  readonly canTake: boolean;
}

/** Chooses a backend for each call. */
export interface Balancer<B extends Backend> {
  /** Chooses among these from now on: whatever is connected and not left alone. */
  use(backends: readonly B[]): void;
  /** One that can take a call, or undefined where none can. `key` is the text that a request is kept together by. */
  pick(key: string | undefined): B | undefined;
}

/** How a target's calls are spread. */
export type BalancingPolicy =
  | { readonly name: "round_robin" }
  /** The less loaded of two random ones, by calls and weight. */
  | { readonly name: "least_request" }
  /** In turn, in proportion to the weights. */
  | { readonly name: "weighted" }
  /** Requests with one value of `key` stay together. */
  | {
      readonly name: "consistent_hash";
      /** Metadata key whose value is hashed. */
      readonly key: string;
      /** Greatest load over the mean, above 1; undefined for no bound. */
      readonly loadFactor: number | undefined;
    };

/** The names of the policies. */
export const policyNames = [
  "round_robin",
  "least_request",
  "weighted",
  "consistent_hash",
] as const satisfies readonly BalancingPolicy["name"][];
