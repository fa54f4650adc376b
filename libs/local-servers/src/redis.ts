import { connect } from "node:net";
import { join } from "node:path";
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
