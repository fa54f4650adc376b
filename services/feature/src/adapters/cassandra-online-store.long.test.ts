import { afterAll, beforeAll } from "@jest/globals";
import { type CassandraServer, startCassandra } from "@weft/local-servers";
import { onlineStoreContract } from "../domain/online/online-store.contract.ts";
import type { OnlineStore } from "../domain/online/online-store.ts";
import { sharedStoreContract } from "../testing/shared-store.contract.ts";
import { openShared, type SharedEngine } from "../testing/shared-stores.ts";

let cassandra: CassandraServer;
beforeAll(async () => {
  cassandra = await startCassandra();
}, 300_000);
afterAll(() => cassandra.server.close());

let parts = 0;
const fresh = (): SharedEngine => ({ engine: "cassandra", port: cassandra.port, name: `test${parts++}` });
const engines = new Map<OnlineStore, SharedEngine>();

function openAt(engine: SharedEngine): OnlineStore {
  const store = openShared(engine);
  engines.set(store, engine);
  return store;
}

onlineStoreContract(
  "Cassandra",
  async () => openAt(fresh()),
  async (store) => {
    await store.close();
    return openAt(engines.get(store) ?? fresh());
  },
);
sharedStoreContract("Cassandra", fresh);
