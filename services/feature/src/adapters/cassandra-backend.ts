import { auth, Client, type ClientOptions, policies, type QueryOptions, types } from "cassandra-driver";
import { type Generations, noGenerations } from "../domain/online/generations.ts";
import type {
  StateBackend,
  StateChange,
  StateTable,
  TableOffset,
  VersionedGenerations,
} from "../domain/online/state-backend.ts";
import { decodeKey, type EntityKey, encodeKey } from "../domain/views/entity-key.ts";
import type { Address } from "./addresses.ts";

/** Where Cassandra is and how it is asked. */
export interface CassandraOptions {
  /** Some nodes of the cluster, all on one port. */
  readonly nodes: readonly Address[];
  /** Datacenter that is asked; others are not. */
  readonly datacenter: string;
  readonly keyspace: string;
  /** Replication of the keyspace in CQL, to make it where there is none; "" where it must be there. */
  readonly replication: string;
  /** "" for none. */
  readonly username: string;
  readonly password: string;
  readonly tls: boolean;
  /** Connections to each node. */
  readonly connections: number;
  readonly connectTimeoutMs: number;
  /** Bound of one statement. */
  readonly commandTimeoutMs: number;
}

/** Statements of one call under way at a time; the others wait for them. */
const inFlightMax = 256;
/** Partitions that hold a table's keys, so that the nodes share the load. */
const indexShards = 16;
const dropPage = 1_000;
const generationsId = "generations";

const tables = [
  "CREATE TABLE IF NOT EXISTS states (tab text, key blob, version bigint, stamped blob, PRIMARY KEY ((tab, key)))",
  "CREATE TABLE IF NOT EXISTS keys (tab text, shard int, key blob, PRIMARY KEY ((tab, shard), key))",
  "CREATE TABLE IF NOT EXISTS offsets (tab text, partition text, applied bigint, PRIMARY KEY (tab, partition))",
  "CREATE TABLE IF NOT EXISTS generations (id text PRIMARY KEY, version text, document text)",
] as const;

const cql = {
  read: "SELECT stamped FROM states WHERE tab = ? AND key = ?",
  insert: "INSERT INTO states (tab, key, version, stamped) VALUES (?, ?, ?, ?) IF NOT EXISTS",
  update: "UPDATE states SET version = ?, stamped = ? WHERE tab = ? AND key = ? IF version = ?",
  load: "INSERT INTO states (tab, key, version, stamped) VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
  list: "INSERT INTO keys (tab, shard, key) VALUES (?, ?, ?)",
  page: "SELECT key FROM keys WHERE tab = ? AND shard = ? LIMIT ?",
  pageAfter: "SELECT key FROM keys WHERE tab = ? AND shard = ? AND key > ? LIMIT ?",
  unlist: "DELETE FROM keys WHERE tab = ? AND shard = ?",
  remove: "DELETE FROM states WHERE tab = ? AND key = ?",
  offsets: "SELECT partition, applied FROM offsets WHERE tab = ?",
  setOffset: "INSERT INTO offsets (tab, partition, applied) VALUES (?, ?, ?) USING TIMESTAMP ?",
  removeOffsets: "DELETE FROM offsets WHERE tab = ?",
  version: "SELECT version FROM generations WHERE id = ?",
  generations: "SELECT version, document FROM generations WHERE id = ?",
  first: "INSERT INTO generations (id, version, document) VALUES (?, ?, ?) IF NOT EXISTS",
  swap: "UPDATE generations SET version = ?, document = ? WHERE id = ? IF version = ?",
} as const;

/**
 * States in Cassandra: a partition a key, so that every read and write goes to the nodes that hold it (prepared, routed
 * by token).
 *
 * A state is changed by a lightweight transaction on its version. `USING TIMESTAMP` with the event time would cost one
 * round trip instead of four, and could only keep the newest row: it cannot order rows of one event time by their created
 * times, and not add to a window. Offsets need no more than the greatest to win, and are written with themselves as
 * timestamps. A generation that one process fills and nobody reads yet takes plain writes, in the order of their
 * timestamps, which are below those of any transaction that comes after the publishing.
 *
 * A write changes its keys one after another, the offsets last; stamps keep what was done in part from being done twice.
 * Reads and writes want a quorum of the datacenter.
 */
export class CassandraBackend implements StateBackend {
  readonly #options: CassandraOptions;
  #session: Promise<Client> | undefined;
  /** Timestamp of the last plain write. */
  #loads = 0;
  #isClosed = false;

  constructor(options: CassandraOptions) {
    this.#options = options;
  }

  async read(wanted: readonly StateTable[], keys: readonly EntityKey[]): Promise<(Uint8Array | undefined)[]> {
    const client = await this.#connected();
    return inTurn(keys, async (key, index) => {
      const { rows } = await client.execute(cql.read, [wanted[index]?.name, blob(key)], plain);
      return bytesOf(rows[0]?.get("stamped"));
    });
  }

  async compareAndSet(changes: readonly StateChange[], offsets: readonly TableOffset[]): Promise<StateChange[]> {
    const client = await this.#connected();
    const done = await inTurn(changes, async (change) => {
      const key = blob(change.key);
      // Listed first, so that nothing is kept unlisted.
      if (change.expected === undefined) await client.execute(cql.list, [change.table.name, shardOf(key), key], plain);
      return this.#set(client, change, key);
    });
    const left = changes.filter((_, index) => done[index] === false);
    if (left.length === 0)
      await inTurn(offsets, ({ table, name, offset }) =>
        // The greatest timestamp wins in Cassandra, and so does the greatest offset.
        client.execute(cql.setOffset, [table.name, name, BigInt(offset), BigInt(offset)], plain),
      );
    return left;
  }

  async readOffsets(table: StateTable): Promise<ReadonlyMap<string, number>> {
    const client = await this.#connected();
    const { rows } = await client.execute(cql.offsets, [table.name], plain);
    return new Map(rows.map((row) => [String(row.get("partition")), Number(row.get("applied"))]));
  }

  async listKeys(table: StateTable, after: EntityKey | undefined, limit: number): Promise<EntityKey[]> {
    const client = await this.#connected();
    const shards = Array.from({ length: indexShards }, (_, shard) => shard);
    const pages = await Promise.all(
      shards.map(async (shard) => {
        const { rows } =
          after === undefined
            ? await client.execute(cql.page, [table.name, shard, limit], { ...plain, fetchSize: limit })
            : await client.execute(cql.pageAfter, [table.name, shard, blob(after), limit], {
                ...plain,
                fetchSize: limit,
              });
        return rows.flatMap((row) => bytesOf(row.get("key")) ?? []);
      }),
    );
    return pages.flat().sort(Buffer.compare).slice(0, limit).map(decodeKey);
  }

  async drop(table: StateTable): Promise<void> {
    const client = await this.#connected();
    let after: EntityKey | undefined;
    do {
      const keys = await this.listKeys(table, after, dropPage);
      await inTurn(keys, (key) => client.execute(cql.remove, [table.name, blob(key)], plain));
      after = keys.at(-1);
    } while (after !== undefined);
    for (let shard = 0; shard < indexShards; shard++) await client.execute(cql.unlist, [table.name, shard], plain);
    await client.execute(cql.removeOffsets, [table.name], plain);
  }

  async readVersion(): Promise<string> {
    const client = await this.#connected();
    const { rows } = await client.execute(cql.version, [generationsId], plain);
    return rows[0] === undefined ? "" : String(rows[0].get("version"));
  }

  async readGenerations(): Promise<VersionedGenerations> {
    const client = await this.#connected();
    const { rows } = await client.execute(cql.generations, [generationsId], plain);
    const [row] = rows;
    if (row === undefined) return { version: "", generations: noGenerations };
    const generations: Generations = JSON.parse(String(row.get("document")));
    return { version: String(row.get("version")), generations };
  }

  async swapGenerations(version: string, next: VersionedGenerations): Promise<boolean> {
    const client = await this.#connected();
    const document = JSON.stringify(next.generations);
    const result =
      version === ""
        ? await client.execute(cql.first, [generationsId, next.version, document], conditional)
        : await client.execute(cql.swap, [next.version, document, generationsId, version], conditional);
    return result.wasApplied();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const session = await this.#session?.catch(() => undefined);
    if (session !== undefined) await shutDown(session);
  }

  async #set(client: Client, { table, expected, stamped }: StateChange, key: Buffer): Promise<boolean> {
    const version = signed(stamped);
    if (table.isPrivate) {
      await client.execute(cql.load, [table.name, key, version, bufferOf(stamped), BigInt(++this.#loads)], plain);
      return true;
    }
    const result =
      expected === undefined
        ? await client.execute(cql.insert, [table.name, key, version, bufferOf(stamped)], conditional)
        : await client.execute(
            cql.update,
            [version, bufferOf(stamped), table.name, key, signed(expected)],
            conditional,
          );
    return result.wasApplied();
  }

  /** The session; connecting is tried again by the next call where it failed. */
  #connected(): Promise<Client> {
    if (this.#isClosed) return Promise.reject(new Error("the store is closed"));
    this.#session ??= this.#connect().catch((error: unknown) => {
      this.#session = undefined;
      throw error;
    });
    return this.#session;
  }

  async #connect(): Promise<Client> {
    const { keyspace, replication } = this.#options;
    if (replication !== "") {
      const admin = new Client(this.#driverOptions());
      try {
        await admin.connect();
        await admin.execute(`CREATE KEYSPACE IF NOT EXISTS ${keyspace} WITH replication = ${replication}`);
      } finally {
        await shutDown(admin);
      }
    }
    const client = new Client({ ...this.#driverOptions(), keyspace });
    // The driver forgets a node that it has lost without ending its timer.
    client.on("hostRemove", (host: unknown) => callMethod(host, "shutdown"));
    try {
      await client.connect();
      for (const table of tables) await client.execute(table);
      return client;
    } catch (error) {
      await shutDown(client);
      throw error;
    }
  }

  #driverOptions(): ClientOptions {
    const { nodes, datacenter, username, password, tls, connections, connectTimeoutMs, commandTimeoutMs } =
      this.#options;
    return {
      contactPoints: nodes.map(({ host }) => host),
      protocolOptions: { port: nodes[0]?.port ?? 9042 },
      localDataCenter: datacenter,
      ...(username === "" ? {} : { authProvider: new auth.PlainTextAuthProvider(username, password) }),
      ...(tls ? { sslOptions: { rejectUnauthorized: true } } : {}),
      pooling: { coreConnectionsPerHost: { [types.distance.local]: connections } },
      socketOptions: { connectTimeout: connectTimeoutMs, readTimeout: commandTimeoutMs },
      policies: { reconnection: new policies.reconnection.ExponentialReconnectionPolicy(100, 1_000) },
      encoding: { useBigIntAsLong: true },
      queryOptions: { consistency: types.consistencies.localQuorum },
    };
  }
}

const plain: QueryOptions = { prepare: true, consistency: types.consistencies.localQuorum, isIdempotent: true };
const conditional: QueryOptions = {
  prepare: true,
  consistency: types.consistencies.localQuorum,
  serialConsistency: types.consistencies.localSerial,
  // Not sent again by the driver: one that was applied would say that it was not.
  isIdempotent: false,
};

/**
 * Shuts a session down. After an outage the driver's control connection is one of its own, which `shutdown` leaves open:
 * it would keep the process alive.
 */
async function shutDown(client: Client): Promise<void> {
  const control: unknown = Reflect.get(client, "controlConnection");
  await client.shutdown();
  if (typeof control === "object" && control !== null) callMethod(Reflect.get(control, "connection"), "close");
}

function callMethod(target: unknown, name: string): void {
  if (typeof target !== "object" || target === null) return;
  const method: unknown = Reflect.get(target, name);
  // What it is told to end may have ended by itself.
  if (typeof method === "function") void Promise.resolve(method.call(target)).catch(() => undefined);
}

/** Does something for each item, so many at a time; answers in the items' order. */
async function inTurn<T, R>(items: readonly T[], step: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const index = next++;
      const item = items[index];
      if (item !== undefined) results[index] = await step(item, index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(inFlightMax, items.length) }, lane));
  return results;
}

function blob(key: EntityKey): Buffer {
  return bufferOf(encodeKey(key));
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function bytesOf(value: unknown): Uint8Array | undefined {
  return value instanceof Uint8Array ? value : undefined;
}

/** The version at the head of a stamped state, as a bigint column holds it. */
function signed(bytes: Uint8Array): bigint {
  return bufferOf(bytes).readBigInt64LE(0);
}

function shardOf(key: Buffer): number {
  let sum = 0;
  for (const byte of key) sum = (Math.imul(sum, 31) + byte) | 0;
  return sum & (indexShards - 1);
}
