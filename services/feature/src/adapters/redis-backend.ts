import { createHash } from "node:crypto";
import { Cluster, Redis } from "ioredis";
import { type Generations, noGenerations } from "../domain/online/generations.ts";
import type {
  StateBackend,
  StateChange,
  StateTable,
  TableOffset,
  VersionedGenerations,
} from "../domain/online/state-backend.ts";
import { decodeKey, type EntityKey, encodeKey } from "../domain/views/entity-key.ts";

/** Where Redis is and how it is asked. */
export interface RedisOptions {
  /** One server, or some nodes of a cluster. */
  readonly nodes: readonly { readonly host: string; readonly port: number }[];
  readonly isCluster: boolean;
  /** "" for none. */
  readonly username: string;
  readonly password: string;
  readonly tls: boolean;
  /** Of a single server. */
  readonly database: number;
  /** Begins every key. */
  readonly keyPrefix: string;
  readonly connectTimeoutMs: number;
  /** Bound of one command, the time in which a connection is awaited included. */
  readonly commandTimeoutMs: number;
}

/** Keys of one MGET: Redis answers nobody else meanwhile. */
const readKeysMax = 1_000;
/** Changes and bytes of one script call, for the same reason. */
const writeChangesMax = 2_000;
const writeBytesMax = 8 << 20;
/** Sorted sets that hold a table's keys, so that a cluster shares the load. */
const indexShards = 16;
const dropPage = 1_000;
const retryMaxMs = 500;

/**
 * KEYS: of each change its state and its sorted set of keys, then of each offset its hash. ARGV: number of changes, of
 * each the expected version ("" for none), the new bytes and the key to add to the sorted set ("" for none), then of each
 * offset its field and value. Changes everything and answers 0, or nothing and answers the place of what had changed.
 */
const compareAndSetScript = `
local count = tonumber(ARGV[1])
for i = 1, count do
  if redis.call('GETRANGE', KEYS[2 * i - 1], 0, 7) ~= ARGV[3 * i - 1] then return i end
end
for i = 1, count do
  redis.call('SET', KEYS[2 * i - 1], ARGV[3 * i])
  if ARGV[3 * i + 1] ~= '' then redis.call('ZADD', KEYS[2 * i], 0, ARGV[3 * i + 1]) end
end
local at = 3 * count + 1
for j = 2 * count + 1, #KEYS do
  local known = tonumber(redis.call('HGET', KEYS[j], ARGV[at + 1]) or '0')
  if tonumber(ARGV[at + 2]) > known then redis.call('HSET', KEYS[j], ARGV[at + 1], ARGV[at + 2]) end
  at = at + 2
end
return 0`;

/** KEYS: the generations. ARGV: the version that is replaced ("" for none), the new version, the new document. */
const swapScript = `
if (redis.call('HGET', KEYS[1], 'version') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'generations', ARGV[3])
return 1`;

type Argument = string | Buffer | number;

interface Script {
  readonly text: string;
  readonly digest: string;
}

function script(text: string): Script {
  return { text, digest: createHash("sha1").update(text).digest("hex") };
}

const compareAndSet = script(compareAndSetScript);
const swap = script(swapScript);

/**
 * States in Redis or Redis Cluster: a string a key, read by MGET; sorted sets of the keys; a hash with the offsets of a
 * table; a hash with the generations. A write is one script call where Redis is one server and the write is below
 * 2,000 states and 8 MiB: all of it or nothing. A cluster gets one call a slot, and the offsets once all are done.
 *
 * The hash tag of a state's key is the entity's key: all views of an entity lie in one slot. How long a write survives
 * is decided by the persistence that the server is set to.
 */
export class RedisBackend implements StateBackend {
  readonly #redis: Redis | Cluster;
  readonly #options: RedisOptions;
  readonly #generationsKey: string;

  constructor(options: RedisOptions) {
    this.#options = options;
    this.#generationsKey = `${options.keyPrefix}generations`;
    const connection = {
      ...(options.username === "" ? {} : { username: options.username }),
      ...(options.password === "" ? {} : { password: options.password }),
      ...(options.tls ? { tls: {} } : {}),
      connectTimeout: options.connectTimeoutMs,
      commandTimeout: options.commandTimeoutMs,
      maxRetriesPerRequest: 0,
    };
    const retry = (times: number) => Math.min(retryMaxMs, 20 * times);
    this.#redis = options.isCluster
      ? new Cluster([...options.nodes], {
          redisOptions: connection,
          clusterRetryStrategy: retry,
          enableOfflineQueue: true,
          slotsRefreshTimeout: options.connectTimeoutMs,
        })
      : new Redis({
          ...connection,
          ...options.nodes[0],
          db: options.database,
          // Commands wait for a connection as long as for an answer.
          enableOfflineQueue: true,
          retryStrategy: retry,
        });
    // Told by the commands that fail.
    this.#redis.on("error", () => {});
  }

  async read(tables: readonly StateTable[], keys: readonly EntityKey[]): Promise<(Uint8Array | undefined)[]> {
    if (keys.length === 0) return [];
    const names = keys.map((key, index) => this.#stateKey(tables[index], key));
    if (this.#redis instanceof Cluster) return this.#readCluster(this.#redis, names);
    if (names.length <= readKeysMax) return withoutNulls(await plain(this.#redis.mgetBuffer(names)));
    const parts: Promise<(Buffer | null)[]>[] = [];
    for (let start = 0; start < names.length; start += readKeysMax)
      parts.push(this.#redis.mgetBuffer(names.slice(start, start + readKeysMax)));
    return withoutNulls((await plain(Promise.all(parts))).flat());
  }

  async compareAndSet(changes: readonly StateChange[], offsets: readonly TableOffset[]): Promise<StateChange[]> {
    if (this.#redis instanceof Cluster) return this.#compareAndSetBySlot(changes, offsets);
    const parts = partsOf(changes);
    const left: StateChange[] = [];
    for (const [index, part] of parts.entries()) {
      const isLast = index === parts.length - 1;
      const isDone = await this.#compareAndSet(part, isLast && left.length === 0 ? offsets : [], true);
      if (!isDone) left.push(...part);
    }
    return left;
  }

  async readOffsets(table: StateTable): Promise<ReadonlyMap<string, number>> {
    const found = await plain(this.#redis.hgetall(this.#offsetsKey(table)));
    return new Map(Object.entries(found).map(([partition, offset]) => [partition, Number(offset)]));
  }

  async listKeys(table: StateTable, after: EntityKey | undefined, limit: number): Promise<EntityKey[]> {
    const from = after === undefined ? "-" : Buffer.concat([Buffer.from("("), encodeKey(after)]);
    const pages = await plain(
      Promise.all(
        this.#indexKeys(table).map((name) => this.#redis.zrangebylexBuffer(name, from, "+", "LIMIT", 0, limit)),
      ),
    );
    return pages.flat().sort(Buffer.compare).slice(0, limit).map(decodeKey);
  }

  async drop(table: StateTable): Promise<void> {
    for (const index of this.#indexKeys(table))
      while (true) {
        const members = await plain(this.#redis.zrangebylexBuffer(index, "-", "+", "LIMIT", 0, dropPage));
        if (members.length === 0) break;
        const names = members.map((member) => this.#stateKey(table, decodeKey(member)));
        if (this.#redis instanceof Redis) await plain(this.#redis.unlink(names));
        else await plain(Promise.all(names.map((name) => this.#redis.unlink(name))));
        await plain(this.#redis.zrem(index, members));
      }
    await plain(this.#redis.unlink(this.#offsetsKey(table)));
  }

  async readVersion(): Promise<string> {
    return (await plain(this.#redis.hget(this.#generationsKey, "version"))) ?? "";
  }

  async readGenerations(): Promise<VersionedGenerations> {
    const [version, text] = await plain(this.#redis.hmget(this.#generationsKey, "version", "generations"));
    if (version == null || text == null) return { version: "", generations: noGenerations };
    const generations: Generations = JSON.parse(text);
    return { version, generations };
  }

  async swapGenerations(version: string, next: VersionedGenerations): Promise<boolean> {
    const args = [version, next.version, JSON.stringify(next.generations)];
    return (await this.#run(swap, [this.#generationsKey], args)) === 1;
  }

  async close(): Promise<void> {
    this.#redis.disconnect();
  }

  async #readCluster(cluster: Cluster, names: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    // Keys of one entity share a tag and with it a slot, which is what an MGET may ask for.
    const groups = new Map<string, number[]>();
    names.forEach((name, index) => {
      const tag = tagOf(name);
      const group = groups.get(tag);
      if (group === undefined) groups.set(tag, [index]);
      else group.push(index);
    });
    const found = new Array<Uint8Array | undefined>(names.length);
    await Promise.all(
      [...groups.values()].map(async (indexes) => {
        const values = await plain(cluster.mgetBuffer(indexes.map((index) => names[index] ?? "")));
        values.forEach((value, at) => {
          found[indexes[at] ?? 0] = value ?? undefined;
        });
      }),
    );
    return found;
  }

  /** One script call an entity, whose views share a slot; what is new is listed first, so that nothing is kept unlisted. */
  async #compareAndSetBySlot(changes: readonly StateChange[], offsets: readonly TableOffset[]): Promise<StateChange[]> {
    const fresh = changes.filter(({ expected }) => expected === undefined);
    await Promise.all(
      fresh.map(({ table, key }) => {
        const member = Buffer.from(encodeKey(key));
        return plain(this.#redis.zadd(this.#indexKey(table, member), 0, member));
      }),
    );
    const groups = new Map<string, StateChange[]>();
    for (const change of changes) {
      const tag = tagOf(this.#stateKey(change.table, change.key));
      const group = groups.get(tag);
      if (group === undefined) groups.set(tag, [change]);
      else group.push(change);
    }
    const left = await Promise.all(
      [...groups.values()].map(async (group) => ((await this.#compareAndSet(group, [], false)) ? [] : group)),
    );
    const open = left.flat();
    if (open.length === 0) await Promise.all(offsets.map((offset) => this.#compareAndSet([], [offset], false)));
    return open;
  }

  async #compareAndSet(
    changes: readonly StateChange[],
    offsets: readonly TableOffset[],
    isListing: boolean,
  ): Promise<boolean> {
    const keys: string[] = [];
    const args: Argument[] = [changes.length];
    for (const { table, key, expected, stamped } of changes) {
      const name = this.#stateKey(table, key);
      const isNew = isListing && expected === undefined;
      const member = isNew ? Buffer.from(encodeKey(key)) : undefined;
      // A key that the script does not use must lie in the same slot as the others.
      keys.push(name, member === undefined ? name : this.#indexKey(table, member));
      args.push(expected === undefined ? "" : Buffer.from(expected), bufferOf(stamped), member ?? "");
    }
    for (const { table, name, offset } of offsets) {
      keys.push(this.#offsetsKey(table));
      args.push(name, offset);
    }
    return (await this.#run(compareAndSet, keys, args)) === 0;
  }

  /** Runs a script by its digest; a server that does not know it, such as one that was started again, gets its text. */
  async #run({ text, digest }: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    try {
      return await this.#redis.evalsha(digest, keys.length, ...keys, ...args);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw withoutCommand(error);
      return plain(this.#redis.eval(text, keys.length, ...keys, ...args));
    }
  }

  #stateKey(table: StateTable | undefined, key: EntityKey): string {
    return `${this.#options.keyPrefix}{${typeof key === "bigint" ? "i" : "t"}${key}}${table?.name}`;
  }

  #offsetsKey({ name }: StateTable): string {
    return `${this.#options.keyPrefix}{${name}}offsets`;
  }

  #indexKeys({ name }: StateTable): string[] {
    return Array.from({ length: indexShards }, (_, shard) => `${this.#options.keyPrefix}{${name}/${shard}}keys`);
  }

  #indexKey({ name }: StateTable, member: Buffer): string {
    let sum = 0;
    for (const byte of member) sum = (Math.imul(sum, 31) + byte) | 0;
    return `${this.#options.keyPrefix}{${name}/${sum & (indexShards - 1)}}keys`;
  }
}

/** What Redis hashes of a key: what stands in the first braces, or all of it. */
function tagOf(name: string): string {
  const start = name.indexOf("{");
  const end = name.indexOf("}", start);
  return end > start + 1 ? name.slice(start, end) : name;
}

/** The driver's errors carry the command that failed, with keys and passwords: what is logged must not. */
function withoutCommand(error: unknown): Error {
  return new Error(`redis: ${error instanceof Error ? error.message : error}`);
}

function plain<T>(answer: Promise<T>): Promise<T> {
  return answer.catch((error: unknown) => {
    throw withoutCommand(error);
  });
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function withoutNulls(found: readonly (Buffer | null)[]): (Uint8Array | undefined)[] {
  return found.map((value) => value ?? undefined);
}

/** Changes in parts that one script call may have; at least one part. */
function partsOf(changes: readonly StateChange[]): StateChange[][] {
  const parts: StateChange[][] = [[]];
  let bytes = 0;
  for (const change of changes) {
    let part = parts.at(-1) ?? [];
    if (part.length >= writeChangesMax || (part.length > 0 && bytes + change.stamped.length > writeBytesMax)) {
      part = [];
      parts.push(part);
      bytes = 0;
    }
    part.push(change);
    bytes += change.stamped.length;
  }
  return parts;
}
