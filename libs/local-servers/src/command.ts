import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { processEnvironment } from "@weft/config";

const execute = promisify(execFile);

/** Where and how long a command runs. */
export interface CommandOptions {
  readonly cwd?: string;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Default 20 minutes. */
  readonly timeoutMs?: number;
}

const outputBytesMax = 64 * 1024 * 1024;
const timeoutDefaultMs = 1_200_000;

/** Runs a command to its end and answers what it printed; an Error with its last lines where it fails. */
export async function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  try {
    const { stdout } = await execute(command, [...args], {
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { ...processEnvironment(), ...options.env },
      timeout: options.timeoutMs ?? timeoutDefaultMs,
      maxBuffer: outputBytesMax,
    });
    return stdout;
  } catch (cause) {
    const output =
      cause instanceof Error && "stderr" in cause && "stdout" in cause
        ? `${cause.stdout}\n${cause.stderr}`
        : `${cause}`;
    throw new Error(`${command} ${args.join(" ")} failed:\n${lastLines(output, 10)}`, { cause });
  }
}

/** The last lines of a text that are not empty. */
export function lastLines(text: string, count: number): string {
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .slice(-count)
    .join("\n");
}
