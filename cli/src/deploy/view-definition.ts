import { expectationText, type FeatureView, quarantineOf } from "@weft/scenario";

/** The definition of a view as canonical JSON: what it computes, without where it is written or how it is described. */
export function viewDefinition(view: FeatureView): string {
  const { entities, source, ttl, features, aggregates, ladder } = view;
  const quarantine = quarantineOf(source).map(expectationText);
  return canonicalJson({
    entities: entities.map(({ entity, field }) => ({ entity: entity.name, key: entity.key, field })),
    source: {
      name: source.name,
      file: source.file,
      eventTime: source.eventTime,
      createdTime: source.createdTime,
      fields: source.fields,
      // Rows that are set aside are not in the view; nothing where none are, so that the definition stays.
      ...(quarantine.length === 0 ? {} : { quarantine }),
    },
    ttl,
    features,
    aggregates,
    ladder,
  });
}

/** JSON with the keys of every object in order; a bigint as its digits. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner === "bigint") return inner.toString();
    if (typeof inner !== "object" || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
