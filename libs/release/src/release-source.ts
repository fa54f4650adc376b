import { basename } from "node:path";
import type { registry } from "@weft/contracts";
import { isWeftError, type WeftError } from "@weft/errors";
import type { Client } from "@weft/rpc";
import { loadScenario, type Scenario, ScenarioError } from "@weft/scenario";
import type { Clock } from "@weft/service";
import type { Logger } from "@weft/telemetry";
import { ArtifactCache } from "./artifact-cache.ts";
import { type BackoffLimits, backoffMs } from "./backoff.ts";
import { errors } from "./errors.ts";

/** What a service makes its own part of a release from. */
export interface LoadParts {
  readonly release: registry.Release;
  /** The release's definitions, from its code bundle. */
  readonly scenario: Scenario;
  /** Labels when loading began. */
  readonly labels: readonly string[];
  /** A local file with the bytes of an artifact, compared with the digest just now. */
  artifact(digest: string): Promise<string>;
  /** Aborts when the source is closed. */
  readonly signal: AbortSignal;
}

/** A release that is loaded. */
export interface LoadedRelease<T> {
  readonly release: registry.Release;
  /** Labels now; none while it is on its way out or stands in for a champion that is not loaded yet. */
  readonly labels: readonly string[];
  readonly value: T;
}

/** What happens to the releases of a source. */
export type ReleaseEvent =
  | { readonly kind: "connected" | "changed" }
  | { readonly kind: "disconnected"; readonly error: unknown; readonly retryInMs: number }
  | { readonly kind: "loaded"; readonly release: registry.Release; readonly durationMs: number }
  | {
      readonly kind: "load-failed";
      readonly release: registry.Release;
      readonly error: unknown;
      /** Failures in a row. */
      readonly failures: number;
      readonly retryInMs: number;
    }
  | { readonly kind: "unloaded"; readonly release: registry.Release };

/** Bounds and waits of a source. */
export interface ReleaseSourceLimits {
  /** How long a release goes on serving requests pinned to it after it lost its last label. */
  readonly graceMs: number;
  /** Waits between tries to reach the registry. */
  readonly reconnect: BackoffLimits;
  /** Waits between tries to load a release. */
  readonly reload: BackoffLimits;
  /** Longest wait for the first state of a watch. */
  readonly answerMs: number;
  /** A watch is opened anew after this long, so that one that died silently is noticed. */
  readonly watchMs: number;
  /** Longest download of one artifact. */
  readonly downloadMs: number;
  /** Releases held at a time. */
  readonly releasesMax: number;
  readonly artifactBytesMax: number;
  /** Size of the cache from which artifacts that no release needs are removed. */
  readonly cacheBytesMax: number;
}

/** Limits that hold where a service sets none. */
export const defaultLimits: ReleaseSourceLimits = {
  graceMs: 30_000,
  reconnect: { minMs: 100, maxMs: 5_000 },
  reload: { minMs: 500, maxMs: 60_000 },
  answerMs: 10_000,
  watchMs: 300_000,
  downloadMs: 300_000,
  releasesMax: 256,
  artifactBytesMax: 1_073_741_824,
  cacheBytesMax: 4_294_967_296,
};

/** How a source is started. */
export interface ReleaseSourceOptions<T> {
  readonly registry: Pick<Client<typeof registry.RegistryService>, "watchReleases" | "getArtifact">;
  readonly cacheDirectory: string;
  /** Makes the service's part of a release. Called for one release at a time; again, later, where it fails. */
  readonly load: (parts: LoadParts) => Promise<T>;
  /** Frees what `load` made. */
  readonly unload?: (value: T) => void | Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Watches one scenario only; all when absent. */
  readonly scenario?: string;
  /** Hears of everything that happens, for metrics. */
  readonly observe?: (event: ReleaseEvent) => void;
  readonly limits?: Partial<ReleaseSourceLimits>;
  /** From 0 to below 1, for jitter. */
  readonly random?: () => number;
}

interface Entry<T> {
  readonly id: string;
  release: registry.Release;
  labels: readonly string[];
  state: "pending" | "loading" | "waiting" | "loaded";
  loaded: { readonly value: T } | undefined;
  failures: number;
  /** What the last try failed with; undefined where it did not. */
  error: unknown;
  /** The next try, or the end of the grace period. */
  timer: { cancel(): void } | undefined;
  /** Artifacts it was made from. */
  readonly digests: Set<string>;
}

interface Wanted {
  readonly release: registry.Release;
  readonly labels: string[];
}

/** Order in which releases are loaded, by label. */
const loadRanks: Readonly<Record<string, number>> = { champion: 0, canary: 1, challenger: 2, shadow: 3 };
const otherRank = 4;

/** Why a watch ended that was only to be opened anew. */
const refreshed = Symbol("refreshed");

/** Failed tries to reach the registry before a line says so: a second or two by the default backoff. */
const failuresBeforeWarning = 5;

/**
 * The releases that are deployed, as one service needs them: watches the registry, loads what is labelled, one at a time
 * and champions first, and answers by release id or for the champion. A champion goes on serving until its successor is
 * loaded; any release goes on for a grace period after its last label. A registry that is away changes nothing.
 */
export class ReleaseSource<T> {
  readonly #options: ReleaseSourceOptions<T>;
  readonly #limits: ReleaseSourceLimits;
  readonly #cache: ArtifactCache;
  readonly #random: () => number;
  readonly #abort = new AbortController();
  readonly #listeners = new Set<(event: ReleaseEvent) => void>();
  readonly #warm = Promise.withResolvers<void>();
  readonly #entries = new Map<string, Entry<T>>();
  /** What the registry has labelled, by id. */
  #wanted: ReadonlyMap<string, Wanted> = new Map();
  /** Champion of each scenario that is labelled, by scenario; "" where it has none. */
  #deployed = new Map<string, string>();
  /** What serves as champion, by scenario. */
  readonly #champions = new Map<string, Entry<T>>();
  #all: readonly LoadedRelease<T>[] = [];
  #connected = false;
  #heard = false;
  #loading: Promise<void> | undefined;
  #watching: Promise<void> = Promise.resolve();
  #wake: (() => void) | undefined;

  /** Starts to watch and load, in the background. */
  static start<T>(options: ReleaseSourceOptions<T>): ReleaseSource<T> {
    const source = new ReleaseSource(options);
    source.#watching = source.#watch();
    return source;
  }

  private constructor(options: ReleaseSourceOptions<T>) {
    const limits = { ...defaultLimits, ...options.limits };
    this.#options = options;
    this.#limits = limits;
    this.#random = options.random ?? Math.random;
    this.#cache = new ArtifactCache({
      directory: options.cacheDirectory,
      download: (digest, signal) => this.#download(digest, signal),
      artifactBytesMax: limits.artifactBytesMax,
      bytesMax: limits.cacheBytesMax,
      nowMs: () => options.clock.nowMs(),
    });
  }

  /**
   * What `load` made of a release of a scenario; of the champion when `release` is "". Throws SCENARIO_UNKNOWN,
   * RELEASE_UNKNOWN or, where it is deployed but not here, RELEASE_NOT_LOADED or RELEASE_LOAD_FAILED with a time to retry.
   */
  resolve(scenario: string, release: string): T {
    const entry = release === "" ? this.#champions.get(scenario) : this.#entries.get(release);
    if (entry?.loaded === undefined || entry.release.scenario !== scenario) throw this.#unresolved(scenario, release);
    return entry.loaded.value;
  }

  /** Every loaded release, also those without a label that still serve. */
  all(): readonly LoadedRelease<T>[] {
    return this.#all;
  }

  /** Resolves when every labelled release has been tried once and at least one of them is loaded. */
  firstReleaseWarm(): Promise<void> {
    return this.#warm.promise;
  }

  /** Calls `listener` at every event; answers how to stop. */
  onChange(listener: (event: ReleaseEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Stops watching, waits for a load in progress, and unloads everything. */
  async close(): Promise<void> {
    if (this.#abort.signal.aborted) return;
    this.#abort.abort();
    this.#wake?.();
    await Promise.all([this.#watching, this.#loading]);
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    this.#champions.clear();
    this.#all = [];
    for (const entry of entries) await this.#unload(entry);
  }

  async #watch(): Promise<void> {
    const { logger } = this.#options;
    let failures = 0;
    while (!this.#closed()) {
      const { answered, error } = await this.#watchOnce();
      if (this.#closed()) return;
      if (answered) failures = 0;
      if (error === refreshed) continue;
      failures++;
      this.#connected = false;
      const retryInMs = backoffMs(failures, this.#limits.reconnect, this.#random);
      // Services start in any order: a registry that is there a moment later is nothing to report.
      logger[failures === failuresBeforeWarning ? "warn" : "debug"](
        { reason: describe(error), retryInMs },
        "lost the registry's watch",
      );
      this.#emit({ kind: "disconnected", error, retryInMs });
      await this.#sleep(retryInMs);
    }
  }

  /** One watch from opening to its end: whether a state came, and why it ended. */
  async #watchOnce(): Promise<{ readonly answered: boolean; readonly error: unknown }> {
    const { registry: client, clock, scenario = "" } = this.#options;
    const attempt = new AbortController();
    const stop = () => attempt.abort();
    this.#abort.signal.addEventListener("abort", stop, { once: true });
    let timer = clock.setTimer(this.#limits.answerMs, stop);
    let answered = false;
    try {
      for await (const state of client.watchReleases({ scenario }, { signal: attempt.signal })) {
        if (!answered) {
          answered = true;
          timer.cancel();
          timer = clock.setTimer(this.#limits.watchMs * (1 - this.#random() / 10), stop);
        }
        if (!this.#connected) {
          this.#connected = true;
          this.#emit({ kind: "connected" });
        }
        this.#apply(state);
      }
      return { answered, error: undefined };
    } catch (error) {
      return { answered, error: attempt.signal.aborted && answered ? refreshed : error };
    } finally {
      timer.cancel();
      this.#abort.signal.removeEventListener("abort", stop);
    }
  }

  #sleep(ms: number): Promise<void> {
    if (this.#closed()) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        timer.cancel();
        this.#wake = undefined;
        resolve();
      };
      const timer = this.#options.clock.setTimer(ms, done);
      this.#wake = done;
    });
  }

  /** Takes the whole state: what is labelled, and nothing else, is to be loaded. */
  #apply(state: registry.WatchReleasesResponse): void {
    const wanted = new Map<string, Wanted>();
    this.#wanted = wanted;
    this.#deployed = new Map();
    this.#heard = true;
    for (const { label, release } of state.releases) {
      if (release === undefined) continue;
      const { id, scenario } = release;
      const known = wanted.get(id);
      if (known === undefined) wanted.set(id, { release, labels: [label] });
      else known.labels.push(label);
      if (label === "champion") this.#deployed.set(scenario, id);
      else if (!this.#deployed.has(scenario)) this.#deployed.set(scenario, "");
    }
    for (const entry of [...this.#entries.values()]) {
      if (wanted.has(entry.id)) continue;
      entry.labels = [];
      if (entry.state === "pending" || entry.state === "waiting") this.#forget(entry);
    }
    for (const [id, { release, labels }] of wanted) this.#want(id, release, labels);
    this.#settle();
    this.#emit({ kind: "changed" });
    this.#pump();
  }

  #want(id: string, release: registry.Release, labels: readonly string[]): void {
    const known = this.#entries.get(id);
    if (known !== undefined) {
      known.labels = labels;
      return;
    }
    if (this.#entries.size >= this.#limits.releasesMax) {
      const error = errors.RELEASES_FULL({ limit: this.#limits.releasesMax });
      this.#options.logger.error({ release: id, reason: error.reason }, "a release is not loaded");
      const retryInMs = Number.POSITIVE_INFINITY;
      this.#emit({ kind: "load-failed", release, error, failures: 1, retryInMs });
      return;
    }
    this.#entries.set(id, {
      id,
      release,
      labels,
      state: "pending",
      loaded: undefined,
      failures: 0,
      error: undefined,
      timer: undefined,
      digests: new Set(),
    });
  }

  /** Brings champions, grace periods and `all` in line with what is labelled and loaded. */
  #settle(): void {
    for (const scenario of this.#champions.keys()) {
      if ((this.#deployed.get(scenario) ?? "") === "") this.#champions.delete(scenario);
    }
    for (const [scenario, id] of this.#deployed) {
      const entry = this.#entries.get(id);
      if (entry?.state === "loaded") this.#champions.set(scenario, entry);
    }
    for (const entry of this.#entries.values()) if (entry.state === "loaded") this.#settleGrace(entry);
    this.#all = [...this.#entries.values()].flatMap(({ release, labels, loaded }) =>
      loaded === undefined ? [] : [{ release, labels, value: loaded.value }],
    );
    const entries = [...this.#entries.values()];
    const tried = entries.every(({ state }) => state === "loaded" || state === "waiting");
    if (this.#heard && tried && this.#all.length > 0) this.#warm.resolve();
  }

  #settleGrace(entry: Entry<T>): void {
    const needed = entry.labels.length > 0 || this.#champions.get(entry.release.scenario) === entry;
    if (needed) {
      entry.timer?.cancel();
      entry.timer = undefined;
    } else {
      entry.timer ??= this.#options.clock.setTimer(this.#limits.graceMs, () => void this.#retire(entry));
    }
  }

  async #retire(entry: Entry<T>): Promise<void> {
    if (this.#closed()) return;
    this.#forget(entry);
    this.#settle();
    await this.#unload(entry);
    this.#emit({ kind: "unloaded", release: entry.release });
    await this.#trim();
    // There may be room now for one that was refused.
    for (const [id, { release, labels }] of this.#wanted) this.#want(id, release, labels);
    this.#pump();
  }

  #forget(entry: Entry<T>): void {
    entry.timer?.cancel();
    entry.timer = undefined;
    this.#entries.delete(entry.id);
  }

  async #unload(entry: Entry<T>): Promise<void> {
    entry.timer?.cancel();
    const { loaded } = entry;
    entry.loaded = undefined;
    if (loaded === undefined) return;
    try {
      await this.#options.unload?.(loaded.value);
    } catch (error) {
      this.#options.logger.error({ release: entry.id, err: error }, "a release could not be unloaded");
    }
  }

  async #trim(): Promise<void> {
    const keep = new Set([...this.#entries.values()].flatMap(({ digests }) => [...digests]));
    try {
      await this.#cache.trim(keep);
    } catch (error) {
      this.#options.logger.warn({ err: error }, "the artifact cache could not be trimmed");
    }
  }

  /** Loads what is pending, one release at a time. */
  #pump(): void {
    if (this.#loading === undefined && this.#next() !== undefined) this.#loading = this.#loadAll();
  }

  async #loadAll(): Promise<void> {
    for (let entry = this.#next(); entry !== undefined; entry = this.#next()) await this.#load(entry);
    // At once, so that what becomes pending from here on starts anew.
    this.#loading = undefined;
  }

  #next(): Entry<T> | undefined {
    if (this.#closed()) return undefined;
    const rank = ({ labels }: Entry<T>) => Math.min(...labels.map((label) => loadRanks[label] ?? otherRank));
    return [...this.#entries.values()].filter(({ state }) => state === "pending").sort((a, b) => rank(a) - rank(b))[0];
  }

  async #load(entry: Entry<T>): Promise<void> {
    const { clock, logger } = this.#options;
    const startMs = clock.nowMs();
    entry.state = "loading";
    try {
      entry.loaded = { value: await this.#make(entry) };
    } catch (error) {
      if (!this.#closed()) this.#failed(entry, error);
      return;
    }
    entry.state = "loaded";
    entry.failures = 0;
    entry.error = undefined;
    if (this.#closed()) return;
    const durationMs = clock.nowMs() - startMs;
    logger.info({ release: entry.id, labels: entry.labels, durationMs }, "release loaded");
    this.#settle();
    this.#emit({ kind: "loaded", release: entry.release, durationMs });
    await this.#trim();
  }

  async #make(entry: Entry<T>): Promise<T> {
    const { release } = entry;
    const { signal } = this.#abort;
    entry.digests.add(release.codeDigest);
    const scenario = loadScenario(await this.#cache.scenario(release.codeDigest, signal));
    if (scenario.name !== release.scenario) {
      const facts = { release: release.id, expected: release.scenario, actual: scenario.name };
      throw errors.SCENARIO_MISMATCH(facts);
    }
    const artifact = (digest: string) => {
      entry.digests.add(digest);
      return this.#cache.artifact(digest, signal);
    };
    return this.#options.load({ release, scenario, labels: entry.labels, artifact, signal });
  }

  #failed(entry: Entry<T>, error: unknown): void {
    const { clock, logger } = this.#options;
    if (entry.labels.length === 0) {
      this.#forget(entry);
      this.#settle();
      return;
    }
    entry.state = "waiting";
    entry.failures++;
    entry.error = error;
    const retryInMs = backoffMs(entry.failures, this.#limits.reload, this.#random);
    logger.error(
      { release: entry.id, failures: entry.failures, retryInMs, err: error },
      "a release could not be loaded",
    );
    entry.timer = clock.setTimer(retryInMs, () => {
      entry.timer = undefined;
      entry.state = "pending";
      this.#pump();
    });
    this.#settle();
    const { release, failures } = entry;
    this.#emit({ kind: "load-failed", release, error, failures, retryInMs });
  }

  async *#download(digest: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const options = { signal, timeoutMs: this.#limits.downloadMs };
    for await (const { chunk } of this.#options.registry.getArtifact({ digest }, options)) yield chunk;
  }

  #unresolved(scenario: string, release: string): WeftError {
    if (!this.#heard) return errors.RELEASE_NOT_LOADED({ scenario, release });
    const champion = this.#deployed.get(scenario);
    if (champion === undefined) return errors.SCENARIO_UNKNOWN({ scenario });
    const entry = this.#entries.get(release === "" ? champion : release);
    const deployed = release === "" ? champion !== "" : entry?.release.scenario === scenario;
    if (!deployed) return errors.RELEASE_UNKNOWN({ scenario, release });
    if (entry === undefined || entry.error === undefined) return errors.RELEASE_NOT_LOADED({ scenario, release });
    return errors.RELEASE_LOAD_FAILED({ scenario, release: entry.id, why: explain(entry.error) });
  }

  #emit(event: ReleaseEvent): void {
    for (const listener of [this.#options.observe, ...this.#listeners]) {
      try {
        listener?.(event);
      } catch (error) {
        this.#options.logger.error({ event: event.kind, err: error }, "a listener of releases failed");
      }
    }
  }

  #closed(): boolean {
    return this.#abort.signal.aborted;
  }
}

/** Faults of a scenario that are told to callers. */
const faultsTold = 5;

/** What may be told to callers of why a load failed. */
function explain(error: unknown): string {
  if (isWeftError(error)) return error.message;
  if (error instanceof ScenarioError) {
    const faults = error.faults.slice(0, faultsTold);
    // Where the code lies on this machine is nothing to callers.
    return faults.map(({ file, line, message }) => `${basename(file)}:${line}: ${message}`).join("; ");
  }
  return "an internal fault; the log has the cause";
}

function describe(error: unknown): string {
  if (error === undefined) return "the registry ended it";
  return isWeftError(error) ? error.reason : error instanceof Error ? error.message : String(error);
}
