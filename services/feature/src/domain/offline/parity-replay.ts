import type { Entity, Value } from "@weft/scenario";
import type { EntityKey } from "../views/entity-key.ts";
import type { CompiledView, SourceRow, ViewState } from "../views/view-state.ts";
import type { NeededView } from "./feature-needs.ts";
import { type ColumnSpec, fieldColumn, type OfflineWorkspace } from "./offline-store.ts";
import { eventsSql, type HistoryQuery, keysSql } from "./point-in-time-sql.ts";
import { RowCursor } from "./row-cursor.ts";
import { fieldsRead, RowReader } from "./source-rows.ts";

/** When and for whom features were read. */
export interface PastRead {
  /** By entity. */
  readonly keys: Readonly<Record<string, EntityKey>>;
  /** What the features are as of, microseconds. */
  readonly eventTimeUs: number;
  /** When they were read: rows pushed later do not count. Microseconds. */
  readonly readTimeUs: number;
}

/** A pushed row that is too new for the read at hand and may count for a later one. */
interface Deferred {
  readonly row: SourceRow;
  readonly receivedUs: number;
}

/**
 * Gives views' features as they should have been read: out of all rows of the sources, those known at the read's event
 * time, of which pushed ones had come in when it happened. Rows are replayed key by key in the order in which they
 * became known. Reads of a key whose two times disagree in order take further passes, over their keys alone.
 */
export class ParityReplay {
  readonly #workspace: OfflineWorkspace;
  readonly #entities: readonly Entity[];
  readonly #reads: readonly PastRead[];
  readonly #keyTables = new Map<string, string>();
  #tables = 0;

  private constructor(workspace: OfflineWorkspace, entities: readonly Entity[], reads: readonly PastRead[]) {
    this.#workspace = workspace;
    this.#entities = entities;
    this.#reads = reads;
  }

  /** `workspace` must hold arrivals; `reads` are in the order of their read times and have a key of each entity. */
  static async open(
    workspace: OfflineWorkspace,
    entities: readonly Entity[],
    reads: readonly PastRead[],
  ): Promise<ParityReplay> {
    const writer = await workspace.createTable("reads", [
      { name: "row_id", type: "count" },
      { name: "event_us", type: "count" },
      { name: "read_us", type: "count" },
      ...entities.map(({ key }, index): ColumnSpec => ({ name: entityColumn(index), type: key })),
    ]);
    try {
      writer.write(reads.length, [
        reads.map((_, index) => index + 1),
        reads.map(({ eventTimeUs }) => eventTimeUs),
        reads.map(({ readTimeUs }) => readTimeUs),
        ...entities.map(({ name }) => reads.map(({ keys }) => keys[name] ?? null)),
      ]);
    } finally {
      writer.close();
    }
    return new ParityReplay(workspace, entities, reads);
  }

  /** Values of a view's features, a list a feature, in the order of the reads. */
  async values({ view, features }: NeededView): Promise<Value[][]> {
    const reading = view.createReading(features);
    const values = reading.features.map(() => new Array<Value>(this.#reads.length).fill(null));
    const take = (state: ViewState | undefined, index: number, same: number | undefined) => {
      if (same === undefined) view.read(state, this.#reads[index]?.eventTimeUs ?? 0, reading);
      for (let i = 0; i < values.length; i++) {
        const column = values[i] ?? [];
        column[index] = same === undefined ? reading.value(i) : (column[same] ?? null);
      }
    };
    let history = await this.#history(view);
    for (;;) {
      const left = await this.#pass(view, history, take);
      if (left.length === 0) return values;
      history = { ...history, keys: await this.#keysOf(history.keys, left) };
    }
  }

  /** Reads that happened within `settleUs` of a pushed row of their key coming in: 1, else 0. */
  async inFlight(view: CompiledView, settleUs: number): Promise<Uint8Array> {
    const { from, keys, keyColumns } = await this.#history(view);
    const columns = ["received_us", ...keyColumns].join(", ");
    const on = [
      ...keyColumns.map((column, index) => `e.${column} = k.k${index}`),
      `e.received_us > r.read_us - ${settleUs}`,
      `e.received_us <= r.read_us + ${settleUs}`,
    ].join(" AND ");
    return this.#flags(`SELECT DISTINCT k.row_id
FROM ${keys} k JOIN reads r ON r.row_id = k.row_id
JOIN (SELECT DISTINCT ${columns} FROM ${from} WHERE received_us > 0) e ON ${on}`);
  }

  /** Reads as of a time before a row of their key was known, which was known and had come in when they happened: 1, else 0. */
  async inHindsight(view: CompiledView): Promise<Uint8Array> {
    const { from, keys, keyColumns } = await this.#history(view);
    const on = keyColumns.map((column, index) => `e.${column} = k.k${index}`).join(" AND ");
    const named = ["key_id", ...keyColumns.map((_, index) => `k${index}`)].join(", ");
    const owners = `(SELECT DISTINCT ${named} FROM ${keys}) k`;
    const joined = on === "" ? `${from} e CROSS JOIN ${owners}` : `${from} e JOIN ${owners} ON ${on}`;
    return this.#flags(`WITH rows_known AS (
  SELECT k.key_id, e.received_us, CASE WHEN e.created_us > e.event_us THEN e.created_us ELSE e.event_us END AS known_us
  FROM ${joined}
), timeline AS (
  SELECT key_id, CASE WHEN known_us > received_us THEN known_us ELSE received_us END AS at_us, 0 AS asks
    , known_us, CAST(NULL AS BIGINT) AS row_id, CAST(NULL AS BIGINT) AS event_us
  FROM rows_known
  UNION ALL
  SELECT k.key_id, r.read_us, 1, CAST(NULL AS BIGINT), r.row_id, r.event_us
  FROM ${keys} k JOIN reads r ON r.row_id = k.row_id
), answers AS (
  SELECT asks, row_id, event_us, MAX(known_us) OVER (PARTITION BY key_id ORDER BY at_us, asks
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS newest_us
  FROM timeline
)
SELECT row_id FROM answers WHERE asks = 1 AND newest_us > event_us`);
  }

  async #flags(sql: string): Promise<Uint8Array> {
    const flags = new Uint8Array(this.#reads.length);
    for await (const { columns: found } of this.#workspace.query(sql, [{ name: "row_id", type: "count" }])) {
      for (const id of found[0] ?? []) flags[Number(id) - 1] = 1;
    }
    return flags;
  }

  async #history(view: CompiledView): Promise<HistoryQuery> {
    const { source, entities } = view.view;
    const { table } = await this.#workspace.load(source);
    const keyColumns = entities.map(({ entity }) =>
      entityColumn(this.#entities.findIndex(({ name }) => name === entity.name)),
    );
    let keys = this.#keyTables.get(keyColumns.join());
    if (keys === undefined) {
      keys = `keys_${this.#tables++}`;
      await this.#workspace.execute(`CREATE TABLE ${keys} AS ${keysSql("reads", keyColumns)}`);
      this.#keyTables.set(keyColumns.join(), keys);
    }
    return {
      from: table,
      keys,
      keyColumns: entities.map(({ field }) => fieldColumn(source, field)),
      columns: [...fieldsRead(view).map(({ name }) => fieldColumn(source, name)), "received_us"],
    };
  }

  /** A table with the keys of some reads alone. */
  async #keysOf(keys: string, reads: readonly number[]): Promise<string> {
    const left = `left_${this.#tables++}`;
    const writer = await this.#workspace.createTable(left, [{ name: "row_id", type: "count" }]);
    writer.write(reads.length, [reads]);
    writer.close();
    const table = `keys_${this.#tables++}`;
    await this.#workspace.execute(
      `CREATE TABLE ${table} AS SELECT k.* FROM ${keys} k JOIN ${left} l ON l.row_id = k.row_id`,
    );
    return table;
  }

  /**
   * Replays the keys of the history. Hands each read its state, and an earlier read that found the same where there is
   * one. Answers the row ids that must wait for another pass.
   */
  async #pass(
    view: CompiledView,
    history: HistoryQuery,
    take: (state: ViewState | undefined, index: number, same: number | undefined) => void,
  ): Promise<number[]> {
    const fields = fieldsRead(view);
    const source = new RowReader(view, fields);
    const receivedAt = 4 + fields.length;
    const events = new RowCursor(
      this.#workspace.query(eventsSql(history, view.kind), [
        { name: "key_id", type: "count" },
        { name: "event_us", type: "count" },
        { name: "created_us", type: "count" },
        { name: "known_us", type: "count" },
        ...fields,
        { name: "received_us", type: "count" },
      ]),
    );
    const left: number[] = [];
    try {
      let more = await events.next();
      let key = -1;
      let state: ViewState | undefined;
      let newestUs = 0;
      let deferred: Deferred[] = [];
      let last: number | undefined;
      let lastUs = Number.NaN;
      const apply = ({ row, receivedUs }: Deferred) => {
        last = undefined;
        state ??= view.emptyState();
        state.apply(row);
        newestUs = Math.max(newestUs, receivedUs);
      };
      // Reads are numbered by their read time.
      const reads = this.#workspace.query(
        `SELECT key_id, event_us, row_id FROM ${history.keys} ORDER BY key_id, event_us, row_id`,
        [
          { name: "key_id", type: "count" },
          { name: "event_us", type: "count" },
          { name: "row_id", type: "count" },
        ],
      );
      for await (const { count, columns } of reads) {
        const [keys = [], times = [], ids = []] = columns as readonly (readonly number[])[];
        for (let at = 0; at < count; at++) {
          const [owner = 0, time = 0, id = 0] = [keys[at], times[at], ids[at]];
          if (owner !== key) {
            key = owner;
            state = undefined;
            newestUs = 0;
            deferred = [];
            last = undefined;
          }
          const readUs = this.#reads[id - 1]?.readTimeUs ?? 0;
          if (newestUs > readUs) {
            left.push(id);
            continue;
          }
          while (more) {
            const eventKey = events.number(0);
            if (eventKey > key || (eventKey === key && events.number(3) > time)) break;
            if (eventKey === key) {
              const receivedUs = events.number(receivedAt);
              const row = {
                eventTimeUs: events.number(1),
                createdTimeUs: events.number(2),
                values: source.values(events.batch.columns, 4, events.row),
              };
              if (receivedUs <= readUs) apply({ row, receivedUs });
              else deferred.push({ row, receivedUs });
            }
            more = events.step() || (await events.next());
          }
          for (const one of deferred) if (one.receivedUs <= readUs) apply(one);
          deferred = deferred.filter(({ receivedUs }) => receivedUs > readUs);
          take(state, id - 1, time === lastUs ? last : undefined);
          last = id - 1;
          lastUs = time;
        }
      }
    } finally {
      await events.close();
    }
    return left;
  }
}

function entityColumn(index: number): string {
  return `entity_${index}`;
}
