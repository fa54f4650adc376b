import type { MessageInitShape } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { retrieval as contract } from "@weft/contracts";
import { FakeRegistry, seededRandom, startOnFreePorts } from "@weft/testkit";
import { retrieval } from "./index.ts";
import { clusteredVectors } from "./testing/clustered-vectors.ts";

type Search = MessageInitShape<typeof contract.SearchRequestSchema>;

const dimension = 8;
const size = 900;
const random = seededRandom(21);
const vectors = clusteredVectors(size, dimension, "inner_product", random);
/** Beyond 2^53: a key that went through a double would come back as another. */
const keyOf = (row: number): bigint => 2n ** 60n + BigInt(row);
const genreOf = (row: number) =>
  row % 11 === 0 ? null : (["drama", "comedy", "rare"][row % 50 === 7 ? 2 : row % 2] as string);
const yearOf = (row: number) => 1980 + (row % 40);

function bytesOf(array: Float32Array): Uint8Array {
  return new Uint8Array(array.slice().buffer);
}

async function* build(scenario: string, index: string, metric = contract.Metric.INNER_PRODUCT, rows = size) {
  yield { part: { case: "header" as const, value: { scenario, index, dimension, metric } } };
  for (let from = 0; from < rows; from += 200) {
    const list = Array.from({ length: Math.min(200, rows - from) }, (_, i) => from + i);
    yield {
      part: {
        case: "items" as const,
        value: {
          keys: { integers: list.map(keyOf) },
          vectors: bytesOf(vectors.subarray(from * dimension, (from + list.length) * dimension)),
          attributes: [
            {
              name: "genre",
              values: list.map((row) => {
                const genre = genreOf(row);
                return genre === null ? {} : { kind: { case: "text" as const, value: genre } };
              }),
            },
            {
              name: "year",
              values: list.map((row) => ({ kind: { case: "integer" as const, value: BigInt(yearOf(row)) } })),
            },
          ],
        },
      },
    };
  }
}

describe("retrieval", () => {
  let fake: FakeRegistry;
  let running: Awaited<ReturnType<typeof startOnFreePorts>>;
  beforeAll(async () => {
    fake = new FakeRegistry();
    // Walks of the graph are made cheap, so that a small index takes every way to answer.
    running = await startOnFreePorts([fake.definition, retrieval], ["--retrieval.search-expansion=16"]);
    expect(await client().buildIndex(build("films", "items"))).toMatchObject({
      generation: 1n,
      itemCount: BigInt(size),
    });
  });
  afterAll(() => running.stop());

  const client = () => running.dial(contract.RetrievalService);
  const search = (init: Search, release = "") =>
    client().search({ scenario: "films", index: "items", ...init }, { release });
  const queryOf = () => clusteredVectors(1, dimension, "inner_product", random);

  test("property: filtered and excluding searches answer what brute force does", async () => {
    const plans = new Set<string>();
    for (let seed = 1; seed <= 120; seed += 1) {
      const roll = seededRandom(seed);
      const query = queryOf();
      const filters: { test: (row: number) => boolean; filter: NonNullable<Search["filters"]>[number] }[] = [];
      const text = (value: string) => ({ kind: { case: "text" as const, value } });
      if (roll() < 0.4) {
        const wanted = roll() < 0.3 ? ["rare"] : roll() < 0.5 ? ["drama", "rare"] : ["comedy", null];
        filters.push({
          test: (row) => wanted.includes(genreOf(row)),
          filter: { attribute: "genre", anyOf: wanted.map((value) => (value === null ? {} : text(value))) },
        });
      }
      if (roll() < 0.4) {
        const atLeast = 1980 + Math.floor(roll() * 40);
        const width = Math.floor(roll() * 20);
        filters.push({
          test: (row) => yearOf(row) >= atLeast && yearOf(row) <= atLeast + width,
          filter: { attribute: "year", atLeast, atMost: atLeast + width },
        });
      }
      const excluded = new Set(Array.from({ length: Math.floor(roll() * 300) }, () => Math.floor(roll() * size * 1.2)));
      const count = 1 + Math.floor(roll() * 80);
      const exact = roll() < 0.2;
      const answer = await search({
        queries: bytesOf(query),
        neighborCount: count,
        filters: filters.map(({ filter }) => filter),
        excluded: { integers: [...excluded].map(keyOf) },
        exact,
      });
      plans.add(answer.plan);
      const scored = Array.from({ length: size }, (_, row) => {
        let product = 0;
        for (let i = 0; i < dimension; i += 1)
          product += (vectors[row * dimension + i] as number) * (query[i] as number);
        return { row, product };
      })
        .filter(({ row }) => !excluded.has(row) && filters.every((one) => one.test(row)))
        .sort((a, b) => b.product - a.product);
      const keys = answer.neighbors[0]?.keys?.integers ?? [];
      expect({ seed, count: keys.length }).toEqual({ seed, count: Math.min(count, scored.length) });
      const permitted = new Set(scored.map(({ row }) => keyOf(row)));
      expect({ seed, forbidden: keys.filter((key) => !permitted.has(key)) }).toEqual({ seed, forbidden: [] });
      if (answer.plan !== "graph") {
        expect({ seed, keys }).toEqual({ seed, keys: scored.slice(0, count).map(({ row }) => keyOf(row)) });
        expect(answer.neighbors[0]?.similarities[0] ?? 0).toBeCloseTo(scored[0]?.product ?? 0, 4);
      }
    }
    expect(plans.has("filtered_exact")).toBe(true);
  });

  test("several queries are answered in order, text keys and cosine too", async () => {
    const rows = [3, 500, 7];
    const queries = Float32Array.from(
      rows.flatMap((row) => [...vectors.subarray(row * dimension, (row + 1) * dimension)]),
    );
    await client().buildIndex(build("films", "directions", contract.Metric.COSINE));
    const answer = await search({ index: "directions", queries: bytesOf(queries), neighborCount: 1 });
    expect(answer.neighbors.map(({ keys }) => keys?.integers)).toEqual(rows.map((row) => [keyOf(row)]));
    for (const { similarities } of answer.neighbors) expect(similarities[0]).toBeCloseTo(1, 5);
  });

  test.each<[string, Search, string, RegExp]>([
    ["unknown index", { index: "other" }, "INDEX_NOT_FOUND", /has no index "other"/],
    ["a name that is a path", { index: "../items" }, "REQUEST_INVALID", /index: a name has/],
    ["unknown generation", { generation: 9n }, "GENERATION_NOT_FOUND", /no generation 9/],
    [
      "wrong dimension",
      { queries: new Uint8Array(20) },
      "QUERY_DIMENSION",
      /float32\[queries, 8\], 32 bytes each; 20 bytes/,
    ],
    ["no query", { queries: new Uint8Array(0) }, "QUERY_DIMENSION", /0 bytes/],
    [
      "not finite",
      { queries: bytesOf(Float32Array.of(1, 2, 3, Number.NaN, 5, 6, 7, 8)) },
      "REQUEST_INVALID",
      /element 3 of a query is not finite/,
    ],
    ["too many neighbours", { neighborCount: 10_001 }, "REQUEST_INVALID", /neighbor_count: must be 1 to 10000/],
    [
      "unknown attribute",
      { filters: [{ attribute: "x", atLeast: 1 }] },
      "ATTRIBUTE_UNKNOWN",
      /no attribute "x"; there are "genre", "year"/,
    ],
    [
      "a filter without a condition",
      { filters: [{ attribute: "year" }] },
      "REQUEST_INVALID",
      /filters\[0\]: it has no condition/,
    ],
    [
      "a range of texts",
      { filters: [{ attribute: "genre", atLeast: 1 }] },
      "FILTER_INVALID",
      /a text attribute has no order/,
    ],
    [
      "text keys of an integer index",
      { excluded: { texts: ["a"] } },
      "REQUEST_INVALID",
      /excluded: the keys of this index are integer/,
    ],
    [
      "both kinds of keys",
      { excluded: { texts: ["a"], integers: [1n] } },
      "REQUEST_INVALID",
      /texts and integers are both set/,
    ],
  ])("refuses: %s", async (_name, init, reason, message) => {
    const asked = search({ queries: bytesOf(queryOf()), ...init });
    await expect(asked).rejects.toMatchObject({ reason, message: expect.stringMatching(message) });
  });

  test("refuses a faulty build and says why", async () => {
    async function* noHeader() {
      for await (const message of build("films", "broken")) if (message.part.case === "items") yield message;
    }
    await expect(client().buildIndex(noHeader())).rejects.toMatchObject({
      message: "part: the first message must be the header",
    });
    async function* badMetric() {
      yield { part: { case: "header" as const, value: { scenario: "films", index: "broken", dimension } } };
    }
    await expect(client().buildIndex(badMetric())).rejects.toMatchObject({ message: /header.metric: must be/ });
    await expect(client().buildIndex(build("films", "broken", contract.Metric.COSINE, 0))).rejects.toMatchObject({
      reason: "BUILD_INVALID",
    });
  });

  test("a release decides the generation; a build beside it does not; ready once its generations are open", async () => {
    await client().buildIndex(build("shop", "items", contract.Metric.COSINE, 50));
    await client().buildIndex(build("shop", "items", contract.Metric.COSINE, 60));
    expect(running.unmet()).toContain("retrieval: releases");
    const release = fake.release("shop", 1, { indexes: [{ index: "items", generation: 1n }] });
    fake.label(["champion", release]);
    await running.ready();
    const ask = async (init: Search, id: string) =>
      (await search({ scenario: "shop", queries: bytesOf(queryOf()), neighborCount: 1, ...init }, id)).generation;
    expect(await ask({}, release.id)).toBe(1n);
    expect(await ask({}, "")).toBe(2n);
    expect(await ask({ generation: 2n }, release.id)).toBe(2n);
    await expect(ask({}, "shop-000000000007")).rejects.toMatchObject({ reason: "RELEASE_UNKNOWN" });
  });

  test("lists generations in pages", async () => {
    const all: string[] = [];
    let pageToken = "";
    do {
      const page = await client().listIndexes({ pageSize: 2, pageToken });
      expect(page.generations.length).toBeLessThanOrEqual(2);
      all.push(...page.generations.map((one) => `${one.scenario}/${one.index}/${one.generation}`));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(all).toEqual(["films/directions/1", "films/items/1", "shop/items/2", "shop/items/1"]);
    const [first] = (await client().listIndexes({ scenario: "films" })).generations;
    expect(first).toMatchObject({ itemCount: BigInt(size), dimension, metric: contract.Metric.COSINE });
    expect(first?.sizeBytes).toBeGreaterThan(size * dimension * 4);
    expect(Number(first?.createTime?.seconds) * 1_000).toBeGreaterThan(Date.now() - 120_000);
    await expect(client().listIndexes({ pageToken: "???" })).rejects.toMatchObject({ reason: "REQUEST_INVALID" });
  });
});
