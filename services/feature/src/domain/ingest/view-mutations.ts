import type { Mutation, ViewHandle } from "../online/online-store.ts";
import type { EntityKey } from "../views/entity-key.ts";
import type { CompiledView, SourceRow, ViewState } from "../views/view-state.ts";
import type { LoggedEvents, PushedEvents } from "./event-log.ts";

/** What is told while events are worked into a view's states. */
export interface MutationObserver {
  /** Rows without a key: they belong to nobody. */
  skipped(view: string, rows: number): void;
  /** A stored state that could not be read, and was begun anew. */
  corrupt(view: string, cause: unknown): void;
  /** A row that the view's definition cannot take; the rows behind it go on. */
  refused(view: string, event: LoggedEvents, index: number): void;
}

/** A row on its way into a state, with its place in the log. */
interface PendingRow {
  readonly row: SourceRow;
  readonly event: LoggedEvents;
  readonly index: number;
  next: PendingRow | undefined;
}

/**
 * Works events of one partition, in order, into changes of a view's states: one a key, which decodes and encodes its
 * state once. A row that the state holds already, by the store's account, is left out.
 */
export function viewMutations(
  compiled: CompiledView,
  handle: ViewHandle,
  events: readonly LoggedEvents[],
  observer: MutationObserver,
  partition?: string,
): Mutation[] {
  const byKey = new Map<EntityKey, { readonly first: PendingRow; last: PendingRow }>();
  const order = compiled.fields.map(({ name }) => name);
  let skipped = 0;
  for (const event of events) {
    const rows = rowsIn(order, event);
    for (let index = 0; index < rows.length; index++) {
      const row = rows[index];
      const key = row === undefined ? undefined : compiled.keyOf(row);
      if (row === undefined || key === undefined) {
        skipped++;
        continue;
      }
      const pending: PendingRow = { row, event, index, next: undefined };
      const of = byKey.get(key);
      if (of === undefined) byKey.set(key, { first: pending, last: pending });
      else {
        of.last.next = pending;
        of.last = pending;
      }
    }
  }
  if (skipped > 0) observer.skipped(compiled.name, skipped);
  const mutations: Mutation[] = [];
  for (const [key, { first }] of byKey)
    mutations.push({
      view: handle,
      key,
      merge: (current, applied) => merge(compiled, current, first, applied(partition), observer),
    });
  return mutations;
}

function merge(
  compiled: CompiledView,
  current: Uint8Array | undefined,
  first: PendingRow,
  applied: number,
  observer: MutationObserver,
): Uint8Array | undefined {
  let state: ViewState | undefined;
  let isChanged = false;
  for (let pending: PendingRow | undefined = first; pending !== undefined; pending = pending.next) {
    if (pending.event.offset <= applied) continue;
    state ??= decode(compiled, current, observer);
    try {
      if (state.apply(pending.row)) isChanged = true;
    } catch {
      // Let through by an older definition of the source.
      observer.refused(compiled.name, pending.event, pending.index);
    }
  }
  return isChanged ? state?.encode() : undefined;
}

/** The state with rows taken in, packed; undefined where they change nothing. A row that cannot be taken in is skipped. */
export function mergeRows(
  compiled: CompiledView,
  current: Uint8Array | undefined,
  rows: readonly SourceRow[],
  observer: Pick<MutationObserver, "skipped" | "corrupt">,
): Uint8Array | undefined {
  const state = decode(compiled, current, observer);
  let isChanged = false;
  for (const row of rows) {
    try {
      if (state.apply(row)) isChanged = true;
    } catch {
      observer.skipped(compiled.name, 1);
    }
  }
  return isChanged ? state.encode() : undefined;
}

function decode(
  compiled: CompiledView,
  current: Uint8Array | undefined,
  observer: Pick<MutationObserver, "corrupt">,
): ViewState {
  if (current !== undefined) {
    try {
      return compiled.decode(current);
    } catch (cause) {
      observer.corrupt(compiled.name, cause);
    }
  }
  return compiled.emptyState();
}

/** The rows with their values in an order of fields; null where a field was not pushed. */
export function rowsIn(order: readonly string[], { fields, rows }: PushedEvents): readonly SourceRow[] {
  if (order.length === fields.length && order.every((name, index) => name === fields[index])) return rows;
  const places = order.map((name) => fields.indexOf(name));
  return rows.map((row) => ({ ...row, values: places.map((place) => row.values[place] ?? null) }));
}
