import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DescService } from "@bufbuild/protobuf";
import { ownerOf, type ServiceName } from "@weft/contracts";
import { type Client, createClient, grpcJs, type Transport } from "@weft/rpc";

/** The checkout. */
export const root = join(__dirname, "..", "..");

/** What `weft up --json` prints. */
export interface UpOutput {
  readonly releases: Readonly<Record<string, string>>;
  readonly addresses: Readonly<
    Record<
      ServiceName,
      { readonly host: string; readonly port: number; readonly metricsPort: number; readonly edgePort?: number }
    >
  >;
  readonly results: readonly Readonly<Record<string, unknown>>[];
  readonly paste: readonly { readonly grpcurl: string; readonly curl: string }[];
}

/** A running `weft up`. */
export interface Weft {
  readonly output: UpOutput;
  readonly process: ChildProcess;
  readonly directory: string;
  dial<S extends DescService>(service: S): Client<S>;
  /** Ends it as Ctrl-C does; answers its exit status. */
  stop(): Promise<number | null>;
}

const messageBytesMax = 4_194_304;

/** Runs the command and waits for its end. */
export function runWeft(
  args: readonly string[],
  timeoutMs = 300_000,
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  const child = spawn(process.execPath, [join(root, "cli", "bin", "weft.js"), ...args], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const texts = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    texts.stdout += part;
  });
  child.stderr.setEncoding("utf8").on("data", (part: string) => {
    texts.stderr += part;
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
  return new Promise((resolve) =>
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code, ...texts });
    }),
  );
}

/** Starts `weft up` on free ports with a state folder of its own and waits until it serves. */
export async function startWeft(
  scenarios: readonly string[],
  args: readonly string[] = [],
  directory = mkdtempSync(join(tmpdir(), "weft-e2e-")),
): Promise<Weft> {
  const child = spawn(
    process.execPath,
    [
      join(root, "cli", "bin", "weft.js"),
      "up",
      ...scenarios,
      "--json",
      "--free-ports",
      "--data-directory",
      directory,
      ...args,
    ],
    { cwd: root, stdio: ["ignore", "pipe", "pipe"] },
  );
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (part: string) => {
    stderr += part;
  });
  const output = await new Promise<UpOutput>((resolve, reject) => {
    let text = "";
    child.once("exit", (code) => reject(new Error(`weft up ended with ${code}:\n${stderr}`)));
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      text += part;
      const end = text.indexOf("\n");
      if (end !== -1) resolve(JSON.parse(text.slice(0, end)));
    });
  });
  child.removeAllListeners("exit");
  const transports = new Map<string, Transport>();
  return {
    output,
    process: child,
    directory,
    dial(service) {
      const owner = ownerOf(service.typeName);
      const { host, port } = output.addresses[owner];
      const transport = transports.get(owner) ?? grpcJs.connect(`${host}:${port}`, { messageBytesMax });
      transports.set(owner, transport);
      return createClient(service, transport, []);
    },
    async stop() {
      for (const transport of transports.values()) void transport.close();
      const code = await new Promise<number | null>((resolve) => {
        if (child.exitCode !== null) return resolve(child.exitCode);
        child.once("exit", resolve);
        child.kill("SIGINT");
      });
      return code;
    },
  };
}

/** Removes the state folder of a stopped `weft up`. */
export function removeState({ directory }: Pick<Weft, "directory">): void {
  rmSync(directory, { recursive: true, force: true });
}
