import { inspect } from "node:util";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { type RedisServer, startRedis } from "@weft/local-servers";
import { systemClock } from "@weft/service";
import { Redis } from "ioredis";
import { onlineStoreContract } from "../domain/online/online-store.contract.ts";
import { type OnlineStore, ReadBatch } from "../domain/online/online-store.ts";
import { sharedStoreContract } from "../testing/shared-store.contract.ts";
import { openShared, type SharedEngine } from "../testing/shared-stores.ts";
import { CachedOnlineStore } from "./cached-online-store.ts";
import { RedisBackend } from "./redis-backend.ts";

let redis: RedisServer;
beforeAll(async () => {
  redis = await startRedis();
}, 300_000);
afterAll(() => redis.server.close());

let parts = 0;
const fresh = (): SharedEngine => ({ engine: "redis", port: redis.port, name: `test${parts++}` });

for (const entriesMax of [undefined, 0, 16, 10_000]) {
  const engines = new Map<OnlineStore, SharedEngine>();
  const openAt = (engine: SharedEngine): OnlineStore => {
    const shared = openShared(engine);
    const observer = { looked: () => {}, unread: () => {} };
    const store =
      entriesMax === undefined
        ? shared
        : new CachedOnlineStore(shared, { clock: systemClock, entriesMax, ttlMs: 1_000, retryAfterMs: 100, observer });
    engines.set(store, engine);
    return store;
  };
  onlineStoreContract(
    entriesMax === undefined ? "Redis" : `Redis (cache of ${entriesMax})`,
    async () => openAt(fresh()),
    async (store) => {
      await store.close();
      return openAt(engines.get(store) ?? fresh());
    },
  );
}

sharedStoreContract("Redis", fresh);

test("a server that has forgotten the scripts is given them again; a write larger than one call is still whole", async () => {
  const store = openShared(fresh());
  const view = await store.openView("s/v/1");
  const client = new Redis({ port: redis.port });
  await client.script("FLUSH");
  const keys = Array.from({ length: 4_500 }, (_, key) => BigInt(key));
  await store.write(
    keys.map((key) => ({ view, key, merge: () => Uint8Array.of(Number(key & 255n)) })),
    [{ view, offset: 1 }],
  );
  const batch = new ReadBatch();
  for (const key of keys) batch.add(view, key);
  await store.get(batch);
  expect(batch.values.map((value) => value?.bytes[0])).toEqual(keys.map((key) => Number(key & 255n)));
  expect(await store.appliedOffset(view)).toBe(1);
  expect(await store.listKeys(view, 4_496n, 10)).toEqual([4_497n, 4_498n, 4_499n]);
  client.disconnect();
  await store.close();
});

test("a password is sent, and is in no error where it is wrong", async () => {
  const guarded = await startRedis(["--requirepass", "right horse"]);
  const open = (password: string) =>
    new RedisBackend({
      nodes: [guarded],
      isCluster: false,
      username: "",
      password,
      tls: false,
      database: 0,
      keyPrefix: "test:",
      connectTimeoutMs: 1_000,
      commandTimeoutMs: 500,
    });
  try {
    const right = open("right horse");
    expect(await right.readVersion()).toBe("");
    await right.close();
    const wrong = open("wrong horse");
    const error = await wrong.readVersion().catch((cause: unknown) => cause);
    await wrong.close();
    expect(error).toBeInstanceOf(Error);
    expect(inspect(error, { depth: 10, showHidden: true })).not.toContain("horse");
  } finally {
    await guarded.server.close();
  }
});
