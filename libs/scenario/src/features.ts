import type { Aggregate, FeatureView, ValueType } from "./definitions.ts";
import { durationMs, parseDurationMs } from "./duration.ts";

const slidesMs = [86_400_000, 3_600_000, 300_000, 60_000, 5_000, 1_000] as const;

/** The slide of a window in milliseconds: the declared one, or the greatest of 1 s, 5 s, 1 min, 5 min, 1 h and 1 day that is at most a twelfth of the window (at least 1 s). */
export function slideMsOf(window: string, declared?: string): number {
  if (declared !== undefined) return durationMs(declared);
  const windowMs = parseDurationMs(window) ?? 0;
  return slidesMs.find((slide) => slide <= windowMs / 12) ?? 1_000;
}

/** The slide of a session in milliseconds: the greatest of 1 s, 5 s, 1 min, 5 min, 1 h and 1 day that is at most its gap. */
export function sessionSlideMs(gapMs: number): number {
  return slidesMs.find((slide) => slide <= gapMs) ?? 1_000;
}

/** Type of what an aggregate answers. */
export function aggregateType(aggregate: Aggregate, fieldType: ValueType | undefined): ValueType {
  switch (aggregate.function) {
    case "count":
    case "distinct":
    case "approx_distinct":
      return "int64";
    case "recent":
    case "top":
      return { keys: fieldType === "string" ? "string" : "int64" };
    case "last":
      // The field's own: a key above 2^53 never loses a bit.
      return fieldType ?? "float64";
    default:
      return "float64";
  }
}

/** The features of a view with their types, in the order declared: a field's own name, or `<aggregate>_<window>`. */
export function featureNamesOf(view: FeatureView): readonly { readonly name: string; readonly type: ValueType }[] {
  const fields = Object.entries(view.features).map(([name, { type }]) => ({ name, type }));
  const aggregates = Object.entries(view.aggregates).flatMap(([name, aggregate]) =>
    aggregate.windows.map((window) => ({
      name: `${name}_${window}`,
      type: aggregateType(aggregate, aggregate.field === undefined ? undefined : view.source?.fields[aggregate.field]),
    })),
  );
  return [...fields, ...aggregates];
}
