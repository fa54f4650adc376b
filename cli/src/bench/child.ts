import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { CommandFailure } from "../failure.ts";

/** A program of a bench in a process of its own, so that it has its own event loop and its CPU can be told apart. */
export interface BenchChild {
  readonly child: ChildProcess;
  /** First line that it printed. */
  readonly firstLine: string;
  /** Sends an empty line and answers the next line printed. */
  ask(): Promise<string>;
  stop(): Promise<void>;
}

const startTimeoutMs = 600_000;

/** Starts a script and waits for its first line on stdout. */
export function startChild(script: string, args: readonly string[]): Promise<BenchChild> {
  return startProgram(process.execPath, [...process.execArgv, script, ...args]);
}

/** Starts a program of any language and waits for its first line on stdout. */
export function startProgram(path: string, args: readonly string[]): Promise<BenchChild> {
  const child = spawn(path, args, { stdio: ["pipe", "pipe", "inherit"] });
  return new Promise((resolve, reject) => {
    let text = "";
    const timer = setTimeout(() => fail("did not start in time"), startTimeoutMs);
    const fail = (why: string) => {
      clearTimeout(timer);
      child.kill("SIGKILL");
      reject(new CommandFailure(`${[path, ...args].join(" ")} ${why}`));
    };
    child.once("exit", (code) => fail(`ended with ${code}`));
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (part: string) => {
      text += part;
      const end = text.indexOf("\n");
      if (end === -1) return;
      clearTimeout(timer);
      child.removeAllListeners("exit");
      child.stdout.removeAllListeners("data");
      child.stdout.resume();
      resolve({ child, firstLine: text.slice(0, end), ask: () => ask(child), stop: () => stopChild(child) });
    });
  });
}

function ask(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.stdout?.once("data", (line: string) => resolve(line.trim()));
    child.stdin?.write("\n");
  });
}

function stopChild(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
    child.once("exit", () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill("SIGTERM");
  });
}

/** Runs a script to its end and answers its first line. */
export async function runChild(script: string, args: readonly string[]): Promise<string> {
  return (await startChild(script, args)).firstLine;
}

/** Path of a bench program beside this file. */
export function program(name: string): string {
  return join(__dirname, `${name}.js`);
}
