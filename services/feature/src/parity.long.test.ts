import { beforeAll } from "@jest/globals";
import { type CassandraServer, startCassandra } from "@weft/local-servers";
import { parityContract } from "./testing/parity.contract.ts";
import { openShared } from "./testing/shared-stores.ts";

let cassandra: CassandraServer;
beforeAll(async () => {
  cassandra = await startCassandra();
}, 300_000);

let opened = 0;
parityContract(
  [
    {
      name: "Cassandra",
      open: () => openShared({ engine: "cassandra", port: cassandra.port, name: `parity${opened++}` }),
    },
  ],
  () => cassandra.server.close(),
);
