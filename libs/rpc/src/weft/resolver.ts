import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { type Backoff, backoffMs } from "./backoff.ts";
import type { TargetAddress } from "./target.ts";
import type { Timers } from "./timers.ts";

/** Where connections can be opened. */
export interface Address {
  /** An IP address. */
  readonly host: string;
  readonly port: number;
  /** What the target calls it: the name that a certificate must have. */
  readonly name: string;
  readonly weight: number;
}

/** Finds the addresses of a host. */
export type LookUp = (host: string) => Promise<readonly string[]>;

/** Settings of a resolver. */
export interface ResolverOptions {
  /** Names are resolved again after that long, milliseconds. */
  readonly refreshMs: number;
  /** Between two resolutions at least, however often it is asked to, milliseconds. */
  readonly gapMs: number;
  /** Between attempts that fail. */
  readonly backoff: Backoff;
  readonly lookUp: LookUp;
  readonly timers: Timers;
  /** From 0 to 1. */
  readonly random: () => number;
}

/** Who is told of addresses. */
export interface ResolverObserver {
  resolved(addresses: readonly Address[]): void;
  /** No address is known, and why. */
  failed(error: Error): void;
}

/** Addresses of one target; what a name has beyond is left out. */
const addressesMax = 1_000;
/** Spreads refreshes of many clients. */
const refreshJitter = 0.2;

/** Keeps the addresses of a target up to date. What once resolved is kept while its name cannot be resolved. */
export class Resolver {
  readonly #named: readonly TargetAddress[];
  readonly #options: ResolverOptions;
  readonly #observer: ResolverObserver;
  readonly #found = new Map<TargetAddress, readonly string[]>();
  #timer: { cancel(): void } | undefined = undefined;
  #timerMs = 0;
  #resolvedMs = Number.NEGATIVE_INFINITY;
  #running = false;
  #failures = 0;
  #closed = false;

  constructor(named: readonly TargetAddress[], options: ResolverOptions, observer: ResolverObserver) {
    this.#named = named;
    this.#options = options;
    this.#observer = observer;
  }

  /** Whether resolving again can answer anything else. */
  get isFixed(): boolean {
    return this.#named.every(({ host }) => isIP(host) !== 0);
  }

  /** Resolves now, or as soon as the gap allows. */
  resolve(): void {
    if (this.#closed || this.#running || (this.isFixed && this.#found.size > 0)) return;
    const waitMs = this.#resolvedMs + this.#options.gapMs - this.#options.timers.nowMs();
    if (waitMs <= 0) void this.#run();
    else this.#schedule(waitMs);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #schedule(delayMs: number): void {
    const { timers } = this.#options;
    const atMs = timers.nowMs() + delayMs;
    if (this.#timer !== undefined && this.#timerMs <= atMs) return;
    this.#timer?.cancel();
    this.#timerMs = atMs;
    this.#timer = timers.setTimer(delayMs, () => {
      this.#timer = undefined;
      void this.#run();
    });
  }

  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    let fault: Error | undefined;
    await Promise.all(
      this.#named.map(async (named) => {
        try {
          const hosts = isIP(named.host) === 0 ? await this.#options.lookUp(named.host) : [named.host];
          if (hosts.length > 0) this.#found.set(named, hosts);
        } catch (error) {
          fault = error instanceof Error ? error : new Error(String(error));
        }
      }),
    );
    this.#running = false;
    if (this.#closed) return;
    const { timers, refreshMs, backoff, random } = this.#options;
    this.#resolvedMs = timers.nowMs();
    const addresses = this.#addresses();
    if (addresses.length > 0) this.#observer.resolved(addresses);
    else this.#observer.failed(fault ?? new Error(`${this.#named[0]?.host} has no address`));
    if (fault !== undefined) this.#schedule(backoffMs(backoff, this.#failures++, random));
    else {
      this.#failures = 0;
      if (!this.isFixed) this.#schedule(refreshMs * (1 - refreshJitter * random()));
    }
  }

  /** Each address once, as the first name that has it says. */
  #addresses(): readonly Address[] {
    const addresses = new Map<string, Address>();
    for (const named of this.#named)
      for (const host of this.#found.get(named) ?? []) {
        const id = addressId(host, named.port);
        if (!addresses.has(id) && addresses.size < addressesMax)
          addresses.set(id, { host, port: named.port, name: named.host, weight: named.weight });
      }
    return [...addresses.values()];
  }
}

/** The name of an address, the same in every process. */
export function addressId(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Every address that the system knows a host by. */
export const lookUpHost: LookUp = async (host) => {
  const found = await lookup(host, { all: true });
  return [...new Set(found.map(({ address }) => address))];
};
