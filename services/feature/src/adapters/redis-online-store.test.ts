import { afterAll, beforeAll } from "@jest/globals";
import { type RedisServer, startRedis } from "@weft/local-servers";
import { systemClock } from "@weft/service";
import { onlineStoreContract } from "../domain/online-store.contract.ts";
import type { OnlineStore } from "../domain/online-store.ts";
import { RedisBackend } from "./redis-backend.ts";
import { SharedOnlineStore } from "./shared-online-store.ts";

let redis: RedisServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.server.close());

let stores = 0;
const prefixes = new Map<OnlineStore, string>();

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
  const store = new SharedOnlineStore(backend, {
    clock: systemClock,
    watchEveryMs: 20,
    dropAfterMs: 40,
    logId: "one",
  });
  prefixes.set(store, keyPrefix);
  return store;
}

onlineStoreContract(
  "Redis",
  async () => openAt(`test${stores++}:`),
  async (store) => {
    await store.close();
    return openAt(prefixes.get(store) ?? "");
  },
);
