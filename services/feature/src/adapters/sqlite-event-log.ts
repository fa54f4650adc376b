import { DatabaseSync, type StatementSync } from "node:sqlite";
import { deserialize, serialize } from "node:v8";
import type { Value } from "@weft/scenario";
import type { Appended, EventLog, LoggedEvents, PushedEvents } from "../domain/ingest/event-log.ts";
import type { SourceRow } from "../domain/views/view-state.ts";
import { errors } from "../errors.ts";

/** Where the log lies and how large it may grow. */
export interface SqliteEventLogOptions {
  /** File of the log; made where there is none. ":memory:" for none. */
  readonly path: string;
  readonly sizeMaxBytes: number;
}

const pageBytes = 4_096;
/** SQLITE_FULL: the disk, or the bound on pages. */
const sqliteFull = 13;

/** What a record holds, in V8's serialization, which newer versions of V8 can read. */
interface Payload {
  readonly fields: readonly string[];
  /** Absent in records of earlier versions. */
  readonly receivedUs?: number;
  readonly eventTimesUs: Float64Array;
  readonly createdTimesUs: Float64Array;
  readonly values: readonly (readonly Value[])[];
}

/** An event log in a SQLite file: a record a push; a commit is synced to disk before it is answered. */
export class SqliteEventLog implements EventLog {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #find: StatementSync;
  readonly #read: StatementSync;
  readonly #end: StatementSync;
  readonly #trim: StatementSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
    this.#insert = database.prepare(
      "INSERT INTO events (scenario, source, request_id, received_us, payload) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    );
    this.#find = database.prepare(`SELECT "offset" FROM events WHERE scenario = ? AND source = ? AND request_id = ?`);
    this.#read = database.prepare(
      `SELECT "offset", request_id, payload FROM events WHERE scenario = ? AND source = ? AND "offset" > ? ORDER BY "offset" LIMIT ?`,
    );
    this.#trim = database.prepare(`DELETE FROM events WHERE "offset" <= ? AND received_us < ?`);
    this.#end = database.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'events'");
  }

  static open(options: SqliteEventLogOptions): SqliteEventLog {
    const database = new DatabaseSync(options.path);
    database.exec(`
      PRAGMA page_size = ${pageBytes};
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      PRAGMA max_page_count = ${Math.max(16, Math.floor(options.sizeMaxBytes / pageBytes))};
      CREATE TABLE IF NOT EXISTS events (
        "offset" INTEGER PRIMARY KEY AUTOINCREMENT,
        scenario TEXT NOT NULL,
        source TEXT NOT NULL,
        request_id TEXT NOT NULL,
        received_us INTEGER NOT NULL,
        payload BLOB NOT NULL,
        UNIQUE (scenario, source, request_id)
      ) STRICT;
      CREATE INDEX IF NOT EXISTS events_by_source ON events (scenario, source, "offset");
    `);
    const columns = database.prepare("PRAGMA table_info(events)").all();
    // Written by an earlier version: nobody knows when.
    if (!columns.some(({ name }) => name === "received_us"))
      database.exec("ALTER TABLE events ADD COLUMN received_us INTEGER NOT NULL DEFAULT 0");
    return new SqliteEventLog(database);
  }

  async append(events: readonly PushedEvents[]): Promise<readonly Appended[]> {
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      const appended = events.map((event) => this.#append(event));
      this.#database.exec("COMMIT");
      return appended;
    } catch (cause) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      const isFull = cause instanceof Error && "errcode" in cause && Number(cause.errcode) % 256 === sqliteFull;
      throw isFull ? errors.EVENT_LOG_FULL({}, { cause }) : errors.EVENT_LOG_FAILED({}, { cause });
    }
  }

  async read(scenario: string, source: string, after: number, limit: number): Promise<readonly LoggedEvents[]> {
    return this.#read.all(scenario, source, after, limit).map((record) => {
      const payload = deserialize(record.payload as Uint8Array) as Payload;
      return {
        scenario,
        source,
        requestId: String(record.request_id),
        offset: Number(record.offset),
        receivedUs: payload.receivedUs ?? 0,
        fields: payload.fields,
        rows: payload.values.map(
          (values, index): SourceRow => ({
            eventTimeUs: payload.eventTimesUs[index] ?? 0,
            createdTimeUs: payload.createdTimesUs[index] ?? 0,
            values,
          }),
        ),
      };
    });
  }

  async trim(until: number, receivedBeforeUs: number): Promise<number> {
    try {
      return Number(this.#trim.run(until, receivedBeforeUs).changes);
    } catch (cause) {
      throw errors.EVENT_LOG_FAILED({}, { cause });
    }
  }

  async endOffset(): Promise<number> {
    return Number(this.#end.get()?.seq ?? 0);
  }

  async close(): Promise<void> {
    this.#database.close();
  }

  #append({ scenario, source, requestId, receivedUs, fields, rows }: PushedEvents): Appended {
    const payload: Payload = {
      fields,
      receivedUs,
      eventTimesUs: Float64Array.from(rows, (row) => row.eventTimeUs),
      createdTimesUs: Float64Array.from(rows, (row) => row.createdTimeUs),
      values: rows.map((row) => row.values),
    };
    const { changes, lastInsertRowid } = this.#insert.run(scenario, source, requestId, receivedUs, serialize(payload));
    if (Number(changes) > 0) return { offset: Number(lastInsertRowid), duplicate: false };
    return { offset: Number(this.#find.get(scenario, source, requestId)?.offset ?? 0), duplicate: true };
  }
}
