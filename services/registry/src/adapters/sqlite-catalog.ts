import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { canonicalJson } from "../domain/canonical.ts";
import type {
  Catalog,
  FeatureViewContent,
  FeatureViewVersion,
  IndexGeneration,
  Label,
  LabelMove,
  LabelMoved,
  LabelState,
  ModelContent,
  ModelVersion,
  Page,
  PageQuery,
  Release,
  ReleaseContent,
  VersionReference,
} from "../domain/catalog.ts";
import { fillPage, modelDigest, moveFingerprint } from "../domain/records.ts";
import { errors } from "../errors.ts";

/** How a catalog file is opened. */
export interface SqliteCatalogOptions {
  /** Request ids remembered, so that a repeated move of a label is harmless. */
  readonly requestIdsMax: number;
  /** Greatest number of 4 KiB pages of the file; unbounded when absent. */
  readonly pagesMax?: number;
}

const schemaVersion = 1;

/** Records are only added: the triggers refuse every change of one, whoever asks. */
const schema = `
  CREATE TABLE feature_views (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    scenario TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
    digest TEXT NOT NULL, definition TEXT NOT NULL, create_time_us INTEGER NOT NULL,
    UNIQUE (scenario, name, version), UNIQUE (scenario, name, digest)
  ) STRICT;
  CREATE TABLE models (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    scenario TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
    digest TEXT NOT NULL, content TEXT NOT NULL, create_time_us INTEGER NOT NULL,
    UNIQUE (scenario, name, version), UNIQUE (scenario, name, digest)
  ) STRICT;
  CREATE TABLE releases (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, scenario TEXT NOT NULL, digest TEXT NOT NULL, content TEXT NOT NULL,
    create_time_us INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX feature_views_by_scenario ON feature_views (scenario, position);
  CREATE INDEX models_by_scenario ON models (scenario, position);
  CREATE INDEX releases_by_scenario ON releases (scenario, position);
  CREATE TABLE labels (
    scenario TEXT NOT NULL, label TEXT NOT NULL, release_id TEXT NOT NULL REFERENCES releases (id),
    PRIMARY KEY (scenario, label)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE label_requests (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL UNIQUE, fingerprint TEXT NOT NULL, revision INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE revision (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER NOT NULL) STRICT;
  INSERT INTO revision VALUES (1, 0);
  ${["feature_views", "models", "releases"]
    .flatMap((table) =>
      ["UPDATE", "DELETE"].map(
        (change) =>
          `CREATE TRIGGER ${table}_no_${change.toLowerCase()} BEFORE ${change} ON ${table}
           BEGIN SELECT RAISE(ABORT, '${table} never change'); END;`,
      ),
    )
    .join("\n")}
  PRAGMA user_version = ${schemaVersion};
`;

const sqliteBusy = 5;
const sqliteFull = 13;

/**
 * The catalog in one SQLite file: write-ahead log, flushed to the disk before a write is answered. One process at a time
 * holds the file (STORE_IN_USE for the next).
 */
export class SqliteCatalog implements Catalog {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #requestIdsMax: number;

  /** Opens or makes the file. Throws STORE_IN_USE, STORE_TOO_NEW or DISK_FULL. */
  static open(path: string, options: SqliteCatalogOptions): SqliteCatalog {
    const database = new DatabaseSync(path, { timeout: 250, enableForeignKeyConstraints: true });
    try {
      // The exclusive lock comes first: a second process must fail here, not at its first write.
      database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
      database.exec("BEGIN IMMEDIATE");
      const found = Number(database.prepare("PRAGMA user_version").get()?.user_version);
      if (found > schemaVersion) throw errors.STORE_TOO_NEW({ path, schema: found });
      if (found === 0) database.exec(schema);
      database.exec("COMMIT");
      if (options.pagesMax !== undefined) database.exec(`PRAGMA max_page_count = ${options.pagesMax}`);
      return new SqliteCatalog(database, options);
    } catch (error) {
      database.close();
      if (sqliteCode(error) === sqliteBusy) throw errors.STORE_IN_USE({ path }, { cause: error });
      throw translated(error);
    }
  }

  private constructor(database: DatabaseSync, options: SqliteCatalogOptions) {
    this.#database = database;
    this.#requestIdsMax = options.requestIdsMax;
  }

  async addFeatureView(view: FeatureViewContent, createTimeUs: number): Promise<FeatureViewVersion> {
    return this.#write(() => {
      const { scenario, name, digest, definition } = view;
      const row =
        this.#row(
          "SELECT * FROM feature_views WHERE scenario = ? AND name = ? AND digest = ?",
          scenario,
          name,
          digest,
        ) ??
        this.#row(
          `INSERT INTO feature_views (scenario, name, version, digest, definition, create_time_us)
           VALUES (?1, ?2, 1 + (SELECT count(*) FROM feature_views WHERE scenario = ?1 AND name = ?2), ?3, ?4, ?5)
           RETURNING *`,
          scenario,
          name,
          digest,
          definition,
          createTimeUs,
        );
      return featureViewOf(required(row));
    });
  }

  async featureView(scenario: string, name: string, version: string): Promise<FeatureViewVersion | undefined> {
    return this.#read(() => {
      const row = this.#version("feature_views", scenario, name, version);
      return row === undefined ? undefined : featureViewOf(row);
    });
  }

  async newestFeatureViews(scenario: string): Promise<readonly FeatureViewVersion[]> {
    return this.#read(() =>
      this.#rows(
        // With a bare max() SQLite takes the other columns from the row that has it.
        "SELECT *, max(version) FROM feature_views WHERE scenario = ? GROUP BY name ORDER BY name",
        scenario,
      ).map(featureViewOf),
    );
  }

  async listFeatureViews(query: PageQuery): Promise<Page<FeatureViewVersion>> {
    return this.#read(() => this.#page("feature_views", query, featureViewOf));
  }

  async addModel(model: ModelContent, createTimeUs: number): Promise<ModelVersion> {
    return this.#write(() => {
      const { scenario, name } = model;
      const digest = modelDigest(model);
      const row =
        this.#row("SELECT * FROM models WHERE scenario = ? AND name = ? AND digest = ?", scenario, name, digest) ??
        this.#row(
          `INSERT INTO models (scenario, name, version, digest, content, create_time_us)
           VALUES (?1, ?2, 1 + (SELECT count(*) FROM models WHERE scenario = ?1 AND name = ?2), ?3, ?4, ?5)
           RETURNING *`,
          scenario,
          name,
          digest,
          canonicalJson(model),
          createTimeUs,
        );
      return modelOf(required(row));
    });
  }

  async model(scenario: string, name: string, version: string): Promise<ModelVersion | undefined> {
    return this.#read(() => {
      const row = this.#version("models", scenario, name, version);
      return row === undefined ? undefined : modelOf(row);
    });
  }

  async listModels(query: PageQuery): Promise<Page<ModelVersion>> {
    return this.#read(() => this.#page("models", query, modelOf));
  }

  async addRelease(release: ReleaseContent, createTimeUs: number): Promise<Release> {
    return this.#write(() => {
      const { id, scenario, digest, codeDigest, models, featureViews, indexes } = release;
      const found = this.#row("SELECT * FROM releases WHERE id = ?", id);
      if (found !== undefined && found.digest !== digest) throw errors.RELEASE_ID_TAKEN({ release: id });
      const row =
        found ??
        this.#row(
          "INSERT INTO releases (id, scenario, digest, content, create_time_us) VALUES (?, ?, ?, ?, ?) RETURNING *",
          id,
          scenario,
          digest,
          canonicalJson({ codeDigest, models, featureViews, indexes }),
          createTimeUs,
        );
      return this.#releaseOf(required(row));
    });
  }

  async release(id: string): Promise<Release | undefined> {
    return this.#read(() => {
      const row = this.#row("SELECT * FROM releases WHERE id = ?", id);
      return row === undefined ? undefined : this.#releaseOf(row);
    });
  }

  async listReleases(query: PageQuery): Promise<Page<Release>> {
    return this.#read(() => this.#page("releases", query, (row) => this.#releaseOf(row)));
  }

  async moveLabel(move: LabelMove): Promise<LabelMoved> {
    return this.#write(() => {
      const { scenario, label, releaseId, expectedReleaseId: expected, requestId } = move;
      const fingerprint = moveFingerprint(move);
      const repeated =
        requestId === "" ? undefined : this.#row("SELECT * FROM label_requests WHERE request_id = ?", requestId);
      if (repeated !== undefined) {
        if (repeated.fingerprint !== fingerprint) throw errors.REQUEST_ID_REUSED({ requestId });
        return { revision: Number(repeated.revision), changed: false };
      }
      this.#checkReleaseOf(scenario, releaseId);
      const now = this.#row("SELECT release_id FROM labels WHERE scenario = ? AND label = ?", scenario, label);
      const actual = String(now?.release_id ?? "");
      if (expected !== undefined && expected !== actual)
        throw errors.LABEL_MOVED({ scenario, label, expected, actual });
      const changed = actual !== releaseId;
      if (changed) {
        if (releaseId === "") this.#run("DELETE FROM labels WHERE scenario = ? AND label = ?", scenario, label);
        else this.#run("INSERT OR REPLACE INTO labels VALUES (?, ?, ?)", scenario, label, releaseId);
        this.#run("UPDATE revision SET value = value + 1");
      }
      const revision = this.#revision();
      if (requestId !== "") this.#remember(requestId, fingerprint, revision);
      return { revision, changed };
    });
  }

  async labelState(): Promise<LabelState> {
    return this.#read(() => {
      const rows = this.#rows(
        `SELECT labels.label, releases.* FROM labels JOIN releases ON releases.id = labels.release_id
         ORDER BY labels.scenario, labels.label`,
      );
      const releases = rows.map((row) => ({ label: String(row.label) as Label, release: this.#releaseOf(row) }));
      return { revision: this.#revision(), releases };
    });
  }

  close(): void {
    this.#statements.clear();
    if (this.#database.isOpen) this.#database.close();
  }

  #checkReleaseOf(scenario: string, releaseId: string): void {
    if (releaseId === "") return;
    const release = this.#row("SELECT scenario FROM releases WHERE id = ?", releaseId);
    if (release === undefined) throw errors.RELEASE_NOT_FOUND({ release: releaseId });
    if (release.scenario !== scenario) throw errors.RELEASE_OF_OTHER_SCENARIO({ release: releaseId, scenario });
  }

  #remember(requestId: string, fingerprint: string, revision: number): void {
    this.#run(
      "INSERT INTO label_requests (request_id, fingerprint, revision) VALUES (?, ?, ?)",
      requestId,
      fingerprint,
      revision,
    );
    this.#run(
      "DELETE FROM label_requests WHERE position <= (SELECT max(position) FROM label_requests) - ?",
      this.#requestIdsMax,
    );
  }

  #revision(): number {
    return Number(required(this.#row("SELECT value FROM revision")).value);
  }

  #version(table: string, scenario: string, name: string, version: string): Row | undefined {
    return version === ""
      ? this.#row(
          `SELECT * FROM ${table} WHERE scenario = ? AND name = ? ORDER BY version DESC LIMIT 1`,
          scenario,
          name,
        )
      : this.#row(
          `SELECT * FROM ${table} WHERE scenario = ? AND name = ? AND version = ?`,
          scenario,
          name,
          Number(version),
        );
  }

  #page<T>(table: string, query: PageQuery, make: (row: Row) => T): Page<T> {
    const before = query.before ?? Number.MAX_SAFE_INTEGER;
    const rows =
      query.scenario === ""
        ? this.#statement(`SELECT * FROM ${table} WHERE position < ? ORDER BY position DESC`).iterate(before)
        : this.#statement(`SELECT * FROM ${table} WHERE scenario = ? AND position < ? ORDER BY position DESC`).iterate(
            query.scenario,
            before,
          );
    return fillPage(positioned(rows, make), query);
  }

  #releaseOf(row: Row): Release {
    const scenario = String(row.scenario);
    const content = JSON.parse(String(row.content)) as {
      codeDigest: string;
      models: readonly VersionReference[];
      featureViews: readonly VersionReference[];
      indexes: readonly IndexGeneration[];
    };
    const models = content.models.map(({ name, version }) => {
      const model = this.#version("models", scenario, name, version);
      if (model === undefined) throw errors.MODEL_NOT_FOUND({ scenario, model: name, version });
      return modelOf(model);
    });
    return {
      ...content,
      id: String(row.id),
      scenario,
      digest: String(row.digest),
      models,
      createTimeUs: Number(row.create_time_us),
    };
  }

  #write<T>(work: () => T): T {
    return this.#read(() => {
      this.#database.exec("BEGIN IMMEDIATE");
      try {
        const result = work();
        this.#database.exec("COMMIT");
        return result;
      } catch (error) {
        // A full disk makes SQLite roll back by itself.
        if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
        throw error;
      }
    });
  }

  #read<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw translated(error);
    }
  }

  #row(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#statement(sql).get(...values);
  }

  #rows(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#statement(sql).all(...values);
  }

  #run(sql: string, ...values: SQLInputValue[]): void {
    this.#statement(sql).run(...values);
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

type Row = Record<string, unknown>;

/** Rows with their positions. A reader that leaves early ends the statement, which would hold the log open. */
function* positioned<T>(rows: Iterator<Row>, make: (row: Row) => T): Generator<{ position: number; record: T }> {
  try {
    for (let step = rows.next(); step.done !== true; step = rows.next()) {
      yield { position: Number(step.value.position), record: make(step.value) };
    }
  } finally {
    rows.return?.();
  }
}

function required(row: Row | undefined): Row {
  if (row === undefined) throw errors.STORE_FAILED({ store: "catalog" });
  return row;
}

function featureViewOf(row: Row): FeatureViewVersion {
  return {
    scenario: String(row.scenario),
    name: String(row.name),
    version: String(row.version),
    definition: String(row.definition),
    digest: String(row.digest),
    createTimeUs: Number(row.create_time_us),
  };
}

function modelOf(row: Row): ModelVersion {
  return {
    ...(JSON.parse(String(row.content)) as ModelContent),
    version: String(row.version),
    digest: String(row.digest),
    createTimeUs: Number(row.create_time_us),
  };
}

function sqliteCode(error: unknown): number | undefined {
  if (typeof error !== "object" || error === null || !("errcode" in error)) return undefined;
  return typeof error.errcode === "number" ? error.errcode & 0xff : undefined;
}

function translated(error: unknown): unknown {
  const code = sqliteCode(error);
  if (code === undefined) return error;
  if (code === sqliteFull) return errors.DISK_FULL({ store: "catalog" }, { cause: error });
  return errors.STORE_FAILED({ store: "catalog" }, { cause: error });
}
