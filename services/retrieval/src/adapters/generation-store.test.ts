import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { quietTelemetry, seededRandom } from "@weft/testkit";
import type { ItemBatch } from "../domain/generation-builder.ts";
import { randomItems } from "../testing/items.ts";
import { storeOptions } from "../testing/store-options.ts";
import { type BuildHeader, GenerationStore, type GenerationStoreOptions } from "./generation-store.ts";

const header: BuildHeader = { scenario: "films", index: "items", dimension: 4, metric: "cosine", requestId: "" };
const open = { signal: new AbortController().signal };

async function* batches(...list: readonly Partial<ItemBatch>[]): AsyncIterable<ItemBatch> {
  for (const batch of list) {
    yield {
      keys: { type: "text", values: ["a", "b"] },
      vectors: floats(1, 0, 0, 0, 0, 2, 0, 0),
      attributes: [],
      ...batch,
    };
  }
}

function floats(...values: readonly number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

describe("GenerationStore", () => {
  let directory: string;
  let stores: GenerationStore[];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "weft-generations-"));
    stores = [];
  });
  afterEach(async () => {
    for (const store of stores) await store.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const openStore = async (change: Partial<GenerationStoreOptions> = {}) => {
    const store = await GenerationStore.open({ ...storeOptions(directory, quietTelemetry().logger), ...change });
    stores.push(store);
    return store;
  };
  const nearest = async (store: GenerationStore, generation: number, query: readonly number[], count = 1) => {
    const { content } = await store.get("films", "items", generation);
    const search = content.prepare({ count, conditions: [], excluded: undefined, exact: false });
    return content.parts.keys.at(search(Float32Array.from(query)).rows).values;
  };
  const leftovers = () => readdirSync(directory).filter((name) => name.startsWith("."));

  test("builds, answers, opens again and keeps every bit of an int64 key", async () => {
    const store = await openStore();
    const keys = { type: "integer", values: [2n ** 62n + 1n, -5n] } as const;
    const attributes = [{ name: "year", values: [2n ** 60n + 1n, null] }];
    const made = await store.build(header, batches({ keys, attributes }), open.signal);
    expect(made).toEqual({ generation: 1, itemCount: 2, recall: 1 });
    expect(await nearest(store, 0, [0, 9, 0, 0])).toEqual([-5n]);
    const again = await openStore();
    expect(await nearest(again, 1, [1, 0.1, 0, 0], 2)).toEqual([2n ** 62n + 1n, -5n]);
    const { content } = await again.get("films", "items", 1);
    expect(content.parts.columns[0]?.value(0)).toBe(2n ** 60n + 1n);
    expect(content.parts.columns[0]?.value(1)).toBeNull();
    // Vectors of a cosine index are of unit length.
    expect(Array.from(content.parts.exact.vectors)).toEqual([1, 0, 0, 0, 0, 1, 0, 0]);
    expect(leftovers()).toEqual([]);
  });

  test("a repeat of a request id answers the generation that it made", async () => {
    const store = await openStore();
    const named = { ...header, requestId: "once" };
    expect((await store.build(named, batches({}), open.signal)).generation).toBe(1);
    expect((await store.build(header, batches({}), open.signal)).generation).toBe(2);
    expect((await store.build(named, batches(), open.signal)).generation).toBe(1);
    expect((await (await openStore()).build(named, batches(), open.signal)).generation).toBe(1);
  });

  test("keeps the newest generations and those that are held", async () => {
    const store = await openStore({ generationsKept: 2 });
    for (let i = 0; i < 2; i += 1) await store.build(header, batches({}), open.signal);
    await store.hold("films", "items", 1);
    for (let i = 0; i < 3; i += 1) await store.build(header, batches({}), open.signal);
    const numbers = () => store.list("films").map(({ generation }) => generation);
    expect(numbers()).toEqual([5, 4, 1]);
    expect(readdirSync(join(directory, "films", "items")).sort()).toEqual(["1", "4", "5"]);
    store.release("films", "items", 1);
    await store.build(header, batches({}), open.signal);
    expect(numbers()).toEqual([6, 5]);
    expect(() => store.get("films", "items", 1)).toThrow('index "items" of "films" has no generation 1 here');
    expect(() => store.get("films", "users", 0)).toThrow('scenario "films" has no index "users"');
  });

  test("puts the least recently searched generation out of memory, and reads it back when asked", async () => {
    const store = await openStore({ openGenerationsMax: 1 });
    for (let i = 0; i < 2; i += 1) await store.build(header, batches({}), open.signal);
    expect("then" in store.get("films", "items", 2)).toBe(false);
    const reading = store.get("films", "items", 1);
    expect("then" in reading).toBe(true);
    await reading;
    expect("then" in store.get("films", "items", 1)).toBe(false);
    expect(await nearest(store, 1, [1, 0, 0, 0])).toEqual(["a"]);
  });

  test.each<[string, Partial<ItemBatch>[], string]>([
    ["no items", [], "the build has no items"],
    ["an empty message", [{ keys: { type: "text", values: [] } }], "a message holds no items"],
    ["too few bytes", [{ vectors: floats(1, 2, 3) }], "item 0: 2 items of 4 elements take 32 bytes of vectors, not 12"],
    ["NaN", [{ vectors: floats(1, 0, 0, 0, 0, Number.NaN, 0, 0) }], "item 1: element 1 of the vector is NaN"],
    ["infinity", [{ vectors: floats(Infinity, 0, 0, 0, 0, 1, 0, 0) }], "item 0: element 0 of the vector is Infinity"],
    ["no direction", [{ vectors: floats(1, 0, 0, 0, 0, 0, 0, 0) }], "item 1: the vector has no direction"],
    ["a key twice", [{}, { keys: { type: "text", values: ["c", "a"] } }], "item 3: key a was sent before"],
    ["mixed keys", [{}, { keys: { type: "integer", values: [1n, 2n] } }], "item 2: keys are text, not integer"],
    ["an empty key", [{ keys: { type: "text", values: ["", "b"] } }], "item 0: a text key has 1 to 512 bytes"],
    [
      "a missing attribute",
      [{ attributes: [{ name: "x", values: [1, 2] }] }, { keys: { type: "text", values: ["c", "d"] } }],
      'item 2: attributes are none; the first message had "x"',
    ],
    [
      "too few values",
      [{ attributes: [{ name: "x", values: [1] }] }],
      'item 0: attribute "x" has 1 values for 2 items',
    ],
    ["mixed values", [{ attributes: [{ name: "x", values: [1, "a"] }] }], 'item 1: attribute "x" is number, not text'],
  ])("refuses a build with %s, and leaves nothing behind", async (_name, list, message) => {
    const store = await openStore();
    await store.build(header, batches({}), open.signal);
    await expect(store.build(header, batches(...list), open.signal)).rejects.toMatchObject({
      reason: "BUILD_INVALID",
      message,
    });
    expect(store.list("").map(({ generation }) => generation)).toEqual([1]);
    expect(leftovers()).toEqual([]);
  });

  test("bounds items, vectors and builds at once", async () => {
    const small = await openStore({ limits: { itemsMax: 3, vectorBytesMax: 1_000 }, buildsMax: 1 });
    const two = { keys: { type: "text", values: ["c", "d"] } } as const;
    await expect(small.build(header, batches({}, two), open.signal)).rejects.toMatchObject({
      reason: "BUILD_TOO_LARGE",
    });
    const gate = Promise.withResolvers<void>();
    const slow = small.build(
      header,
      (async function* () {
        await gate.promise;
        yield* batches({});
      })(),
      open.signal,
    );
    await expect(small.build(header, batches({}), open.signal)).rejects.toMatchObject({ reason: "BUILD_IN_PROGRESS" });
    await expect(small.build({ ...header, index: "users" }, batches({}), open.signal)).rejects.toMatchObject({
      reason: "BUILDS_FULL",
    });
    gate.resolve();
    expect((await slow).generation).toBe(1);
  });

  test("a cancelled build leaves nothing behind", async () => {
    const store = await openStore();
    const abort = new AbortController();
    const build = store.build({ ...header, dimension: 16 }, randomItems(3_000, 16, seededRandom(1)), abort.signal);
    abort.abort();
    await expect(build).rejects.toMatchObject({ reason: "CANCELLED" });
    expect(store.list("")).toEqual([]);
    expect(leftovers()).toEqual([]);
  });

  test.each<[string, (path: string) => void, string]>([
    ["vectors.f32", flipByte, "vectors.f32 does not match its checksum"],
    ["graph.usearch", flipByte, "graph.usearch does not match its checksum"],
    ["keys.bin", (path) => truncateSync(path, 3), "keys.bin has 3 bytes, not 10"],
    ["attributes.u32", (path) => rmSync(path), "attributes.u32 is missing"],
    ["attributes.json", (path) => appendFileSync(path, " "), "attributes.json has 3 bytes, not 2"],
    ["manifest.json", (path) => writeFileSync(path, "{"), "manifest.json cannot be read"],
  ])("a damaged %s is found and named; the other generations answer", async (file, damage, problem) => {
    const store = await openStore();
    for (let i = 0; i < 2; i += 1) await store.build(header, batches({}), open.signal);
    damage(join(directory, "films", "items", "2", file));
    const again = await openStore();
    await expect((async () => again.get("films", "items", 2))()).rejects.toMatchObject({
      reason: "GENERATION_CORRUPT",
      message: `generation 2 of index "items" of "films" is corrupt: ${problem}; build it again`,
    });
    await expect(again.hold("films", "items", 2)).rejects.toMatchObject({ reason: "GENERATION_CORRUPT" });
    expect(await nearest(again, 1, [1, 0, 0, 0])).toEqual(["a"]);
    expect((await again.build(header, batches({}), open.signal)).generation).toBe(3);
  });

  test("killed in the middle of a build, again and again: every acknowledged generation opens, and nothing half-made", async () => {
    const random = seededRandom(11);
    let acknowledged = 0;
    for (let round = 0; round < 6; round += 1) {
      const child = spawn(process.execPath, [join(__dirname, "../testing/build-until-killed.js"), directory], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const exited = new Promise((resolve) => child.once("exit", resolve));
      for await (const line of createInterface({ input: child.stdout })) {
        acknowledged = Number(line);
        // Some way into the next build: its length is about that of the last.
        await new Promise((resolve) => setTimeout(resolve, random() * 120));
        break;
      }
      child.kill("SIGKILL");
      await exited;
      const store = await openStore();
      expect(leftovers()).toEqual([]);
      const found = store.list("films");
      expect(found[0]?.generation).toBeGreaterThanOrEqual(acknowledged);
      for (const { generation } of found) {
        const { content } = await store.get("films", "items", generation);
        expect(content.size).toBe(400);
      }
    }
    expect(acknowledged).toBeGreaterThanOrEqual(6);
  });

  test("the manifest names what is there", async () => {
    const store = await openStore();
    await store.build(header, batches({}), open.signal);
    const folder = join(directory, "films", "items", "1");
    const manifest = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
    expect(Object.keys(manifest.files).sort()).toEqual(
      readdirSync(folder)
        .filter((name) => name !== "manifest.json")
        .sort(),
    );
    for (const [file, { sha256 }] of Object.entries<{ sha256: string }>(manifest.files)) {
      expect(
        createHash("sha256")
          .update(readFileSync(join(folder, file)))
          .digest("hex"),
      ).toBe(sha256);
    }
    expect(existsSync(join(folder, "graph.usearch"))).toBe(true);
  });
});

function flipByte(path: string): void {
  const bytes = readFileSync(path);
  const at = bytes.length >> 1;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}
