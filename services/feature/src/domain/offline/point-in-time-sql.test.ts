import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { defineSource, type Value } from "@weft/scenario";
import { seededRandom } from "@weft/testkit";
import { createDuckDbStore } from "../../adapters/duckdb.ts";
import type { ColumnSpec, OfflineWorkspace } from "./offline-store.ts";
import { asOfSql, eventsSql, keysSql, newestSql, readsSql, spineSql } from "./point-in-time-sql.ts";

const seed = 20_251;
const cases = 10_500;

interface Fact {
  readonly card: bigint | null;
  readonly place: string;
  readonly eventUs: number;
  readonly createdUs: number;
  readonly amount: number | null;
  readonly note: string | null;
}

/** A label of a spine: of an event, known at the same time, later, or at a time that was not kept. */
interface Label {
  readonly row: number;
  readonly eventUs: number;
  readonly knownUs: number | null;
  readonly value: number | null;
}

interface Ask {
  readonly card: bigint | null;
  readonly place: string;
  readonly timeUs: number;
}

/** Few different times, so that ties, edges and late rows come up all the time. Each case has a card of its own. */
function histories(random: () => number): { facts: Fact[]; asks: Ask[] } {
  const upTo = (count: number) => Math.floor(random() * count);
  const facts: Fact[] = [];
  const asks: Ask[] = [];
  for (let number = 0; number < cases; number++) {
    const card = random() < 0.02 ? null : 9_007_199_254_740_993n + BigInt(number);
    for (let count = upTo(9); count > 0; count--) {
      const eventUs = upTo(12) - 3;
      const createdUs = random() < 0.4 ? eventUs + upTo(6) - 1 : eventUs;
      const amount = random() < 0.2 ? null : upTo(3);
      const fact = {
        card,
        place: "ab"[upTo(2)] ?? "",
        eventUs,
        createdUs,
        amount,
        note: random() < 0.3 ? null : `n${upTo(2)}`,
      };
      facts.push(fact);
      if (random() < 0.1) facts.push(fact);
    }
    for (let count = 1 + upTo(4); count > 0; count--)
      asks.push({ card, place: "ab"[upTo(2)] ?? "", timeUs: upTo(16) - 4 });
  }
  return { facts, asks };
}

/** Order of values where ties are left: null first. */
function order(a: Value, b: Value): number {
  if (a === b) return 0;
  if (a === null) return -1;
  if (b === null) return 1;
  return a < b ? -1 : 1;
}

function newest(facts: readonly Fact[]): Fact | undefined {
  return [...facts].sort(
    (a, b) => a.eventUs - b.eventUs || a.createdUs - b.createdUs || order(a.amount, b.amount) || order(a.note, b.note),
  )[facts.length - 1];
}

describe("point-in-time SQL", () => {
  let root: string;
  let workspace: OfflineWorkspace;
  let facts: Fact[];
  let asks: Ask[];

  async function write(table: string, specs: ColumnSpec[], columns: Value[][]): Promise<void> {
    const writer = await workspace.createTable(table, specs);
    writer.write(columns[0]?.length ?? 0, columns);
    writer.close();
  }

  async function read(sql: string, ...specs: ColumnSpec[]): Promise<Value[][]> {
    const rows: Value[][] = [];
    for await (const { count, columns } of workspace.query(sql, specs)) {
      for (let row = 0; row < count; row++) rows.push(columns.map((column) => column[row] ?? null));
    }
    return rows;
  }

  /** The row that is looked up for each row of the spine. */
  async function readIdsOf(keys: string): Promise<Map<Value, Value>> {
    const ids = await read(
      `SELECT row_id, read_id FROM ${keys}`,
      { name: "row_id", type: "count" },
      { name: "read_id", type: "count" },
    );
    expect(ids).toHaveLength(asks.length);
    return new Map(ids.map(([row = null, readId = null]) => [row, readId]));
  }

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "weft-join-"));
    const store = createDuckDbStore({
      directory: root,
      temporaryDirectory: join(root, "tmp"),
      memoryBytesMax: 512 << 20,
      threads: 2,
    });
    workspace = await store.open({ scenario: "test" });
    ({ facts, asks } = histories(seededRandom(seed)));
    await write(
      "facts",
      [
        { name: "event_us", type: "count" },
        { name: "created_us", type: "count" },
        { name: "f_card", type: "int64" },
        { name: "f_place", type: "string" },
        { name: "f_amount", type: "float64" },
        { name: "f_note", type: "string" },
      ],
      [
        facts.map((fact) => fact.eventUs),
        facts.map((fact) => fact.createdUs),
        facts.map((fact) => fact.card),
        facts.map((fact) => fact.place),
        facts.map((fact) => fact.amount),
        facts.map((fact) => fact.note),
      ],
    );
    await write(
      "spine",
      [
        { name: "row_id", type: "count" },
        { name: "event_us", type: "count" },
        { name: "f_card", type: "int64" },
        { name: "f_place", type: "string" },
      ],
      [
        asks.map((_, row) => row),
        asks.map((ask) => ask.timeUs),
        asks.map((ask) => ask.card),
        asks.map((ask) => ask.place),
      ],
    );
    await workspace.execute(`CREATE TABLE keys_card AS ${keysSql("spine", ["f_card"])}`);
    await workspace.execute(`CREATE TABLE keys_both AS ${keysSql("spine", ["f_card", "f_place"])}`);
    await workspace.execute(`CREATE TABLE keys_none AS ${keysSql("spine", [])}`);
  });
  afterAll(async () => {
    await workspace.close();
    await rm(root, { recursive: true });
  });

  const keyings: [string, string[], (fact: Fact, ask: Ask) => boolean][] = [
    ["keys_card", ["f_card"], (fact, ask) => fact.card !== null && fact.card === ask.card],
    [
      "keys_both",
      ["f_card", "f_place"],
      (fact, ask) => fact.card !== null && fact.card === ask.card && fact.place === ask.place,
    ],
    ["keys_none", [], () => true],
  ];

  const byCard = new Map<bigint | null, Fact[]>();
  function factsOf(ask: Ask, owns: (fact: Fact, ask: Ask) => boolean, everyone: boolean): Fact[] {
    if (byCard.size === 0) {
      for (const fact of facts) byCard.set(fact.card, [...(byCard.get(fact.card) ?? []), fact]);
    }
    return (everyone ? facts : (byCard.get(ask.card) ?? [])).filter((fact) => owns(fact, ask));
  }

  test.each(keyings)(
    `as-of rows equal brute force: %s (${cases} cases, seed ${seed})`,
    async (keys, keyColumns, owns) => {
      const sql = asOfSql({ from: "facts", keys, keyColumns, columns: ["f_amount", "f_note"] });
      const rows = await read(
        sql,
        { name: "row_id", type: "count" },
        { name: "event_us", type: "count" },
        { name: "created_us", type: "count" },
        { name: "f_amount", type: "float64" },
        { name: "f_note", type: "string" },
      );
      const found = new Map(rows.map(([row, ...values]) => [row, values]));
      const readIds = await readIdsOf(keys);
      expect(found.size).toBe(rows.length);
      const answers = new Map<number, Fact | undefined>();
      for (const [row, ask] of asks.entries()) {
        const everyone = keys === "keys_none";
        let fact = everyone ? answers.get(ask.timeUs) : undefined;
        if (fact === undefined) {
          const mine = factsOf(ask, owns, everyone);
          fact = newest(mine.filter((one) => one.eventUs <= ask.timeUs && one.createdUs <= ask.timeUs));
          if (everyone) answers.set(ask.timeUs, fact);
        }
        const expected = fact === undefined ? undefined : [fact.eventUs, fact.createdUs, fact.amount, fact.note];
        const actual = found.get(readIds.get(row) ?? -1);
        if (JSON.stringify(actual) !== JSON.stringify(expected)) {
          throw new Error(`seed ${seed}, row ${row}: ${JSON.stringify(actual)}, expected ${JSON.stringify(expected)}`);
        }
      }
    },
  );

  test("events come key by key in the order in which they count", async () => {
    const query = { from: "facts", keys: "keys_both", keyColumns: ["f_card", "f_place"], columns: ["f_amount"] };
    const [key, event, created, known] = ["key_id", "event_us", "created_us", "known_us"].map(
      (name): ColumnSpec => ({ name, type: "count" }),
    ) as [ColumnSpec, ColumnSpec, ColumnSpec, ColumnSpec];
    const events = await read(eventsSql(query), key, event, created, known, { name: "f_amount", type: "float64" });
    const reads = await read(readsSql("keys_both"), key, event, { name: "row_id", type: "count" });
    const count = new Map<Value, number>();
    let at = 0;
    for (const [owner, time, row] of reads as [number, number, number][]) {
      const seen = () => events[at] as [number, number, number, number] | undefined;
      for (let next = seen(); next !== undefined; next = seen()) {
        if (next[0] > owner || (next[0] === owner && next[3] > time)) break;
        if (next[0] === owner) count.set(owner, (count.get(owner) ?? 0) + 1);
        at++;
      }
      const ask = asks[row] as Ask;
      const mine = factsOf(ask, (fact) => fact.card !== null && fact.place === ask.place, false);
      const expected = mine.filter((fact) => fact.eventUs < ask.timeUs && fact.createdUs <= ask.timeUs).length;
      expect([row, count.get(owner) ?? 0]).toEqual([row, expected]);
    }
    expect(reads).toHaveLength(new Set((await readIdsOf("keys_both")).values()).size);
    expect(reads.length).toBeLessThan(asks.length);
  });

  test.each([undefined, 4])("newest rows equal brute force, known by %s", async (endUs) => {
    const sql = newestSql({ from: "facts", keyColumns: ["f_card"], columns: ["f_card", "f_amount", "f_note"], endUs });
    const rows = await read(
      sql,
      { name: "event_us", type: "count" },
      { name: "created_us", type: "count" },
      { name: "f_card", type: "int64" },
      { name: "f_amount", type: "float64" },
      { name: "f_note", type: "string" },
    );
    const cards = [...new Set(facts.map(({ card }) => card))]
      .filter((card) => card !== null)
      .sort((a, b) => (a < b ? -1 : 1));
    const expected = cards.flatMap((card) => {
      const fact = newest(
        (byCard.get(card) ?? []).filter(({ createdUs }) => endUs === undefined || createdUs <= endUs),
      );
      return fact === undefined ? [] : [[fact.eventUs, fact.createdUs, card, fact.amount, fact.note]];
    });
    expect(rows).toEqual(expected);
  });

  test("the spine has one order, whatever order its rows are stored in, and no unlabelled row", async () => {
    const source = defineSource({
      name: "facts",
      file: "facts.csv",
      eventTime: "t",
      createdTime: "known",
      fields: { card: "int64", place: "string", amount: "float64", note: "string" },
    });
    const spine = (from: string, range = {}) =>
      spineSql({ from, source, label: "amount", fields: ["card", "note", "card", "t"], ...range });
    const specs: ColumnSpec[] = [
      { name: "row_id", type: "count" },
      { name: "event_us", type: "count" },
      { name: "label", type: "float64" },
      { name: "f_card", type: "int64" },
      { name: "f_note", type: "string" },
    ];
    const ordered = (sql: string) => read(`SELECT * FROM (${sql}) s ORDER BY row_id`, ...specs);
    await workspace.execute("CREATE TABLE shuffled AS SELECT * FROM facts ORDER BY HASH(event_us, f_card, f_note)");
    const rows = await ordered(spine("facts"));
    expect(rows).toHaveLength(facts.filter(({ amount }) => amount !== null).length);
    expect(await ordered(spine("shuffled"))).toEqual(rows);
    expect(rows.map(([row]) => row)).toEqual(rows.map((_, row) => row + 1));
    const part = await ordered(spine("facts", { startUs: 2, endUs: 6, labelTime: "known" }));
    const inside = facts.filter((f) => f.amount !== null && f.eventUs >= 2 && f.eventUs < 6 && f.createdUs <= 6);
    expect(part).toHaveLength(inside.length);
  });

  test(`labels that arrive late are taken once they are known (${cases} labels, seed ${seed + 1})`, async () => {
    const random = seededRandom(seed + 1);
    const upTo = (count: number) => Math.floor(random() * count);
    const labels = Array.from({ length: cases }, (_, row): Label => {
      const eventUs = upTo(40);
      const knownUs = random() < 0.1 ? null : random() < 0.3 ? eventUs : eventUs + upTo(20);
      return { row, eventUs, knownUs, value: random() < 0.1 ? null : upTo(2) };
    });
    await write(
      "labels",
      [
        { name: "event_us", type: "count" },
        { name: "created_us", type: "count" },
        { name: "f_row", type: "int64" },
        { name: "f_value", type: "float64" },
        { name: "f_known", type: "int64" },
      ],
      [
        labels.map(({ eventUs }) => eventUs),
        labels.map(({ eventUs }) => eventUs),
        labels.map(({ row }) => BigInt(row)),
        labels.map(({ value }) => value),
        labels.map(({ knownUs }) => (knownUs === null ? null : BigInt(knownUs))),
      ],
    );
    const source = defineSource({
      name: "labels",
      file: "labels.csv",
      eventTime: "t",
      fields: { row: "int64", value: "float64", known: "int64" },
    });
    let taken = 0;
    for (let attempt = 0; attempt < 20; attempt++) {
      const startUs = random() < 0.3 ? undefined : upTo(30);
      const endUs = random() < 0.2 ? undefined : (startUs ?? 0) + 1 + upTo(30);
      const sql = spineSql({
        from: "labels",
        source,
        label: "value",
        labelTime: "known",
        fields: ["row"],
        startUs,
        endUs,
      });
      const rows = await read(
        `SELECT event_us, label, f_row FROM (${sql}) s ORDER BY row_id`,
        { name: "event_us", type: "count" },
        { name: "label", type: "float64" },
        { name: "f_row", type: "int64" },
      );
      const expected = labels
        .filter(
          ({ eventUs, knownUs, value }) =>
            value !== null &&
            (startUs === undefined || eventUs >= startUs) &&
            (endUs === undefined || (eventUs < endUs && (knownUs === null || knownUs <= endUs))),
        )
        .sort((a, b) => a.eventUs - b.eventUs || a.row - b.row)
        .map(({ eventUs, value, row }) => [eventUs, value, BigInt(row)]);
      expect({ startUs, endUs, rows }).toEqual({ startUs, endUs, rows: expected });
      taken += rows.length;
    }
    expect(taken).toBeGreaterThan(cases);
  });
});
