import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll } from "@jest/globals";
import { type RedisServer, startRedis } from "@weft/local-servers";
import { systemClock } from "@weft/service";
import { CachedOnlineStore } from "./adapters/cached-online-store.ts";
import { LmdbOnlineStore } from "./adapters/lmdb-online-store.ts";
import { MemoryOnlineStore } from "./adapters/memory-online-store.ts";
import { parityContract } from "./testing/parity.contract.ts";
import { openShared } from "./testing/shared-stores.ts";

const root = mkdtempSync(join(tmpdir(), "weft-parity-"));
let redis: RedisServer;
beforeAll(async () => {
  redis = await startRedis();
}, 300_000);
let opened = 0;
const shared = () => openShared({ engine: "redis", port: redis.port, name: `parity${opened++}` });
const observer = { looked: () => {}, unread: () => {} };

parityContract(
  [
    { name: "memory", open: () => new MemoryOnlineStore() },
    {
      name: "LMDB",
      open: () =>
        LmdbOnlineStore.open({ path: join(root, String(opened++)), sizeMaxBytes: 2 ** 30, cacheEntriesMax: 100 }),
    },
    {
      name: "Redis",
      open: () =>
        new CachedOnlineStore(shared(), {
          clock: systemClock,
          entriesMax: 100,
          ttlMs: 60_000,
          retryAfterMs: 1,
          observer,
        }),
    },
  ],
  async () => {
    await redis.server.close();
    rmSync(root, { recursive: true, force: true });
  },
);
