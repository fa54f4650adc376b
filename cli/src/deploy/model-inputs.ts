import { createHash } from "node:crypto";
import type { FeatureReference, Model, Scenario } from "@weft/scenario";
import { canonicalJson, viewDefinition } from "./view-definition.ts";

/**
 * Identifies what a model reads: its features in order, and the definitions of the views and transforms behind them.
 * Written into a model's lineage when it is trained and compared when it is pushed, so that a model is never served on
 * inputs that it was not trained on. What a transform calls outside itself is not seen here; the code's digest covers it.
 */
export function inputsDigest(scenario: Scenario, model: Model): string {
  const views = new Map(scenario.views.map((view) => [view.name, view]));
  const transforms = new Map(scenario.transforms.map((transform) => [transform.name, transform]));
  const seen = new Map<string, unknown>();
  const visit = (reference: FeatureReference) => {
    const name = reference.split(":", 1)[0] ?? "";
    if (seen.has(name)) return;
    const view = views.get(name);
    const transform = transforms.get(name);
    if (view !== undefined) seen.set(name, viewDefinition(view));
    if (transform !== undefined) {
      const { inputs, outputs, compute } = transform;
      seen.set(name, { inputs, outputs, compute: compute.toString() });
      Object.values(inputs).forEach(visit);
    }
  };
  model.features.forEach(visit);
  const inputs = { features: model.features, definitions: Object.fromEntries(seen) };
  return createHash("sha256").update(canonicalJson(inputs)).digest("hex");
}
