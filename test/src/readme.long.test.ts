import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { serviceNames } from "@weft/contracts";
import { grpcurlPath } from "./grpcurl.ts";
import { root } from "./weft.ts";

const readme = readFileSync(join(root, "README.md"), "utf8");

/** Command lines of the README's `sh` blocks, in order. */
const commands = [...readme.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].flatMap(([, block = ""]) =>
  block.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#")),
);

/** Commands that this very run is inside of, or that need hours or a quiet machine: checked for existence instead. */
const notRun = new Map<RegExp, string>([
  [/^npm (test|run test:all)$/, "this suite is part of it"],
  [/^npx weft bench /, "measures; needs a quiet machine"],
  [/^npx weft train /, "trains for minutes"],
  [/^git clone /, "the checkout is here"],
]);

/** Free ports in place of the README's, so that whatever holds those does not matter: the port of each by its own. */
const ports = new Map<number, number>();
const environment: Record<string, string | undefined> = { ...process.env };

async function takeFreePorts(): Promise<void> {
  for (const [index, name] of serviceNames.entries()) {
    const [grpc, metrics] = [await freePort(), await freePort()];
    ports.set(7000 + index, grpc);
    ports.set(7100 + index, metrics);
    const prefix = `WEFT_${name.toUpperCase()}`;
    environment[`${prefix}_PORT`] = String(grpc);
    environment[`${prefix}_METRICS_PORT`] = String(metrics);
    environment[`WEFT_PEERS_${name.toUpperCase()}`] = `127.0.0.1:${grpc}`;
  }
  ports.set(7080, await freePort());
  environment.WEFT_GATEWAY_EDGE_PORT = String(ports.get(7080));
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** A command line with the ports that it finds here. */
function withPorts(line: string): string {
  return line.replace(/127\.0\.0\.1:(\d+)/g, (whole, port) => {
    const here = ports.get(Number(port));
    return here === undefined ? whole : `127.0.0.1:${here}`;
  });
}

const directory = mkdtempSync(join(tmpdir(), "weft-readme-"));
let serving: ChildProcess | undefined;

async function shell(
  line: string,
  timeoutMs: number,
): Promise<{ readonly code: number | null; readonly output: string }> {
  const bin = join(await grpcurlPath(), "..");
  const child = spawn("sh", ["-c", withPorts(line)], {
    cwd: root,
    env: { ...environment, PATH: `${bin}:${join(root, "node_modules", ".bin")}:${process.env.PATH}` },
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (part: string) => {
      output += part;
    });
  const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
  return new Promise((resolve) =>
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code, output });
    }),
  );
}

/** Starts a command that serves, and waits until it says so. */
function serve(line: string, until: RegExp): Promise<string> {
  const child = spawn("sh", ["-c", `exec ${line}`], { cwd: root, detached: true, env: environment });
  serving = child;
  return new Promise((resolve, reject) => {
    let output = "";
    child.once("exit", (code) => reject(new Error(`${line} ended with ${code}:\n${output}`)));
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (part: string) => {
        output += part;
        if (until.test(output)) resolve(output);
      });
  });
}

async function endServing(): Promise<void> {
  const child = serving;
  serving = undefined;
  if (child?.pid === undefined || child.exitCode !== null) return;
  child.removeAllListeners("exit");
  const ended = new Promise((resolve) => child.once("exit", resolve));
  process.kill(-child.pid, "SIGINT");
  await ended;
}

describe("the README", () => {
  beforeAll(takeFreePorts);
  afterAll(async () => {
    await endServing();
    rmSync(directory, { recursive: true, force: true });
  }, 60_000);

  test("has commands", () => expect(commands.length).toBeGreaterThan(5));

  for (const line of commands) {
    const reason = [...notRun].find(([pattern]) => pattern.test(line))?.[1];
    if (reason !== undefined) continue;
    test(`runs: ${line}`, async () => {
      if (line === "npm start") {
        const output = await serve(line, /Serving until Ctrl-C/);
        expect(output).toContain("recommender: 5 recommendations");
        expect(output).toContain("fraud (simulated data): decisions");
        return;
      }
      if (line === "npm start -- --once") await endServing();
      const { code, output } = await shell(line, 580_000);
      expect({ line, code, output: code === 0 ? "" : output }).toEqual({ line, code: 0, output: "" });
      expect(output.length).toBeGreaterThan(0);
    });
  }
});
