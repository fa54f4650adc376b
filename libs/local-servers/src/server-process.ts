import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { processEnvironment } from "@weft/config";
import { lastLines } from "./command.ts";

/** How a server is run. */
export interface ServerOptions {
  /** For messages and the data folder. */
  readonly name: string;
  readonly command: string;
  /** Arguments, given the server's own folder. */
  readonly args: (folder: string) => readonly string[];
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Asked until it says true; may throw while the server is not there. */
  readonly isReady: () => Promise<boolean>;
  readonly readyTimeoutMs: number;
}

const probeEveryMs = 25;
const stopTimeoutMs = 20_000;
/** Ends a child with its parent, however the parent ends. */
const setpriv = "/usr/bin/setpriv";

/**
 * A server on this machine, with a folder of its own that `close` removes. It can be stopped, killed, paused and started
 * again on the same ports and data, so that tests can see an outage.
 */
export class ServerProcess {
  readonly folder: string;
  readonly logFile: string;
  readonly #options: ServerOptions;
  #child: ChildProcess | undefined;

  private constructor(options: ServerOptions) {
    this.#options = options;
    this.folder = mkdtempSync(join(tmpdir(), `weft-${options.name}-`));
    this.logFile = join(this.folder, "server.log");
  }

  /** Starts a server and waits until it is ready; an Error with the last lines of its log where it is not in time. */
  static async start(options: ServerOptions): Promise<ServerProcess> {
    const server = new ServerProcess(options);
    try {
      await server.start();
    } catch (error) {
      await server.close();
      throw error;
    }
    return server;
  }

  /** Undefined while it does not run. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts it again after `stop` or `kill`. */
  async start(): Promise<void> {
    if (this.#child !== undefined) return;
    const { name, command, args, env, isReady, readyTimeoutMs } = this.#options;
    const line = [command, ...args(this.folder)];
    const [program = "", ...rest] = existsSync(setpriv) ? [setpriv, "--pdeathsig", "KILL", ...line] : line;
    const log = openSync(this.logFile, "a");
    const child = spawn(program, rest, {
      cwd: this.folder,
      env: { ...processEnvironment(), ...env },
      stdio: ["ignore", log, log],
      // A process group of its own, so that what it has started ends with it.
      detached: true,
    });
    closeSync(log);
    this.#child = child;
    let failure: string | undefined;
    child.once("error", (error) => {
      failure = error.message;
      if (this.#child === child) this.#child = undefined;
    });
    child.once("exit", (code, signal) => {
      failure ??= `ended with ${signal ?? code}`;
      if (this.#child === child) this.#child = undefined;
    });
    const endMs = performance.now() + readyTimeoutMs;
    while (failure === undefined) {
      if (await isReady().catch(() => false)) return;
      if (performance.now() > endMs) failure = `was not ready after ${readyTimeoutMs} ms`;
      else await new Promise((resolve) => setTimeout(resolve, probeEveryMs));
    }
    await this.kill();
    throw new Error(`${name} ${failure}\n${lastLines(readFileSync(this.logFile, "utf8"), 20)}`);
  }

  /** Ends it orderly; its data stay. */
  async stop(): Promise<void> {
    this.resume();
    await this.#end("SIGTERM");
  }

  /** Ends it at once, as a crash would; its data stay. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Holds it still: connections stay open and nothing answers. */
  pause(): void {
    this.#signal("SIGSTOP");
  }

  /** Lets it go on after `pause`. */
  resume(): void {
    this.#signal("SIGCONT");
  }

  /** Ends it and removes its folder. */
  async close(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#signal("SIGKILL"), stopTimeoutMs);
      child.once("exit", () => {
        clearTimeout(timer);
        signalGroup(child, "SIGKILL");
        resolve();
      });
      this.#signal(signal);
    });
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#child !== undefined) signalGroup(this.#child, signal);
  }
}

/** Signals a process and what it has started; nothing where all of it has ended. */
function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}
