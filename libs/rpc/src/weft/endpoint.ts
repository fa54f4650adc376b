import { isIP } from "node:net";
import type { ConnectionOptions } from "node:tls";
import { Code } from "@weft/errors";
import type { Http2ClientOptions, Http2Options, Stream, StreamReceiver } from "@weft/http2";
import { explainHandshake } from "../tls/handshake-failure.ts";
import { type Backoff, backoffMs } from "./backoff.ts";
import type { Backend } from "./balancing/balancer.ts";
import type { ChannelMetrics } from "./channel-metrics.ts";
import type { EjectionRecord, OutlierEjection } from "./ejection.ts";
import { type Address, addressId } from "./resolver.ts";
import type { Timers } from "./timers.ts";

/** A connection as calls see it. */
export interface Link {
  /** Whether a stream can be opened now. */
  readonly canOpen: boolean;
  /** Whether new streams will never be possible. */
  readonly isDraining: boolean;
  /** Open streams. */
  readonly streams: { readonly size: number };
  open(receiver: StreamReceiver): Stream;
  /** Takes no new streams, and closes when those that are open have ended. */
  drain(): void;
}

/** Opens a connection; aborting gives up. */
export type Connect = (options: Http2ClientOptions, signal: AbortSignal) => Promise<Link>;

/** Settings of the connections to one address. */
export interface EndpointOptions {
  readonly connections: number;
  readonly backoff: Backoff;
  /** What a new connection's handshake goes by; undefined for cleartext. */
  readonly tls: () => ConnectionOptions | undefined;
  readonly http2: Partial<Http2Options>;
  readonly connect: Connect;
  readonly metrics: ChannelMetrics;
  readonly timers: Timers;
  readonly random: () => number;
}

/** Who is told of an endpoint's connections. */
export interface EndpointObserver {
  /** Connections came or went, or all attempts have failed. */
  changed(): void;
  /** Streams can be opened that could not before. */
  capacity(): void;
  /** A connection that had worked is lost. */
  lost(): void;
}

/** A connection that lived for less is replaced after a wait. */
const stableMs = 1_000;

interface Slot {
  /** Failed until connected: calls do not wait for one more attempt. */
  state: "connecting" | "ready" | "failed";
  attempts: number;
  readyMs: number;
  timer: { cancel(): void } | undefined;
}

/** The connections to one address. Each is opened again when it is lost, ever later while that fails. */
export class Endpoint implements Backend {
  readonly id: string;
  readonly weight: number;
  /** Why the last connection ended or could not be had. */
  lastWhy = "not connected yet";
  /** Whether the target has it no longer. */
  isGone = false;
  readonly #address: Address;
  readonly #options: EndpointOptions;
  readonly #observer: EndpointObserver;
  readonly #ejection: OutlierEjection;
  readonly #record: EjectionRecord;
  readonly #abort = new AbortController();
  readonly #slots: Slot[] = [];
  /** Connections that live, those that take no new calls included. */
  readonly #links = new Set<Link>();
  #ready: Link[] = [];
  #next = 0;

  constructor(address: Address, options: EndpointOptions, ejection: OutlierEjection, observer: EndpointObserver) {
    this.id = addressId(address.host, address.port);
    this.weight = address.weight;
    this.#address = address;
    this.#options = options;
    this.#observer = observer;
    this.#ejection = ejection;
    this.#record = ejection.add();
  }

  /** Opens the connections. */
  open(): void {
    for (let count = 0; count < this.#options.connections; count++) {
      const slot: Slot = { state: "connecting", attempts: 0, readyMs: 0, timer: undefined };
      this.#slots.push(slot);
      this.#connect(slot);
    }
  }

  get load(): number {
    let streams = 0;
    for (const link of this.#ready) streams += link.streams.size;
    return streams;
  }

  get canTake(): boolean {
    for (const link of this.#ready) if (link.canOpen) return true;
    return false;
  }

  /** Whether it is connected. */
  get isReady(): boolean {
    return this.#ready.length > 0;
  }

  /** Whether no connection is to be had for now. */
  get isFailing(): boolean {
    return this.#slots.every(({ state }) => state === "failed");
  }

  /** Whether it is left alone for failing. */
  get isEjected(): boolean {
    return this.#record.isEjected;
  }

  /** The next connection in turn that takes a call; another one than `avoided` where there is one. */
  link(avoided: Link | undefined): Link | undefined {
    const ready = this.#ready;
    let fallback: Link | undefined;
    for (let tries = ready.length; tries > 0; tries--) {
      this.#next = this.#next + 1 >= ready.length ? 0 : this.#next + 1;
      const link = ready[this.#next];
      if (link?.canOpen !== true) continue;
      if (link !== avoided) return link;
      fallback = link;
    }
    return fallback;
  }

  /** Takes the status of a call that was sent here. */
  report(code: number): void {
    this.#ejection.report(this.#record, code);
  }

  /** Lets go of every connection once its calls have ended. */
  close(): void {
    if (this.#abort.signal.aborted) return;
    this.#abort.abort();
    this.#ejection.remove(this.#record);
    for (const slot of this.#slots) slot.timer?.cancel();
    this.#setReady([]);
    for (const link of [...this.#links]) link.drain();
  }

  #setReady(ready: Link[]): void {
    this.#options.metrics.connections.add(ready.length - this.#ready.length);
    this.#ready = ready;
  }

  #connect(slot: Slot): void {
    if (this.#abort.signal.aborted) return;
    slot.timer = undefined;
    const { host, port, name } = this.#address;
    const { tls, http2, connect, timers, metrics } = this.#options;
    const startedMs = timers.nowMs();
    const secure = tls();
    // An IP address is no name that TLS could ask for; the certificate must have it all the same.
    const servername = isIP(name) === 0 ? { servername: name } : {};
    let link: Link | undefined;
    connect(
      {
        host,
        port,
        ...(secure === undefined ? {} : { tls: { ...servername, ...secure } }),
        http2,
        ...(metrics.meter === undefined ? {} : { meter: metrics.meter }),
        capacity: () => this.#observer.capacity(),
        draining: () => {
          if (link !== undefined) this.#lose(slot, link);
        },
        closed: (error) => {
          if (link === undefined) return;
          this.lastWhy = error === undefined ? "the connection was closed" : explainHandshake(error).message;
          this.#links.delete(link);
          // One failure, however many calls were on it: a peer that restarts is none that fails them all.
          if (error !== undefined) this.report(Code.Unavailable);
          this.#lose(slot, link);
        },
      },
      this.#abort.signal,
    ).then(
      (made) => {
        link = made;
        this.#links.add(made);
        metrics.connects.add(1);
        metrics.handshakeSeconds.observe((timers.nowMs() - startedMs) / 1_000);
        if (this.#abort.signal.aborted || made.isDraining) {
          made.drain();
          this.#retry(slot);
          return;
        }
        slot.state = "ready";
        slot.readyMs = timers.nowMs();
        this.#setReady([...this.#ready, made]);
        this.#observer.changed();
      },
      (error: Error) => {
        if (this.#abort.signal.aborted) return;
        this.lastWhy = explainHandshake(error).message;
        metrics.connectFailures.add(1);
        this.#retry(slot);
      },
    );
  }

  /** A connection takes no new calls: another takes its place. */
  #lose(slot: Slot, link: Link): void {
    if (!this.#ready.includes(link)) return;
    this.#setReady(this.#ready.filter((one) => one !== link));
    const isYoung = this.#options.timers.nowMs() - slot.readyMs < stableMs;
    // Calls wait for one that took its place, and fail where such connections are lost again and again.
    slot.state = isYoung && slot.attempts > 0 ? "failed" : "connecting";
    if (isYoung) this.#connectLater(slot);
    else {
      slot.attempts = 0;
      this.#connect(slot);
    }
    this.#observer.lost();
    this.#observer.changed();
  }

  #retry(slot: Slot): void {
    if (this.#abort.signal.aborted) return;
    slot.state = "failed";
    this.#connectLater(slot);
    this.#observer.lost();
    this.#observer.changed();
  }

  #connectLater(slot: Slot): void {
    const { backoff, timers, random } = this.#options;
    slot.timer = timers.setTimer(backoffMs(backoff, slot.attempts++, random), () => this.#connect(slot));
  }
}
