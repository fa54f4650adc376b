import { DatabaseSync, type StatementSync } from "node:sqlite";
import { deserialize, serialize } from "node:v8";
import type {
  EventContent,
  Quarantine,
  QuarantinedEvent,
  QuarantineFilter,
  QuarantineSummary,
  RefusedEvent,
} from "../domain/ingest/quarantine.ts";

/** Where the quarantine lies and what it may hold. */
export interface SqliteQuarantineOptions {
  /** File; made where there is none. ":memory:" for none. */
  readonly path: string;
  /** Events kept; further ones push the oldest out. */
  readonly eventsMax: number;
  /** Bytes of events kept; further ones push the oldest out. */
  readonly sizeMaxBytes: number;
  /** An event larger than this is kept without its content. */
  readonly contentMaxBytes: number;
}

/** What is counted for an event beside its content. */
const eventBytes = 256;

/** A quarantine in a SQLite file; what was added is synced to disk before it is answered. */
export class SqliteQuarantine implements Quarantine {
  readonly #database: DatabaseSync;
  readonly #options: SqliteQuarantineOptions;
  readonly #insert: StatementSync;
  readonly #count: StatementSync;
  readonly #oldest: StatementSync;
  readonly #delete: StatementSync;
  readonly #list: StatementSync;
  readonly #summarize: StatementSync;
  #events: number;
  #bytes: number;

  private constructor(database: DatabaseSync, options: SqliteQuarantineOptions) {
    this.#database = database;
    this.#options = options;
    this.#insert = database.prepare(
      `INSERT INTO events (scenario, source, reason, detail, origin, time_us, bytes, content)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    );
    this.#count = database.prepare(
      `INSERT INTO reasons (scenario, source, reason, count, first_us, last_us) VALUES (?, ?, ?, 1, ?, ?)
       ON CONFLICT DO UPDATE SET count = count + 1, last_us = max(last_us, excluded.last_us)`,
    );
    this.#oldest = database.prepare("SELECT id, bytes FROM events ORDER BY id LIMIT 1");
    this.#delete = database.prepare("DELETE FROM events WHERE id = ? RETURNING bytes");
    this.#list = database.prepare(
      `SELECT id, scenario, source, reason, detail, origin, time_us, content FROM events
       WHERE scenario = ? AND source = ? AND (? = '' OR reason = ?) AND id > ? ORDER BY id LIMIT ?`,
    );
    this.#summarize = database.prepare(
      `SELECT source, reason, count, first_us, last_us,
         (SELECT count(*) FROM events e WHERE e.scenario = r.scenario AND e.source = r.source AND e.reason = r.reason) AS kept
       FROM reasons r WHERE scenario = ? ORDER BY source, reason`,
    );
    const held = database.prepare("SELECT count(*) AS events, coalesce(sum(bytes), 0) AS bytes FROM events").get();
    this.#events = Number(held?.events ?? 0);
    this.#bytes = Number(held?.bytes ?? 0);
  }

  static open(options: SqliteQuarantineOptions): SqliteQuarantine {
    const database = new DatabaseSync(options.path);
    database.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      CREATE TABLE IF NOT EXISTS events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        scenario TEXT NOT NULL,
        source TEXT NOT NULL,
        reason TEXT NOT NULL,
        detail TEXT NOT NULL,
        origin TEXT NOT NULL,
        time_us INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        content BLOB,
        UNIQUE (scenario, source, origin, reason)
      ) STRICT;
      CREATE INDEX IF NOT EXISTS events_by_reason ON events (scenario, source, reason, id);
      CREATE TABLE IF NOT EXISTS reasons (
        scenario TEXT NOT NULL,
        source TEXT NOT NULL,
        reason TEXT NOT NULL,
        count INTEGER NOT NULL,
        first_us INTEGER NOT NULL,
        last_us INTEGER NOT NULL,
        PRIMARY KEY (scenario, source, reason)
      ) STRICT, WITHOUT ROWID;
    `);
    return new SqliteQuarantine(database, options);
  }

  async add(events: readonly RefusedEvent[], timeUs: number): Promise<number> {
    return this.#transaction(() => {
      let added = 0;
      for (const event of events) if (this.#add(event, timeUs)) added++;
      this.#makeRoom();
      return added;
    });
  }

  async summarize(scenario: string): Promise<readonly QuarantineSummary[]> {
    return this.#summarize.all(scenario).map((row) => ({
      scenario,
      source: String(row.source),
      reason: String(row.reason),
      count: Number(row.count),
      kept: Number(row.kept),
      firstTimeUs: Number(row.first_us),
      lastTimeUs: Number(row.last_us),
    }));
  }

  async list(
    { scenario, source, reason = "" }: QuarantineFilter,
    after: number,
    limit: number,
  ): Promise<readonly QuarantinedEvent[]> {
    return this.#list.all(scenario, source, reason, reason, after, limit).map((row) => ({
      id: Number(row.id),
      scenario: String(row.scenario),
      source: String(row.source),
      reason: String(row.reason),
      detail: String(row.detail),
      origin: String(row.origin),
      timeUs: Number(row.time_us),
      content: row.content instanceof Uint8Array ? (deserialize(row.content) as EventContent) : undefined,
    }));
  }

  async remove(ids: readonly number[]): Promise<number> {
    return this.#transaction(() => ids.filter((id) => this.#remove(id)).length);
  }

  async close(): Promise<void> {
    this.#database.close();
  }

  #add({ scenario, source, reason, detail, origin, content }: RefusedEvent, timeUs: number): boolean {
    const packed = serialize(content);
    const kept = packed.length <= this.#options.contentMaxBytes ? packed : null;
    const bytes = eventBytes + (kept?.length ?? 0);
    const { changes } = this.#insert.run(scenario, source, reason, detail, origin, timeUs, bytes, kept);
    if (Number(changes) === 0) return false;
    this.#count.run(scenario, source, reason, timeUs, timeUs);
    this.#events++;
    this.#bytes += bytes;
    return true;
  }

  #makeRoom(): void {
    while (this.#events > this.#options.eventsMax || this.#bytes > this.#options.sizeMaxBytes) {
      const oldest = this.#oldest.get();
      if (oldest === undefined) return;
      this.#remove(Number(oldest.id));
    }
  }

  #remove(id: number): boolean {
    const removed = this.#delete.get(id);
    if (removed === undefined) return false;
    this.#events--;
    this.#bytes -= Number(removed.bytes);
    return true;
  }

  #transaction<T>(change: () => T): T {
    const before = { events: this.#events, bytes: this.#bytes };
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      const result = change();
      this.#database.exec("COMMIT");
      return result;
    } catch (cause) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      this.#events = before.events;
      this.#bytes = before.bytes;
      throw cause;
    }
  }
}
