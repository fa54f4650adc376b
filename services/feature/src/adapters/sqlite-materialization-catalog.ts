import { DatabaseSync, type SQLOutputValue, type StatementSync } from "node:sqlite";
import type { FieldReference, FieldReferences } from "../domain/materialize/distribution-check.ts";
import type {
  Materialization,
  MaterializationCatalog,
  MaterializationChange,
  MaterializationSpec,
  Watermark,
} from "../domain/materialize/materialization-catalog.ts";
import type { ValidationReport } from "../domain/materialize/validation.ts";

/** Materializations kept; the oldest go first. */
const materializationsMax = 1_000;
/** Reports kept a scenario. */
const reportsMax = 100;
/** Releases of a scenario whose references are kept. */
const referencesMax = 16;
/** Watermarks kept a view: of its newest generations, among which are those that readers can see. */
const watermarksMax = 16;

type Kept = Omit<Materialization, "id" | "state">;

/** A catalog in a SQLite file; ":memory:" for none. What was changed is on disk when the call returns. */
export class SqliteMaterializationCatalog implements MaterializationCatalog {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #update: StatementSync;
  readonly #find: StatementSync;
  readonly #list: StatementSync;
  readonly #trim: StatementSync;
  readonly #interrupt: StatementSync;
  readonly #interrupted: StatementSync;
  readonly #setReport: StatementSync;
  readonly #trimReports: StatementSync;
  readonly #report: StatementSync;
  readonly #reference: StatementSync;
  readonly #setReference: StatementSync;
  readonly #trimReferences: StatementSync;
  readonly #watermark: StatementSync;
  readonly #setWatermark: StatementSync;
  readonly #dropWatermark: StatementSync;
  readonly #trimWatermarks: StatementSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
    const prepare = (sql: string) => database.prepare(sql);
    this.#insert = prepare("INSERT INTO materializations (scenario, state, content) VALUES (?, ?, ?)");
    this.#update = prepare("UPDATE materializations SET state = ?, content = ? WHERE id = ?");
    this.#find = prepare("SELECT * FROM materializations WHERE id = ?");
    this.#list = prepare("SELECT * FROM materializations WHERE ? IN ('', scenario) ORDER BY id DESC LIMIT ?");
    this.#trim = prepare("DELETE FROM materializations WHERE id <= ? AND state NOT IN ('running', 'interrupted')");
    this.#interrupt = prepare("UPDATE materializations SET state = 'interrupted' WHERE state = 'running'");
    this.#interrupted = prepare("SELECT * FROM materializations WHERE state = 'interrupted' ORDER BY id");
    this.#setReport = prepare("INSERT OR REPLACE INTO reports VALUES (?, ?, ?)");
    this.#trimReports = prepare(
      `DELETE FROM reports WHERE scenario = ?1 AND id NOT IN
         (SELECT id FROM reports WHERE scenario = ?1 ORDER BY id DESC LIMIT ${reportsMax})`,
    );
    this.#report = prepare("SELECT * FROM reports WHERE scenario = ? AND ? IN (0, id) ORDER BY id DESC LIMIT 1");
    this.#reference = prepare(
      'SELECT content FROM "references" WHERE scenario = ? AND "release" = ? AND source = ? AND field = ?',
    );
    this.#setReference = prepare(
      'INSERT OR REPLACE INTO "references" (scenario, "release", source, field, content) VALUES (?, ?, ?, ?, ?)',
    );
    this.#trimReferences = prepare(
      `DELETE FROM "references" WHERE scenario = ?1 AND "release" NOT IN
         (SELECT "release" FROM "references" WHERE scenario = ?1 GROUP BY "release" ORDER BY MAX(id) DESC LIMIT ${referencesMax})`,
    );
    this.#watermark = prepare("SELECT * FROM watermarks WHERE view_id = ? AND generation = ?");
    this.#setWatermark = prepare("INSERT OR REPLACE INTO watermarks VALUES (?, ?, ?, ?, ?)");
    this.#dropWatermark = prepare("DELETE FROM watermarks WHERE view_id = ? AND generation = ?");
    this.#trimWatermarks = prepare(
      `DELETE FROM watermarks WHERE view_id = ?1 AND generation NOT IN
         (SELECT generation FROM watermarks WHERE view_id = ?1 ORDER BY generation DESC LIMIT ${watermarksMax})`,
    );
  }

  static open(path: string): SqliteMaterializationCatalog {
    const database = new DatabaseSync(path);
    database.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      CREATE TABLE IF NOT EXISTS materializations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        scenario TEXT NOT NULL,
        state TEXT NOT NULL,
        content TEXT NOT NULL
      ) STRICT;
      CREATE TABLE IF NOT EXISTS reports (
        id INTEGER PRIMARY KEY,
        scenario TEXT NOT NULL,
        content TEXT NOT NULL
      ) STRICT;
      CREATE INDEX IF NOT EXISTS reports_by_scenario ON reports (scenario, id);
      CREATE TABLE IF NOT EXISTS "references" (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        scenario TEXT NOT NULL,
        "release" TEXT NOT NULL,
        source TEXT NOT NULL,
        field TEXT NOT NULL,
        content TEXT NOT NULL,
        UNIQUE (scenario, "release", source, field)
      ) STRICT;
      CREATE TABLE IF NOT EXISTS watermarks (
        view_id TEXT NOT NULL,
        generation INTEGER NOT NULL,
        created_us INTEGER NOT NULL,
        row_count INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,
        PRIMARY KEY (view_id, generation)
      ) STRICT, WITHOUT ROWID;
    `);
    return new SqliteMaterializationCatalog(database);
  }

  begin(spec: MaterializationSpec, startUs: number): Materialization {
    const kept: Kept = {
      ...spec,
      attempt: 1,
      startUs,
      endedUs: undefined,
      rowsRead: 0,
      rowsTotal: 0,
      entitiesWritten: 0,
      done: [],
      fault: "",
    };
    const { lastInsertRowid } = this.#insert.run(spec.scenario, "running", JSON.stringify(kept));
    const id = Number(lastInsertRowid);
    this.#trim.run(id - materializationsMax);
    return { ...kept, id, state: "running" };
  }

  change(id: number, change: MaterializationChange): void {
    const known = this.#find.get(id);
    if (known === undefined) return;
    const { id: _, state, ...kept } = { ...read(known), ...change };
    this.#update.run(state, JSON.stringify(kept), id);
  }

  list(scenario: string, limit: number): readonly Materialization[] {
    return this.#list.all(scenario, limit).map(read);
  }

  interrupted(): readonly Materialization[] {
    this.#interrupt.run();
    return this.#interrupted.all().map(read);
  }

  setReport(id: number, scenario: string, report: ValidationReport): void {
    this.#setReport.run(id, scenario, JSON.stringify(report));
    this.#trimReports.run(scenario);
  }

  report(scenario: string, id = 0): { readonly id: number; readonly report: ValidationReport } | undefined {
    const found = this.#report.get(scenario, id);
    if (found === undefined) return undefined;
    return { id: Number(found.id), report: JSON.parse(String(found.content)) as ValidationReport };
  }

  references(scenario: string, release: string): FieldReferences {
    return {
      get: (source, field) => {
        const found = this.#reference.get(scenario, release, source, field);
        return found === undefined ? undefined : (JSON.parse(String(found.content)) as FieldReference);
      },
      set: (source, field, reference) => {
        this.#setReference.run(scenario, release, source, field, JSON.stringify(reference));
        this.#trimReferences.run(scenario);
      },
    };
  }

  watermark(viewId: string, generation: number): Watermark | undefined {
    const found = this.#watermark.get(viewId, generation);
    if (found === undefined) return undefined;
    return {
      createdUs: Number(found.created_us),
      rowCount: Number(found.row_count),
      fingerprint: String(found.fingerprint),
    };
  }

  setWatermark(viewId: string, generation: number, watermark: Watermark | undefined): void {
    if (watermark === undefined) {
      this.#dropWatermark.run(viewId, generation);
      return;
    }
    this.#setWatermark.run(viewId, generation, watermark.createdUs, watermark.rowCount, watermark.fingerprint);
    this.#trimWatermarks.run(viewId);
  }

  close(): void {
    this.#database.close();
  }
}

function read(record: Record<string, SQLOutputValue>): Materialization {
  const kept = JSON.parse(String(record.content)) as Kept;
  return { ...kept, id: Number(record.id), state: String(record.state) as Materialization["state"] };
}
