import { systemClock } from "@weft/service";
import { CassandraBackend } from "../adapters/cassandra-backend.ts";
import { RedisBackend } from "../adapters/redis-backend.ts";
import { SharedOnlineStore, type SharedStoreOptions } from "../adapters/shared-online-store.ts";
import type { StateBackend } from "../domain/online/state-backend.ts";

/** An engine that a test started, and the part of it that a test has to itself. */
export interface SharedEngine {
  readonly engine: "redis" | "redis-cluster" | "cassandra";
  readonly port: number;
  /** Lower-case letters and digits. */
  readonly name: string;
}

/** A backend of an engine on this machine. */
export function openBackend({ engine, port, name }: SharedEngine): StateBackend {
  const bounds = { connectTimeoutMs: 5_000, commandTimeoutMs: 10_000 };
  const nodes = [{ host: "127.0.0.1", port }];
  if (engine === "cassandra")
    return new CassandraBackend({
      nodes,
      datacenter: "datacenter1",
      keyspace: name,
      replication: "{'class': 'SimpleStrategy', 'replication_factor': 1}",
      username: "",
      password: "",
      tls: false,
      connections: 1,
      ...bounds,
    });
  return new RedisBackend({
    nodes,
    isCluster: engine === "redis-cluster",
    username: "",
    password: "",
    tls: false,
    database: 0,
    keyPrefix: `${name}:`,
    ...bounds,
  });
}

/** A store as a process of its own would open it; `logId` is the process's name. */
export function openShared(
  engine: SharedEngine,
  logId = "one",
  options: Partial<SharedStoreOptions> = {},
): SharedOnlineStore {
  return new SharedOnlineStore(openBackend(engine), {
    clock: systemClock,
    readTimeoutMs: 10_000,
    watchEveryMs: 20,
    dropAfterMs: 100,
    logId,
    ...options,
  });
}
