import type { ConnectionOptions } from "node:tls";
import type { WeftError } from "@weft/errors";
import type { Http2Options } from "@weft/http2";
import { errors } from "../errors.ts";
import type { Backoff } from "./backoff.ts";
import type { Balancer } from "./balancing/balancer.ts";
import { createBalancer } from "./balancing/create.ts";
import type { ChannelMetrics } from "./channel-metrics.ts";
import { type EjectionOptions, OutlierEjection } from "./ejection.ts";
import { type Connect, Endpoint, type EndpointObserver, type EndpointOptions, type Link } from "./endpoint.ts";
import { type Address, addressId, type LookUp, Resolver } from "./resolver.ts";
import { parseTarget, type Target } from "./target.ts";
import type { Timers } from "./timers.ts";

/** What a call tells the address that it was sent to. */
export interface CallPeer {
  /** The status that the call ended with. */
  report(code: number): void;
}

/** A call that needs a connection. */
export interface Waiter {
  /** Whether it still wants one. */
  readonly isWaiting: boolean;
  /** Whether it waits for as long as it takes, rather than fail while the peer cannot be reached. */
  readonly waitsForReady: boolean;
  /** The value of a metadata key. */
  metadataValue(key: string): string | undefined;
  start(link: Link, peer: CallPeer): void;
  refuse(error: WeftError): void;
}

/** Settings of the connections to a peer. */
export interface ChannelSettings {
  /** Connections to an address, where the target does not say. */
  readonly connections: number;
  /** Calls that wait for a connection; more are refused. */
  readonly waitingMax: number;
  readonly backoff: Backoff;
  readonly ejection: EjectionOptions;
  /** Names are resolved again after that long, milliseconds. */
  readonly resolveMs: number;
  /** Without calls for that long every connection is closed until the next call, milliseconds; 0 never. */
  readonly idleMs: number;
  readonly http2: Partial<Http2Options>;
  readonly metrics: ChannelMetrics;
}

/** What a channel is made from. */
export interface ChannelOptions extends ChannelSettings {
  /** What a new connection's handshake goes by; undefined for cleartext. */
  readonly tls: () => ConnectionOptions | undefined;
  readonly connect: Connect;
  readonly lookUp: LookUp;
  readonly timers: Timers;
  /** From 0 to 1: spreads reconnects, and picks. */
  readonly random: () => number;
}

/** Between two resolutions of a target's names at least. */
const resolveGapMs = 1_000;
/** Tries to send a call elsewhere than where it was refused. */
const elsewhereTries = 3;

/** The connections to one target, shared by its calls. Opened at the first call, and again whenever they are lost. */
export class Channel implements EndpointObserver {
  readonly target: Target;
  readonly #options: ChannelOptions;
  readonly #balancer: Balancer<Endpoint>;
  /** Metadata key that calls are kept together by. */
  readonly #key: string | undefined;
  readonly #ejection: OutlierEjection;
  readonly #endpoints = new Map<string, Endpoint>();
  #resolver: Resolver | undefined = undefined;
  /** What the balancer chooses among. */
  #used: readonly Endpoint[] = [];
  #waiting: Waiter[] = [];
  #serving = false;
  #closed = false;
  #lastWhy = "not connected yet";
  #unresolved = false;
  /** Calls since the idle timer was set. */
  #calls = 0;
  #idleTimer: { cancel(): void } | undefined = undefined;

  /** Throws TypeError where the target is none. */
  constructor(target: string, options: ChannelOptions) {
    this.target = parseTarget(target);
    this.#options = options;
    const { policy } = this.target;
    this.#balancer = createBalancer(policy, options.random);
    this.#key = policy.name === "consistent_hash" ? policy.key : undefined;
    const { metrics } = options;
    this.#ejection = new OutlierEjection(options.ejection, options.timers, options.random, (isEjected) => {
      if (isEjected) metrics.ejections.add(1);
      this.changed();
    });
  }

  /**
   * Starts a call on a connection: at once, when there is one, or never, while the peer cannot be reached. A call that was
   * refused by `avoided` goes elsewhere where it can.
   */
  submit(waiter: Waiter, avoided?: Link): void {
    this.#calls++;
    if (avoided !== undefined) this.#options.metrics.resent.add(1);
    if (this.#start(waiter, avoided)) return;
    if (this.#closed) {
      waiter.refuse(this.#unreachable());
      return;
    }
    this.#wake();
    if (this.#isFailing() && !waiter.waitsForReady) waiter.refuse(this.#unreachable());
    else this.#wait(waiter);
  }

  /** Lets go of every connection once its calls have ended. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#rest();
    this.#ejection.close();
    this.#lastWhy = "the client is closed";
    for (const waiter of this.#waiting.splice(0)) if (waiter.isWaiting) waiter.refuse(this.#unreachable());
    this.#options.metrics.waiting.set(0);
  }

  /** An endpoint's connections came or went, or it is left alone from now on or no longer. */
  changed(): void {
    if (this.#closed) return;
    const all = [...this.#endpoints.values()];
    this.#retire(all);
    const ready = all.filter((endpoint) => endpoint.isReady);
    const wanted = ready.filter((endpoint) => !endpoint.isEjected);
    // An address that fails is better than none.
    this.#use(wanted.length > 0 ? wanted : ready);
    const { metrics } = this.#options;
    metrics.addresses.set(this.#endpoints.size);
    metrics.ejected.set(this.#ejection.ejectedCount);
    if (ready.length > 0) this.capacity();
    else this.#settle();
  }

  /** Starts the calls that wait, as far as there are streams. */
  capacity(): void {
    if (this.#waiting.length === 0 || this.#serving) return;
    this.#serving = true;
    let served = 0;
    for (; served < this.#waiting.length; served++) {
      const waiter = this.#waiting[served];
      if (waiter?.isWaiting === true && !this.#start(waiter, undefined)) break;
    }
    this.#waiting.splice(0, served);
    this.#serving = false;
    this.#options.metrics.waiting.set(this.#waiting.length);
  }

  /** A connection is lost: the name may stand for other addresses by now. */
  lost(): void {
    this.#resolver?.resolve();
  }

  #start(waiter: Waiter, avoided: Link | undefined): boolean {
    const key = this.#key === undefined ? undefined : waiter.metadataValue(this.#key);
    let endpoint = this.#balancer.pick(key);
    let link = endpoint?.link(avoided);
    for (let tries = 1; link !== undefined && link === avoided && tries < elsewhereTries; tries++) {
      endpoint = this.#balancer.pick(key);
      link = endpoint?.link(avoided);
    }
    if (endpoint === undefined || link === undefined) return false;
    waiter.start(link, endpoint);
    return true;
  }

  #wait(waiter: Waiter): void {
    const { waitingMax, metrics } = this.#options;
    if (this.#waiting.length >= waitingMax) this.#waiting = this.#waiting.filter(({ isWaiting }) => isWaiting);
    if (this.#waiting.length < waitingMax) this.#waiting.push(waiter);
    else {
      metrics.waitingRefused.add(1);
      waiter.refuse(errors.CALLS_WAITING({ target: this.target.authority }));
    }
    metrics.waiting.set(this.#waiting.length);
  }

  /** Begins to connect, unless it has. */
  #wake(): void {
    if (this.#resolver !== undefined) return;
    const { backoff, lookUp, timers, random, resolveMs } = this.#options;
    this.#resolver = new Resolver(
      this.target.addresses,
      { refreshMs: resolveMs, gapMs: resolveGapMs, backoff, lookUp, timers, random },
      {
        resolved: (addresses) => this.#useAddresses(addresses),
        failed: (error) => {
          this.#unresolved = true;
          this.#lastWhy = error.message;
          this.#settle();
        },
      },
    );
    this.#resolver.resolve();
    this.#watchIdle();
  }

  /** Lets go of everything until the next call. */
  #rest(): void {
    this.#idleTimer?.cancel();
    this.#idleTimer = undefined;
    this.#resolver?.close();
    this.#resolver = undefined;
    this.#unresolved = false;
    for (const endpoint of this.#endpoints.values()) endpoint.close();
    this.#endpoints.clear();
    this.#use([]);
    this.#options.metrics.addresses.set(0);
    this.#options.metrics.ejected.set(0);
  }

  #use(endpoints: readonly Endpoint[]): void {
    const used = this.#used;
    if (used.length === endpoints.length && used.every((endpoint, index) => endpoint === endpoints[index])) return;
    this.#used = endpoints;
    this.#balancer.use(endpoints);
  }

  #watchIdle(): void {
    const { idleMs, timers } = this.#options;
    if (idleMs === 0) return;
    const before = this.#calls;
    this.#idleTimer = timers.setTimer(idleMs, () => {
      const isUsed = this.#calls !== before || this.#waiting.length > 0;
      if (isUsed || [...this.#endpoints.values()].some(({ load }) => load > 0)) this.#watchIdle();
      else this.#rest();
    });
  }

  #useAddresses(addresses: readonly Address[]): void {
    this.#unresolved = false;
    const wanted = new Map(addresses.map((address) => [addressId(address.host, address.port), address]));
    for (const endpoint of this.#endpoints.values()) endpoint.isGone = !wanted.has(endpoint.id);
    const made: Endpoint[] = [];
    for (const [id, address] of wanted) {
      if (this.#endpoints.has(id)) continue;
      const endpoint = new Endpoint(address, this.#endpointOptions(), this.#ejection, this);
      this.#endpoints.set(id, endpoint);
      made.push(endpoint);
    }
    for (const endpoint of made) endpoint.open();
    this.changed();
  }

  #endpointOptions(): EndpointOptions {
    const { connections, backoff, tls, http2, connect, metrics, timers, random } = this.#options;
    const count = this.target.connections ?? connections;
    return { connections: count, backoff, tls, http2, connect, metrics, timers, random };
  }

  /** Drains addresses that are gone: at once where they do not answer, else when another one can take their place. */
  #retire(all: Endpoint[]): void {
    const isReplaced = all.some((endpoint) => !endpoint.isGone && endpoint.isReady);
    for (const [index, endpoint] of [...all.entries()].reverse()) {
      if (!endpoint.isGone || (endpoint.isReady && !isReplaced)) continue;
      all.splice(index, 1);
      this.#endpoints.delete(endpoint.id);
      endpoint.close();
    }
  }

  #unreachable(): WeftError {
    let why = this.#lastWhy;
    if (!this.#closed) for (const endpoint of this.#endpoints.values()) why = endpoint.lastWhy;
    return errors.PEER_UNREACHABLE({ target: this.target.authority, why });
  }

  /** Whether nothing is connected and every way has been tried. */
  #isFailing(): boolean {
    if (this.#endpoints.size === 0) return this.#unresolved;
    for (const endpoint of this.#endpoints.values()) if (!endpoint.isFailing) return false;
    return true;
  }

  /** Refuses the calls that do not wait for a peer that cannot be reached. */
  #settle(): void {
    if (!this.#isFailing()) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const waiter of waiting) {
      if (!waiter.isWaiting) continue;
      if (waiter.waitsForReady) this.#waiting.push(waiter);
      else waiter.refuse(this.#unreachable());
    }
    this.#options.metrics.waiting.set(this.#waiting.length);
  }
}
