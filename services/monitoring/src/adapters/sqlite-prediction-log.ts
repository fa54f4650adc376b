import { existsSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { LabelRecord, PackedPredictions, PredictionLayout, StoredPrediction } from "../domain/prediction.ts";
import { layoutKey, parseLayoutKey } from "../domain/prediction.ts";
import {
  type Appended,
  type AppendedLabels,
  type Dropped,
  type LabelledPage,
  type LabelledQuery,
  LogFailure,
  type LoggedRelease,
  type LogUsage,
  type PredictionLog,
} from "../domain/prediction-log.ts";
import type { ReleaseParts } from "../domain/release-parts.ts";

/** Settings of a SQLite log. */
export interface SqlitePredictionLogOptions {
  /** File of the database; made if absent. */
  readonly path: string;
  /** `full` survives a power cut, `normal` the death of the process only. */
  readonly synchronous: "full" | "normal";
  /** Size that the file never passes: an append that would is refused with `full`. Whole pages of 4 KiB. */
  readonly hardLimitBytes: number;
  /** Combinations of release and models kept at once. */
  readonly layoutsMax: number;
}

const SCHEMA_VERSION = 1;
const PAGE_BYTES = 4096;
const SQLITE_BUSY = 5;
const SQLITE_FULL = 13;

const SCHEMA = `
CREATE TABLE releases (
  number INTEGER PRIMARY KEY, scenario TEXT NOT NULL, release_id TEXT NOT NULL, parts TEXT,
  UNIQUE (scenario, release_id)
) STRICT;
CREATE TABLE layouts (
  number INTEGER PRIMARY KEY, release_number INTEGER NOT NULL REFERENCES releases (number), key TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE predictions (
  sequence INTEGER PRIMARY KEY, layout_number INTEGER NOT NULL, event_time_us INTEGER NOT NULL,
  logged_ms INTEGER NOT NULL, request_id TEXT NOT NULL, item TEXT NOT NULL, payload BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX predictions_by_key ON predictions (request_id, item);
CREATE INDEX predictions_by_time ON predictions (layout_number, event_time_us);
CREATE TABLE labels (
  request_id TEXT NOT NULL, item TEXT NOT NULL, scenario TEXT NOT NULL, value REAL NOT NULL,
  label_time_us INTEGER NOT NULL, received_ms INTEGER NOT NULL,
  sequence INTEGER, release_number INTEGER, event_time_us INTEGER,
  PRIMARY KEY (request_id, item, scenario)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_joined ON labels (release_number, event_time_us, sequence) WHERE sequence IS NOT NULL;
CREATE INDEX labels_by_sequence ON labels (sequence) WHERE sequence IS NOT NULL;
CREATE INDEX labels_waiting ON labels (received_ms) WHERE sequence IS NULL;
PRAGMA user_version = ${SCHEMA_VERSION};
`;

const COLUMNS = "p.sequence, p.layout_number, p.event_time_us, p.request_id, p.item, p.payload";
type PredictionRow = [number, number, number, string, string, Uint8Array];

/** A prediction log in one SQLite file (WAL), held by this process alone. Its calls block the thread they run on. */
export class SqlitePredictionLog implements PredictionLog {
  readonly #database: DatabaseSync;
  readonly #statements: ReturnType<typeof prepare>;
  readonly #layoutsMax: number;
  readonly #layouts = new Map<number, { readonly layout: PredictionLayout; readonly releaseNumber: number }>();
  readonly #layoutNumbers = new Map<string, number>();
  #lastSequence: number;
  #predictionCount: number;
  #labelCount: number;
  #waitingLabelCount: number;
  #isOpen = true;

  /** Opens the file, or makes it. Fails with LogFailure where it is held by another process or is no such database. */
  static open(options: SqlitePredictionLogOptions): SqlitePredictionLog {
    const isNew = !existsSync(options.path);
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(options.path, { timeout: 0 });
      database.exec(`
        PRAGMA page_size = ${PAGE_BYTES}; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;
        PRAGMA synchronous = ${options.synchronous}; PRAGMA wal_autocheckpoint = 4000;
        PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -65536;
      `);
      const version = database.prepare("PRAGMA user_version").get()?.user_version;
      if (version === 0) {
        database.exec(`BEGIN IMMEDIATE; ${SCHEMA} COMMIT;`);
      } else if (version !== SCHEMA_VERSION) {
        throw new LogFailure("failed", `${options.path} has schema ${version}; this program knows ${SCHEMA_VERSION}`);
      }
      database.exec(`PRAGMA max_page_count = ${Math.ceil(options.hardLimitBytes / PAGE_BYTES)}`);
      return new SqlitePredictionLog(database, options.layoutsMax);
    } catch (error) {
      database?.close();
      throw failure(error, isNew ? `cannot make ${options.path}` : `cannot open ${options.path}`);
    }
  }

  private constructor(database: DatabaseSync, layoutsMax: number) {
    this.#database = database;
    this.#layoutsMax = layoutsMax;
    this.#statements = prepare(database);
    this.#readLayouts();
    this.#lastSequence = this.#number("SELECT coalesce(max(sequence), 0) FROM predictions");
    this.#predictionCount = this.#number("SELECT count(*) FROM predictions");
    this.#labelCount = this.#number("SELECT count(*) FROM labels");
    this.#waitingLabelCount = this.#number("SELECT count(*) FROM labels WHERE sequence IS NULL");
  }

  async append(batch: PackedPredictions, loggedMs: number): Promise<Appended> {
    const { insert, joinWaiting } = this.#statements;
    const isNew = new Uint8Array(batch.count);
    let newCount = 0;
    let joinedCount = 0;
    let sequence = this.#lastSequence;
    this.#transaction(() => {
      const numbers = batch.layouts.map((layout) => this.#layoutNumber(layout));
      for (let row = 0; row < batch.count; row++) {
        const layoutIndex = batch.layoutIndexes[row] as number;
        const number = numbers[layoutIndex] as number;
        const eventTimeUs = batch.eventTimesUs[row] as number;
        const requestId = batch.requestIds[row] as string;
        const item = batch.items[row] as string;
        const start = batch.payloadStarts[row] as number;
        const payload = batch.payloads.subarray(start, start + (batch.payloadLengths[row] as number));
        if (insert.run(sequence + 1, number, eventTimeUs, loggedMs, requestId, item, payload).changes === 0) {
          continue;
        }
        sequence++;
        isNew[row] = 1;
        newCount++;
        if (this.#waitingLabelCount > joinedCount) {
          const releaseNumber = this.#layouts.get(number)?.releaseNumber ?? 0;
          const { scenario } = batch.layouts[layoutIndex] as PredictionLayout;
          const joined = joinWaiting.run(sequence, releaseNumber, eventTimeUs, requestId, item, scenario);
          joinedCount += Number(joined.changes);
        }
      }
    });
    this.#lastSequence = sequence;
    this.#predictionCount += newCount;
    this.#waitingLabelCount -= joinedCount;
    return { isNew, newCount, joinedCount };
  }

  async appendLabels(scenario: string, labels: readonly LabelRecord[], receivedMs: number): Promise<AppendedLabels> {
    const { findPrediction, findLabel, upsertLabel } = this.#statements;
    let changedCount = 0;
    let joinedCount = 0;
    let added = 0;
    let addedWaiting = 0;
    this.#transaction(() => {
      for (const { requestId, item, value, labelTimeUs } of labels) {
        const prediction = findPrediction.get(requestId, item, scenario) as unknown as
          | [number, number, number]
          | undefined;
        const [sequence, releaseNumber, eventTimeUs] = prediction ?? [null, null, null];
        const isKnown = findLabel.get(requestId, item, scenario) !== undefined;
        const { changes } = upsertLabel.run(
          requestId,
          item,
          scenario,
          value,
          labelTimeUs,
          receivedMs,
          sequence,
          releaseNumber,
          eventTimeUs,
        );
        changedCount += Number(changes);
        joinedCount += prediction === undefined ? 0 : 1;
        added += isKnown ? 0 : 1;
        addedWaiting += isKnown || prediction !== undefined ? 0 : 1;
      }
    });
    this.#labelCount += added;
    this.#waitingLabelCount += addedWaiting;
    return { changedCount, joinedCount };
  }

  async scan(afterSequence: number, limit: number): Promise<readonly StoredPrediction[]> {
    return this.#guard(() => {
      const rows = this.#statements.scan.all(afterSequence, limit) as unknown as PredictionRow[];
      return rows.map((row) => this.#prediction(row));
    });
  }

  async scanBack(beforeSequence: number, limit: number): Promise<readonly StoredPrediction[]> {
    return this.#guard(() => {
      const rows = this.#statements.scanBack.all(beforeSequence, limit) as unknown as PredictionRow[];
      return rows.map((row) => this.#prediction(row));
    });
  }

  async labelled({ scenario, releaseId, fromUs, toUs, after, limit }: LabelledQuery): Promise<LabelledPage> {
    return this.#guard(() => {
      const release = this.#statements.findRelease.get(scenario, releaseId) as unknown as [number] | undefined;
      if (release === undefined) {
        return { rows: [], next: undefined };
      }
      const found = this.#statements.labelled.all(
        release[0],
        toUs,
        after?.eventTimeUs ?? fromUs,
        after?.sequence ?? -1,
        limit,
      ) as unknown as [...PredictionRow, number][];
      const rows = found.map((row) => ({ prediction: this.#prediction(row), label: row[6] as number }));
      const last = rows.at(-1)?.prediction;
      const hasMore = rows.length === limit && last !== undefined;
      return { rows, next: hasMore ? { eventTimeUs: last.eventTimeUs, sequence: last.sequence } : undefined };
    });
  }

  async releases(scenario: string): Promise<readonly LoggedRelease[]> {
    return this.#guard(() => {
      const found = this.#statements.releases.all(scenario) as unknown as [string, string, number][];
      return found.map(([releaseId, itsScenario, newestUs]) => ({ releaseId, scenario: itsScenario, newestUs }));
    });
  }

  async putRelease(parts: ReleaseParts): Promise<void> {
    this.#transaction(() => this.#statements.putRelease.run(parts.scenario, parts.releaseId, JSON.stringify(parts)));
  }

  async releaseParts(): Promise<readonly ReleaseParts[]> {
    return this.#guard(() => {
      const found = this.#statements.releaseParts.all() as unknown as [string][];
      return found.map(([parts]) => JSON.parse(parts) as ReleaseParts);
    });
  }

  async dropOldest(limit: number, untilMs: number): Promise<Dropped> {
    const statements = this.#statements;
    let predictions: readonly StoredPrediction[] = [];
    let droppedLabels = 0;
    let droppedWaiting = 0;
    this.#transaction(() => {
      const oldest = statements.oldestPrediction.get() as unknown as [number] | undefined;
      const label = statements.oldestWaiting.get() as unknown as [number | null] | undefined;
      const labelMs = label?.[0] ?? Number.POSITIVE_INFINITY;
      const predictionMs = oldest?.[0] ?? Number.POSITIVE_INFINITY;
      if (labelMs < predictionMs) {
        const until = Math.min(untilMs, predictionMs - 1, Number.MAX_SAFE_INTEGER);
        droppedWaiting = Number(statements.dropWaiting.run(until, limit).changes);
        return;
      }
      const rows = statements.scanOldest.all(limit) as unknown as [...PredictionRow, number][];
      const end = rows.findIndex((row) => row[6] > untilMs);
      predictions = (end < 0 ? rows : rows.slice(0, end)).map((row) => this.#prediction(row));
      const last = predictions.at(-1);
      if (last !== undefined) {
        droppedLabels = Number(statements.dropJoined.run(last.sequence).changes);
        statements.dropPredictions.run(last.sequence);
        statements.dropLayouts.run();
        statements.dropReleases.run();
      }
    });
    if (predictions.length > 0) {
      this.#readLayouts();
    }
    this.#predictionCount -= predictions.length;
    this.#labelCount -= droppedLabels + droppedWaiting;
    this.#waitingLabelCount -= droppedWaiting;
    return { predictions, labelCount: droppedLabels + droppedWaiting };
  }

  async usage(): Promise<LogUsage> {
    return this.#guard(() => {
      const { pageCount, freeCount, oldestPrediction, oldestWaiting } = this.#statements;
      const pages = (pageCount.get() as unknown as [number])[0] - (freeCount.get() as unknown as [number])[0];
      const prediction = oldestPrediction.get() as unknown as [number] | undefined;
      const label = oldestWaiting.get() as unknown as [number | null] | undefined;
      const oldestMs = Math.min(prediction?.[0] ?? Number.POSITIVE_INFINITY, label?.[0] ?? Number.POSITIVE_INFINITY);
      return {
        sizeBytes: pages * PAGE_BYTES,
        predictionCount: this.#predictionCount,
        labelCount: this.#labelCount,
        waitingLabelCount: this.#waitingLabelCount,
        oldestMs: Number.isFinite(oldestMs) ? oldestMs : undefined,
        lastSequence: this.#lastSequence,
      };
    });
  }

  async close(): Promise<void> {
    if (this.#isOpen) {
      this.#isOpen = false;
      this.#database.close();
    }
  }

  /** Number of a layout, which is stored with its release where it is new. */
  #layoutNumber(layout: PredictionLayout): number {
    const key = layoutKey(layout);
    const known = this.#layoutNumbers.get(key);
    if (known !== undefined) {
      return known;
    }
    if (this.#layouts.size >= this.#layoutsMax) {
      throw new LogFailure("layouts", `more than ${this.#layoutsMax} combinations of release and models`);
    }
    const { findRelease, addRelease, addLayout } = this.#statements;
    const release = findRelease.get(layout.scenario, layout.releaseId) as unknown as [number] | undefined;
    const releaseNumber = release?.[0] ?? Number(addRelease.run(layout.scenario, layout.releaseId).lastInsertRowid);
    const number = Number(addLayout.run(releaseNumber, key).lastInsertRowid);
    this.#layouts.set(number, { layout, releaseNumber });
    this.#layoutNumbers.set(key, number);
    return number;
  }

  #readLayouts(): void {
    const rows = this.#statements.layouts.all() as unknown as [number, number, string][];
    if (rows.length === this.#layouts.size && rows.every(([number]) => this.#layouts.has(number))) {
      return;
    }
    this.#layouts.clear();
    this.#layoutNumbers.clear();
    for (const [number, releaseNumber, key] of rows) {
      this.#layouts.set(number, { layout: parseLayoutKey(key), releaseNumber });
      this.#layoutNumbers.set(key, number);
    }
  }

  #prediction(row: PredictionRow | [...PredictionRow, number]): StoredPrediction {
    const [sequence, layoutNumber, eventTimeUs, requestId, item, payload] = row;
    const layout = this.#layouts.get(layoutNumber)?.layout;
    if (layout === undefined) {
      throw new LogFailure("failed", `prediction ${sequence} has no layout ${layoutNumber}`);
    }
    return { sequence, layout, requestId, item, eventTimeUs, payload };
  }

  #number(sql: string): number {
    const statement = this.#database.prepare(sql);
    statement.setReturnArrays(true);
    return (statement.get() as unknown as [number])[0];
  }

  /** Runs all of it or none; what is cached of layouts follows. */
  #transaction(run: () => void): void {
    this.#guard(() => {
      this.#database.exec("BEGIN IMMEDIATE");
      try {
        run();
        this.#database.exec("COMMIT");
      } catch (error) {
        // SQLite rolls some failures back by itself, a full disk among them.
        if (this.#database.isTransaction) {
          this.#database.exec("ROLLBACK");
        }
        this.#readLayouts();
        throw error;
      }
    });
  }

  #guard<T>(run: () => T): T {
    if (!this.#isOpen) {
      throw new LogFailure("closed", "the prediction log is closed");
    }
    try {
      return run();
    } catch (error) {
      throw failure(error, "the prediction log failed");
    }
  }
}

function failure(error: unknown, what: string): LogFailure {
  if (error instanceof LogFailure) {
    return error;
  }
  const code = typeof error === "object" && error !== null && "errcode" in error ? Number(error.errcode) & 0xff : 0;
  if (code === SQLITE_FULL) {
    return new LogFailure("full", "no space is left for the prediction log", error);
  }
  if (code === SQLITE_BUSY) {
    return new LogFailure("failed", `${what}: another process holds it`, error);
  }
  return new LogFailure("failed", `${what}: ${error instanceof Error ? error.message : String(error)}`, error);
}

function prepare(database: DatabaseSync) {
  const statement = (sql: string): StatementSync => {
    const prepared = database.prepare(sql);
    prepared.setReturnArrays(true);
    return prepared;
  };
  return {
    insert: statement(`INSERT INTO predictions
      (sequence, layout_number, event_time_us, logged_ms, request_id, item, payload) VALUES (?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (request_id, item) DO NOTHING`),
    joinWaiting: statement(`UPDATE labels SET sequence = ?, release_number = ?, event_time_us = ?
      WHERE request_id = ? AND item = ? AND scenario = ? AND sequence IS NULL`),
    findPrediction: statement(`SELECT p.sequence, l.release_number, p.event_time_us FROM predictions p
      JOIN layouts l ON l.number = p.layout_number JOIN releases r ON r.number = l.release_number
      WHERE p.request_id = ? AND p.item = ? AND r.scenario = ?`),
    findLabel: statement("SELECT 1 FROM labels WHERE request_id = ? AND item = ? AND scenario = ?"),
    upsertLabel: statement(`INSERT INTO labels
      (request_id, item, scenario, value, label_time_us, received_ms, sequence, release_number, event_time_us)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (request_id, item, scenario) DO UPDATE
      SET value = excluded.value, label_time_us = excluded.label_time_us
      WHERE (excluded.label_time_us, excluded.value) > (labels.label_time_us, labels.value)`),
    scan: statement(`SELECT ${COLUMNS} FROM predictions p WHERE p.sequence > ? ORDER BY p.sequence LIMIT ?`),
    scanBack: statement(`SELECT ${COLUMNS} FROM predictions p WHERE p.sequence < ? ORDER BY p.sequence DESC LIMIT ?`),
    scanOldest: statement(`SELECT ${COLUMNS}, p.logged_ms FROM predictions p ORDER BY p.sequence LIMIT ?`),
    labelled: statement(`SELECT ${COLUMNS}, b.value FROM labels b JOIN predictions p ON p.sequence = b.sequence
      WHERE b.sequence IS NOT NULL AND b.release_number = ? AND b.event_time_us <= ?
      AND (b.event_time_us, b.sequence) > (?, ?) ORDER BY b.event_time_us, b.sequence LIMIT ?`),
    releases: statement(`SELECT r.release_id, r.scenario, max(t.newest) FROM releases r JOIN (
        SELECT release_number,
          (SELECT max(event_time_us) FROM predictions p WHERE p.layout_number = layouts.number) AS newest FROM layouts
      ) t ON t.release_number = r.number WHERE t.newest IS NOT NULL AND ?1 IN ('', r.scenario)
      GROUP BY r.number ORDER BY r.number`),
    findRelease: statement("SELECT number FROM releases WHERE scenario = ? AND release_id = ?"),
    addRelease: statement("INSERT INTO releases (scenario, release_id) VALUES (?, ?)"),
    putRelease: statement(`INSERT INTO releases (scenario, release_id, parts) VALUES (?, ?, ?)
      ON CONFLICT (scenario, release_id) DO UPDATE SET parts = excluded.parts`),
    releaseParts: statement("SELECT parts FROM releases WHERE parts IS NOT NULL ORDER BY number"),
    layouts: statement("SELECT number, release_number, key FROM layouts"),
    addLayout: statement("INSERT INTO layouts (release_number, key) VALUES (?, ?)"),
    oldestPrediction: statement("SELECT logged_ms FROM predictions ORDER BY sequence LIMIT 1"),
    oldestWaiting: statement("SELECT min(received_ms) FROM labels WHERE sequence IS NULL"),
    dropWaiting: statement(`DELETE FROM labels WHERE (request_id, item, scenario) IN (
      SELECT request_id, item, scenario FROM labels WHERE sequence IS NULL AND received_ms <= ?
      ORDER BY received_ms LIMIT ?)`),
    dropJoined: statement("DELETE FROM labels WHERE sequence IS NOT NULL AND sequence <= ?"),
    dropPredictions: statement("DELETE FROM predictions WHERE sequence <= ?"),
    dropLayouts: statement(`DELETE FROM layouts WHERE NOT EXISTS (
      SELECT 1 FROM predictions p WHERE p.layout_number = layouts.number)`),
    dropReleases: statement(`DELETE FROM releases WHERE number NOT IN (SELECT release_number FROM layouts)`),
    pageCount: statement("PRAGMA page_count"),
    freeCount: statement("PRAGMA freelist_count"),
  };
}
