import type { ConnectionOptions } from "node:tls";
import type { WeftError } from "@weft/errors";
import { type Connection, connectHttp2, type Http2Options } from "@weft/http2";
import { errors } from "../errors.ts";
import { parseTarget, resolveHost, type Target } from "./target.ts";

/** A call that needs a connection. */
export interface Waiter {
  /** Whether it still wants one. */
  readonly isWaiting: boolean;
  /** Whether it waits for as long as it takes, rather than fail while the peer cannot be reached. */
  readonly waitsForReady: boolean;
  start(connection: Connection): void;
  refuse(error: WeftError): void;
}

/** Settings of a channel. */
export interface ChannelOptions {
  /** Connections an address. */
  readonly connections: number;
  /** Calls that wait for a connection; more are refused. */
  readonly waitingMax: number;
  readonly backoffFirstMs: number;
  readonly backoffMaxMs: number;
  readonly tls: ConnectionOptions | undefined;
  readonly http2: Partial<Http2Options>;
  /** From 0 to 1: spreads reconnects. */
  readonly random: () => number;
}

const backoffFactor = 1.6;
const backoffJitter = 0.2;
/** A connection that lived for less is no reason to reconnect at once. */
const stableMs = 1_000;

interface Slot {
  readonly address: string;
  state: "connecting" | "ready" | "failed";
  attempts: number;
  readyMs: number;
  timer: NodeJS.Timeout | undefined;
}

/** The connections to one target, shared by its calls. Opened at the first call, and again whenever they are lost. */
export class Channel {
  readonly target: Target;
  readonly #options: ChannelOptions;
  readonly #abort = new AbortController();
  readonly #slots = new Set<Slot>();
  readonly #connections = new Set<Connection>();
  /** Connections that take new calls. */
  #ready: Connection[] = [];
  #next = 0;
  #waiting: Waiter[] = [];
  #started = false;
  #resolving = false;
  #unresolved: string | undefined = undefined;
  #resolveTimer: NodeJS.Timeout | undefined = undefined;
  #resolveAttempts = 0;
  #lastWhy = "not connected yet";

  /** Throws TypeError where the target is none. */
  constructor(target: string, options: ChannelOptions) {
    this.target = parseTarget(target);
    this.#options = options;
  }

  /** Starts a call on a connection: at once, when there is one, or never, while the peer cannot be reached. */
  submit(waiter: Waiter): void {
    const connection = this.#pick();
    if (connection !== undefined) {
      waiter.start(connection);
      return;
    }
    if (this.#abort.signal.aborted) {
      waiter.refuse(errors.PEER_UNREACHABLE({ target: this.target.authority, why: "the client is closed" }));
      return;
    }
    if (!this.#started) {
      this.#started = true;
      this.#resolve();
    }
    if (this.#isFailing() && !waiter.waitsForReady) waiter.refuse(this.#unreachable());
    else if (this.#waiting.length >= this.#options.waitingMax) {
      this.#waiting = this.#waiting.filter(({ isWaiting }) => isWaiting);
      if (this.#waiting.length < this.#options.waitingMax) this.#waiting.push(waiter);
      else waiter.refuse(errors.CALLS_WAITING({ target: this.target.authority }));
    } else this.#waiting.push(waiter);
  }

  /** Lets go of every connection once its calls have ended. */
  close(): void {
    if (this.#abort.signal.aborted) return;
    this.#abort.abort();
    clearTimeout(this.#resolveTimer);
    for (const slot of this.#slots) clearTimeout(slot.timer);
    this.#slots.clear();
    for (const connection of [...this.#connections]) connection.drain();
    this.#ready = [];
    this.#lastWhy = "the client is closed";
    for (const waiter of this.#waiting.splice(0)) if (waiter.isWaiting) waiter.refuse(this.#unreachable());
  }

  #unreachable(): WeftError {
    return errors.PEER_UNREACHABLE({ target: this.target.authority, why: this.#lastWhy });
  }

  #pick(): Connection | undefined {
    const ready = this.#ready;
    for (let tries = ready.length; tries > 0; tries--) {
      this.#next = this.#next + 1 >= ready.length ? 0 : this.#next + 1;
      const connection = ready[this.#next];
      if (connection?.canOpen === true) return connection;
    }
    return undefined;
  }

  /** Whether nothing is connected and every way has been tried. */
  #isFailing(): boolean {
    if (this.#ready.length > 0) return false;
    if (this.#slots.size === 0) return this.#unresolved !== undefined;
    for (const { state } of this.#slots) if (state !== "failed") return false;
    return true;
  }

  #resolve(): void {
    if (this.#resolving || this.#abort.signal.aborted) return;
    this.#resolving = true;
    resolveHost(this.target.host).then(
      (addresses) => {
        this.#resolving = false;
        this.#unresolved = undefined;
        this.#resolveAttempts = 0;
        this.#useAddresses(addresses);
      },
      (error: Error) => {
        this.#resolving = false;
        this.#unresolved = error.message;
        if (this.#slots.size > 0 || this.#abort.signal.aborted) return;
        this.#lastWhy = error.message;
        this.#settle();
        this.#resolveTimer = setTimeout(() => this.#resolve(), this.#backoffMs(this.#resolveAttempts++)).unref();
      },
    );
  }

  /** Opens what is missing, and gives up trying addresses that are gone. */
  #useAddresses(addresses: readonly string[]): void {
    if (this.#abort.signal.aborted) return;
    for (const slot of this.#slots)
      if (slot.state === "failed" && !addresses.includes(slot.address)) {
        clearTimeout(slot.timer);
        this.#slots.delete(slot);
      }
    for (const address of addresses) {
      const have = [...this.#slots].filter((slot) => slot.address === address).length;
      for (let count = have; count < this.#options.connections; count++) {
        const slot: Slot = { address, state: "connecting", attempts: 0, readyMs: 0, timer: undefined };
        this.#slots.add(slot);
        this.#connect(slot);
      }
    }
  }

  #connect(slot: Slot): void {
    if (this.#abort.signal.aborted) return;
    slot.timer = undefined;
    let connection: Connection | undefined;
    connectHttp2(
      {
        host: slot.address,
        port: this.target.port,
        ...(this.#options.tls === undefined ? {} : { tls: { servername: this.target.host, ...this.#options.tls } }),
        http2: this.#options.http2,
        capacity: () => this.#serveWaiting(),
        draining: () => {
          if (connection !== undefined) this.#lose(slot, connection);
        },
        closed: (error) => {
          if (connection === undefined) return;
          this.#lastWhy = error?.message ?? "the connection was closed";
          this.#connections.delete(connection);
          this.#lose(slot, connection);
        },
      },
      this.#abort.signal,
    ).then(
      (made) => {
        connection = made;
        this.#connections.add(made);
        if (this.#abort.signal.aborted || made.isDraining) {
          made.drain();
          this.#retry(slot);
          return;
        }
        slot.state = "ready";
        slot.readyMs = performance.now();
        this.#ready = [...this.#ready, made];
        this.#serveWaiting();
      },
      (error: Error) => {
        this.#lastWhy = error.message;
        this.#retry(slot);
      },
    );
  }

  /** A connection takes no new calls: another takes its place. */
  #lose(slot: Slot, connection: Connection): void {
    if (!this.#ready.includes(connection)) return;
    this.#ready = this.#ready.filter((one) => one !== connection);
    if (performance.now() - slot.readyMs < stableMs) {
      this.#retry(slot);
      return;
    }
    slot.attempts = 0;
    slot.state = "connecting";
    this.#resolve();
    this.#connect(slot);
  }

  #retry(slot: Slot): void {
    if (this.#abort.signal.aborted || !this.#slots.has(slot)) return;
    slot.state = "failed";
    this.#settle();
    slot.timer = setTimeout(
      () => {
        this.#resolve();
        this.#connect(slot);
      },
      this.#backoffMs(slot.attempts++),
    ).unref();
  }

  #backoffMs(attempts: number): number {
    const { backoffFirstMs, backoffMaxMs, random } = this.#options;
    const base = Math.min(backoffMaxMs, backoffFirstMs * backoffFactor ** attempts);
    return base * (1 + backoffJitter * (2 * random() - 1));
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
  }

  #serveWaiting(): void {
    let served = 0;
    for (; served < this.#waiting.length; served++) {
      const waiter = this.#waiting[served];
      if (waiter === undefined || !waiter.isWaiting) continue;
      const connection = this.#pick();
      if (connection === undefined) break;
      waiter.start(connection);
    }
    this.#waiting.splice(0, served);
  }
}
