import type { Entity, FeatureReference, Scenario, Source } from "@weft/scenario";
import { errors } from "../../errors.ts";
import type { IngestedView } from "../ingest/ingest.ts";
import { type PlannedView, ReadPlan } from "./read-plan.ts";
import type { CompiledView } from "./view-state.ts";

/** Id of a view's states: releases that share a definition share it. */
export function viewId(scenario: string, view: string, digest: string): string {
  return `${scenario}/${view}/${digest.slice(0, 32)}`;
}

/** A release as the feature service serves it: its views with their states, and a read plan a feature service. */
export class FeatureRelease {
  readonly id: string;
  readonly scenario: Scenario;
  readonly views: ReadonlyMap<string, PlannedView>;
  readonly sources: ReadonlyMap<string, Source>;
  readonly entities: ReadonlyMap<string, Entity>;
  readonly #services: ReadonlyMap<string, ReadPlan>;
  /** Plans for lists of references, oldest first. */
  readonly #plans = new Map<string, ReadPlan>();
  readonly #plansMax: number;

  /** Throws FEATURE_UNKNOWN and DEFINITION_INVALID where the features of a model or feature service cannot be read. */
  constructor(id: string, scenario: Scenario, views: readonly PlannedView[], options: { readonly plansMax: number }) {
    this.id = id;
    this.scenario = scenario;
    this.views = new Map(views.map((view) => [view.compiled.name, view]));
    this.sources = new Map(scenario.views.map(({ source }) => [source.name, source]));
    this.entities = new Map(
      scenario.views.flatMap((view) => view.entities.map(({ entity }): [string, Entity] => [entity.name, entity])),
    );
    this.#plansMax = options.plansMax;
    const named = [...scenario.models, ...(scenario.featureServices ?? [])];
    this.#services = new Map(named.map(({ name, features }) => [name, new ReadPlan(this, features)]));
  }

  /** Views that take part in ingestion. */
  get ingested(): readonly IngestedView[] {
    return [...this.views.values()].map(({ compiled, handle }) => ({ scenario: this.scenario.name, compiled, handle }));
  }

  /** The release as materialization and training sets see it. */
  get offline(): { readonly id: string; readonly scenario: Scenario; readonly views: readonly CompiledView[] } {
    return {
      id: this.id,
      scenario: this.scenario,
      views: [...this.views.values()].map(({ compiled }) => compiled),
    };
  }

  /** Plans of the feature services, those of the models first, by name. */
  get services(): ReadonlyMap<string, ReadPlan> {
    return this.#services;
  }

  /** The plan of a feature service or of a model's features; FEATURE_SERVICE_UNKNOWN where there is neither. */
  service(name: string): ReadPlan {
    const plan = this.#services.get(name);
    if (plan === undefined)
      throw errors.FEATURE_SERVICE_UNKNOWN({ featureService: name, scenario: this.scenario.name });
    return plan;
  }

  /** A plan for references, kept for the next request that names the same; FEATURE_UNKNOWN. */
  plan(references: readonly FeatureReference[]): ReadPlan {
    const key = references.join("\n");
    const known = this.#plans.get(key);
    if (known !== undefined) return known;
    const plan = new ReadPlan(this, references);
    const oldest = this.#plans.keys().next();
    if (this.#plans.size >= this.#plansMax && oldest.done !== true) this.#plans.delete(oldest.value);
    this.#plans.set(key, plan);
    return plan;
  }

  /** A view by name; VIEW_UNKNOWN. */
  view(name: string): PlannedView {
    const view = this.views.get(name);
    if (view === undefined) throw errors.VIEW_UNKNOWN({ view: name, scenario: this.scenario.name });
    return view;
  }
}
