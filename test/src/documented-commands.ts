import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { serviceNames } from "@weft/contracts";
import { freePort } from "@weft/local-servers";
import { grpcurlPath } from "./grpcurl.ts";
import { root } from "./weft.ts";

/** Command lines of a page's `sh` blocks, in order. */
export function commandsOf(page: string): readonly string[] {
  return [...page.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].flatMap(([, block = ""]) =>
    block.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#")),
  );
}

/** How a command ended. */
export interface CommandEnd {
  readonly code: number | null;
  readonly output: string;
}

/**
 * Runs a page's command lines from the checkout, with free ports in place of the page's, so that whatever holds those does
 * not matter, and with other replacements, such as of a folder's name.
 */
export class DocumentedCommands {
  readonly #ports: ReadonlyMap<number, number>;
  readonly #environment: Readonly<Record<string, string | undefined>>;
  readonly #replacements: readonly (readonly [string, string])[];
  #serving: ChildProcess | undefined;

  private constructor(
    ports: ReadonlyMap<number, number>,
    environment: Readonly<Record<string, string | undefined>>,
    replacements: readonly (readonly [string, string])[],
  ) {
    this.#ports = ports;
    this.#environment = environment;
    this.#replacements = replacements;
  }

  static async open(replacements: readonly (readonly [string, string])[] = []): Promise<DocumentedCommands> {
    const ports = new Map<number, number>();
    const taken = new Set<number>();
    // A port that is free now may be named twice.
    const otherPort = async (): Promise<number> => {
      const port = await freePort();
      if (taken.has(port)) return otherPort();
      taken.add(port);
      return port;
    };
    const bin = join(await grpcurlPath(), "..");
    const path = `${bin}:${join(root, "node_modules", ".bin")}:${process.env.PATH}`;
    const environment: Record<string, string | undefined> = { ...process.env, PATH: path };
    for (const [index, name] of serviceNames.entries()) {
      const [grpc, metrics] = [await otherPort(), await otherPort()];
      ports.set(7000 + index, grpc);
      ports.set(7100 + index, metrics);
      const prefix = `WEFT_${name.toUpperCase()}`;
      environment[`${prefix}_PORT`] = String(grpc);
      environment[`${prefix}_METRICS_PORT`] = String(metrics);
      environment[`WEFT_PEERS_${name.toUpperCase()}`] = `127.0.0.1:${grpc}`;
    }
    ports.set(7080, await otherPort());
    environment.WEFT_GATEWAY_EDGE_PORT = String(ports.get(7080));
    return new DocumentedCommands(ports, environment, replacements);
  }

  /** Runs a line to its end. */
  run(line: string, timeoutMs: number): Promise<CommandEnd> {
    const child = spawn("sh", ["-c", this.#here(line)], { cwd: root, env: this.#environment });
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

  /** Starts a line that serves, and waits until it says so; answers what it has printed. */
  serve(line: string, until: RegExp): Promise<string> {
    const child = spawn("sh", ["-c", `exec ${this.#here(line)}`], {
      cwd: root,
      detached: true,
      env: this.#environment,
    });
    this.#serving = child;
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

  /** Ends what serves, as Ctrl-C does. */
  async endServing(): Promise<void> {
    const child = this.#serving;
    this.#serving = undefined;
    if (child?.pid === undefined || child.exitCode !== null) return;
    child.removeAllListeners("exit");
    const ended = new Promise((resolve) => child.once("exit", resolve));
    process.kill(-child.pid, "SIGINT");
    await ended;
  }

  /** A line with the ports and names that it finds here. */
  #here(line: string): string {
    const ported = line.replace(/127\.0\.0\.1:(\d+)/g, (whole, port) => {
      const here = this.#ports.get(Number(port));
      return here === undefined ? whole : `127.0.0.1:${here}`;
    });
    return this.#replacements.reduce((text, [from, to]) => text.replaceAll(from, to), ported);
  }
}
