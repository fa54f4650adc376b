import { connect } from "node:net";
import { join } from "node:path";
import { runCommand } from "./command.ts";
import { freePort } from "./free-port.ts";
import { ServerProcess } from "./server-process.ts";
import { aptPackage } from "./tools.ts";

/** A Redis server on this machine. */
export interface RedisServer {
  readonly host: string;
  readonly port: number;
  /** Stops, kills, pauses and starts it; `close` ends it for good. */
  readonly server: ServerProcess;
}

const readyTimeoutMs = 20_000;

/** Starts Redis (Debian's package, in the cache) on a free port. Its data are kept over a restart by an append-only file. */
export async function startRedis(args: readonly string[] = []): Promise<RedisServer> {
  const { folder, env } = await aptPackage("redis-server");
  const port = await freePort();
  const server = await ServerProcess.start({
    name: "redis",
    command: join(folder, "usr", "bin", "redis-server"),
    args: (data) => [
      ...["--port", String(port), "--bind", "127.0.0.1", "--dir", data, "--save", ""],
      ...["--appendonly", "yes", ...args],
    ],
    env,
    isReady: () => answersPing(port),
    readyTimeoutMs,
  });
  return { host: "127.0.0.1", port, server };
}

/** A Redis Cluster on this machine. */
export interface RedisCluster {
  /** Of one of its nodes. */
  readonly port: number;
  readonly nodes: readonly RedisServer[];
  close(): Promise<void>;
}

const clusterTimeoutMs = 30_000;

/** Starts a cluster of three nodes without replicas, and waits until it serves all slots. */
export async function startRedisCluster(): Promise<RedisCluster> {
  const { folder, env } = await aptPackage("redis-server");
  const command = join(folder, "usr", "bin", "redis-cli");
  const nodes: RedisServer[] = [];
  const close = async () => {
    await Promise.all(nodes.map(({ server }) => server.close()));
  };
  try {
    for (let node = 0; node < 3; node++)
      nodes.push(await startRedis(["--cluster-enabled", "yes", "--cluster-port", String(await freePort())]));
    const addresses = nodes.map(({ host, port }) => `${host}:${port}`);
    await runCommand(command, ["--cluster", "create", ...addresses, "--cluster-yes"], { env });
    const [first] = nodes;
    const port = first?.port ?? 0;
    const endMs = performance.now() + clusterTimeoutMs;
    for (const node of nodes)
      while (
        !(await runCommand(command, ["-p", String(node.port), "cluster", "info"], { env })).includes("cluster_state:ok")
      ) {
        if (performance.now() > endMs) throw new Error("the cluster does not serve all slots");
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    return { port, nodes, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** True where Redis answers, be it that it wants a password; not while it loads its data. */
function answersPing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" }, () => socket.write("PING\r\n"));
    socket.setTimeout(1_000, () => socket.destroy());
    socket.once("data", (answer) => {
      resolve(/^(\+PONG|-NOAUTH)/.test(String(answer)));
      socket.destroy();
    });
    socket.once("error", () => resolve(false));
    socket.once("close", () => resolve(false));
  });
}
