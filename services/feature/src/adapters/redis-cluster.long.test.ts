import { afterAll, beforeAll } from "@jest/globals";
import { type RedisCluster, startRedisCluster } from "@weft/local-servers";
import { onlineStoreContract } from "../domain/online/online-store.contract.ts";
import type { OnlineStore } from "../domain/online/online-store.ts";
import { sharedStoreContract } from "../testing/shared-store.contract.ts";
import { openShared, type SharedEngine } from "../testing/shared-stores.ts";

let cluster: RedisCluster;
beforeAll(async () => {
  cluster = await startRedisCluster();
}, 120_000);
afterAll(() => cluster.close());

let parts = 0;
const fresh = (): SharedEngine => ({ engine: "redis-cluster", port: cluster.port, name: `test${parts++}` });
const engines = new Map<OnlineStore, SharedEngine>();

function openAt(engine: SharedEngine): OnlineStore {
  const store = openShared(engine);
  engines.set(store, engine);
  return store;
}

onlineStoreContract(
  "Redis Cluster",
  async () => openAt(fresh()),
  async (store) => {
    await store.close();
    return openAt(engines.get(store) ?? fresh());
  },
);
sharedStoreContract("Redis Cluster", fresh);
