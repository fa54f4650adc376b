import type { Value } from "@weft/scenario";
import type { CompiledView, SourceField } from "../views/view-state.ts";

/**
 * Fields of the source that a view's features and conditions read, without its keys. For a field view they are in the
 * order of its features, which decides between rows of equal times.
 */
export function fieldsRead({ view, fields }: CompiledView): readonly SourceField[] {
  const read = new Set<string | undefined>();
  for (const [name, feature] of Object.entries(view.features)) read.add(feature.field ?? name);
  for (const aggregate of Object.values(view.aggregates)) read.add(aggregate.field).add(aggregate.where?.field);
  return [...read].flatMap((name) => fields.find((field) => field.name === name) ?? []);
}

/** Fields that hold a view's keys and are not among those it reads. */
export function keyFieldsOnly(view: CompiledView): readonly SourceField[] {
  const read = new Set(fieldsRead(view).map(({ name }) => name));
  return view.fields.filter(({ name }) => !read.has(name) && view.view.entities.some(({ field }) => field === name));
}

/** Puts columns of some fields into the places that a view's rows have for them; the other places hold null. */
export class RowReader {
  readonly #width: number;
  readonly #places: readonly number[];

  constructor(view: CompiledView, fields: readonly SourceField[]) {
    this.#width = view.fields.length;
    this.#places = fields.map(({ name }) => view.fields.findIndex((field) => field.name === name));
  }

  /** The values of one row; the fields are in the columns from `first` on. */
  values(columns: readonly (readonly Value[])[], first: number, row: number): Value[] {
    const places = this.#places;
    const values = new Array<Value>(this.#width).fill(null);
    for (let i = 0; i < places.length; i++) values[places[i] ?? 0] = columns[first + i]?.[row] ?? null;
    return values;
  }
}
