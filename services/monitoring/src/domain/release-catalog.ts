import type { ReleaseParts } from "./release-parts.ts";

/** Where releases are looked up. Rejects where it cannot be asked. */
export interface ReleaseLookup {
  /** The release; undefined where there is none of this id. */
  findRelease(releaseId: string): Promise<ReleaseParts | undefined>;
  /** Whether the scenario has a release. */
  hasScenario(scenario: string): Promise<boolean>;
}

/** What a look-up came to. */
export type Resolution<T> =
  | { readonly outcome: "found"; readonly value: T }
  | { readonly outcome: "unknown" }
  | { readonly outcome: "unavailable"; readonly cause: unknown };

/**
 * Releases known so far. A release never changes, so one that was found is kept; that there is none, or that nobody
 * could be asked, is believed for `retryMs`. Questions for the same id at the same time are asked once. Each kind of
 * answer is kept for at most `entriesMax` ids, the oldest forgotten first.
 */
export class ReleaseCatalog {
  readonly #lookup: ReleaseLookup;
  readonly #entriesMax: number;
  readonly #retryMs: number;
  readonly #releases = new Map<string, ReleaseParts>();
  readonly #scenarios = new Map<string, true>();
  readonly #misses = new Map<string, { readonly untilMs: number; readonly resolution: Resolution<never> }>();
  readonly #asking = new Map<string, Promise<Resolution<unknown>>>();

  constructor(lookup: ReleaseLookup, options: { readonly entriesMax: number; readonly retryMs: number }) {
    this.#lookup = lookup;
    this.#entriesMax = options.entriesMax;
    this.#retryMs = options.retryMs;
  }

  /** Keeps a release that is known from elsewhere. */
  add(parts: ReleaseParts): void {
    keep(this.#releases, parts.releaseId, parts, this.#entriesMax);
    keep(this.#scenarios, parts.scenario, true, this.#entriesMax);
  }

  /** The release, if it is known already. */
  peek(releaseId: string): ReleaseParts | undefined {
    return this.#releases.get(releaseId);
  }

  async findRelease(releaseId: string, nowMs: number): Promise<Resolution<ReleaseParts>> {
    const known = this.#releases.get(releaseId);
    if (known !== undefined) {
      return { outcome: "found", value: known };
    }
    return this.#resolve(`release ${releaseId}`, nowMs, async () => {
      const parts = await this.#lookup.findRelease(releaseId);
      if (parts !== undefined) {
        this.add(parts);
      }
      return parts;
    });
  }

  async findScenario(scenario: string, nowMs: number): Promise<Resolution<true>> {
    if (this.#scenarios.has(scenario)) {
      return { outcome: "found", value: true };
    }
    return this.#resolve(`scenario ${scenario}`, nowMs, async () => {
      const isKnown = await this.#lookup.hasScenario(scenario);
      if (isKnown) {
        keep(this.#scenarios, scenario, true, this.#entriesMax);
      }
      return isKnown || undefined;
    });
  }

  #resolve<T>(key: string, nowMs: number, ask: () => Promise<T | undefined>): Promise<Resolution<T>> {
    const miss = this.#misses.get(key);
    if (miss !== undefined && nowMs < miss.untilMs) {
      return Promise.resolve(miss.resolution);
    }
    const asking = this.#asking.get(key);
    if (asking !== undefined) {
      // The same key is always asked for the same kind of answer.
      return asking as Promise<Resolution<T>>;
    }
    const asked = ask().then(
      (value): Resolution<T> =>
        value === undefined ? this.#miss(key, nowMs, { outcome: "unknown" }) : { outcome: "found", value },
      (cause: unknown): Resolution<T> => this.#miss(key, nowMs, { outcome: "unavailable", cause }),
    );
    this.#asking.set(key, asked);
    return asked.finally(() => this.#asking.delete(key));
  }

  #miss(key: string, nowMs: number, resolution: Resolution<never>): Resolution<never> {
    keep(this.#misses, key, { untilMs: nowMs + this.#retryMs, resolution }, this.#entriesMax);
    return resolution;
  }
}

function keep<V>(map: Map<string, V>, key: string, value: V, entriesMax: number): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > entriesMax) {
    const [oldest] = map.keys();
    map.delete(oldest ?? key);
  }
}
