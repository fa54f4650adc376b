import { afterAll, beforeAll } from "@jest/globals";
import { type RedisServer, startRedis } from "@weft/local-servers";
import { systemClock } from "@weft/service";
import { onlineStoreContract } from "../domain/online-store.contract.ts";
import type { OnlineStore } from "../domain/online-store.ts";
import { CachedOnlineStore } from "./cached-online-store.ts";
import { RedisBackend } from "./redis-backend.ts";
import { SharedOnlineStore } from "./shared-online-store.ts";

let redis: RedisServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.server.close());

let stores = 0;

function openAt(keyPrefix: string): SharedOnlineStore {
  const backend = new RedisBackend({
    nodes: [redis],
    isCluster: false,
    username: "",
    password: "",
    tls: false,
    database: 0,
    keyPrefix,
    connectTimeoutMs: 1_000,
    commandTimeoutMs: 2_000,
  });
  return new SharedOnlineStore(backend, {
    clock: systemClock,
    readTimeoutMs: 2_000,
    watchEveryMs: 20,
    dropAfterMs: 40,
    logId: "one",
  });
}

for (const entriesMax of [undefined, 0, 16, 10_000]) {
  const prefixes = new Map<OnlineStore, string>();
  const openCached = (keyPrefix: string): OnlineStore => {
    const shared = openAt(keyPrefix);
    const observer = { looked: () => {}, unread: () => {} };
    const store =
      entriesMax === undefined
        ? shared
        : new CachedOnlineStore(shared, { clock: systemClock, entriesMax, ttlMs: 1_000, retryAfterMs: 100, observer });
    prefixes.set(store, keyPrefix);
    return store;
  };
  onlineStoreContract(
    entriesMax === undefined ? "Redis" : `Redis (cache of ${entriesMax})`,
    async () => openCached(`test${stores++}:`),
    async (store) => {
      await store.close();
      return openCached(prefixes.get(store) ?? "");
    },
  );
}
