import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "@weft/service";
import type { Logger } from "@weft/telemetry";
import type { Settings } from "../config.ts";
import type { OnlineStore } from "../domain/online/online-store.ts";
import type { StateBackend } from "../domain/online/state-backend.ts";
import type { StoreMetrics } from "../metrics.ts";
import { parseAddresses } from "./addresses.ts";
import { CachedOnlineStore } from "./cached-online-store.ts";
import { CassandraBackend } from "./cassandra-backend.ts";
import { LmdbOnlineStore } from "./lmdb-online-store.ts";
import { MemoryOnlineStore } from "./memory-online-store.ts";
import { RedisBackend } from "./redis-backend.ts";
import { SharedOnlineStore } from "./shared-online-store.ts";

/** What a store is opened with. */
export interface OnlineStoreOptions {
  readonly settings: Settings;
  /** Folder of the embedded store, and of this process's name among those that share one. */
  readonly directory: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: StoreMetrics;
  /** Told whether the store can be reached, at first and when that changes. */
  readonly onReachable: (reachable: boolean) => void;
  /** Told when what was applied may be missing: another process published, or the store lost its data. */
  readonly onMoved: () => void;
}

/** A generation that is out of use stays for readers that hear of it this many looks late. */
const dropAfterLooks = 8;

/** Opens the store that the settings choose. Does not wait for a shared one. RangeError on addresses that are none. */
export function openOnlineStore(options: OnlineStoreOptions): OnlineStore {
  const { settings, directory, onReachable } = options;
  switch (settings.onlineStore) {
    case "lmdb":
      onReachable(true);
      return LmdbOnlineStore.open({
        path: directory,
        sizeMaxBytes: settings.storeSizeMaxMib * 2 ** 20,
        cacheEntriesMax: settings.cacheEntriesMax,
      });
    case "memory":
      onReachable(true);
      return new MemoryOnlineStore();
    case "redis":
      return shared(openRedis(settings), options);
    case "cassandra":
      return shared(openCassandra(settings), options);
  }
}

function openCassandra(settings: Settings): StateBackend {
  if (!/^[a-z][a-z0-9_]{0,47}$/.test(settings.cassandraKeyspace))
    throw new RangeError("cassandra-keyspace must be a lower-case letter, then at most 47 letters, digits and _");
  return new CassandraBackend({
    nodes: parseAddresses(settings.cassandraAddresses),
    datacenter: settings.cassandraDatacenter,
    keyspace: settings.cassandraKeyspace,
    replication: settings.cassandraReplication,
    username: settings.cassandraUsername,
    password: settings.cassandraPassword,
    tls: settings.cassandraTls,
    connections: settings.cassandraConnections,
    connectTimeoutMs: settings.storeConnectTimeoutMs,
    commandTimeoutMs: settings.storeWriteTimeoutMs,
  });
}

function openRedis(settings: Settings): StateBackend {
  if (/[{}]/.test(settings.redisKeyPrefix)) throw new RangeError("redis-key-prefix must hold no braces");
  return new RedisBackend({
    nodes: parseAddresses(settings.redisAddresses),
    isCluster: settings.redisCluster,
    username: settings.redisUsername,
    password: settings.redisPassword,
    tls: settings.redisTls,
    database: settings.redisDatabase,
    keyPrefix: settings.redisKeyPrefix,
    connectTimeoutMs: settings.storeConnectTimeoutMs,
    commandTimeoutMs: settings.storeWriteTimeoutMs,
  });
}

function shared(backend: StateBackend, options: OnlineStoreOptions): OnlineStore {
  const { settings, clock, logger, metrics, onReachable, onMoved } = options;
  const store = new SharedOnlineStore(backend, {
    clock,
    readTimeoutMs: settings.storeReadTimeoutMs,
    watchEveryMs: settings.storeWatchMs,
    dropAfterMs: settings.storeWatchMs * dropAfterLooks,
    logId: logId(options.directory),
    onMoved,
    onReachable(reachable, cause) {
      metrics.reachable(reachable);
      onReachable(reachable);
      if (reachable) logger.info({ store: settings.onlineStore }, "the online store answers");
      else logger.warn({ store: settings.onlineStore, err: cause }, "the online store cannot be reached; trying again");
    },
  });
  return new CachedOnlineStore(store, {
    clock,
    entriesMax: settings.cacheEntriesMax,
    ttlMs: settings.cacheTtlMs,
    retryAfterMs: settings.storeRetryMs,
    observer: metrics,
  });
}

/** Name of this process's event log among those of all that share a store; made once, and kept beside the log. */
function logId(directory: string): string {
  const file = join(directory, "log-id");
  if (!existsSync(file)) {
    mkdirSync(directory, { recursive: true });
    writeFileSync(`${file}.new`, randomUUID());
    renameSync(`${file}.new`, file);
  }
  return readFileSync(file, "utf8");
}
