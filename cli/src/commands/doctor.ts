import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { serviceNames } from "@weft/contracts";
import { hasGoTool } from "@weft/local-servers";
import { edgePort, firstPort } from "@weft/service";
import { ghz } from "../bench/ghz.ts";
import { trainingDirectory } from "../training-environment.ts";

const execute = promisify(execFile);

/** One thing that Weft uses. */
interface Check {
  readonly name: string;
  readonly found: boolean;
  readonly detail: string;
  /** What it is for. */
  readonly use: string;
  /** How to get it. */
  readonly get: string;
  /** Whether `npm start` cannot do without it. */
  readonly required: boolean;
}

async function version(command: string, args: readonly string[]): Promise<string | undefined> {
  try {
    const { stdout, stderr } = await execute(command, [...args], { timeout: 10_000 });
    return (stdout.trim() || stderr.trim()).split("\n")[0];
  } catch {
    return undefined;
  }
}

function portFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

async function tool(
  name: string,
  command: string,
  args: readonly string[],
  use: string,
  get: string,
  required = false,
): Promise<Check> {
  const detail = await version(command, args);
  return { name, found: detail !== undefined, detail: detail ?? "not found", use, get, required };
}

/** Says what is missing on this machine, what it is for and how to get it. Exit status 1 where something required is. */
export async function doctor(options: { readonly json: boolean }): Promise<void> {
  const node = Number(process.versions.node.split(".")[0]) >= 24;
  const ports = [...serviceNames.map((_, index) => firstPort + index), edgePort];
  const taken = (await Promise.all(ports.map(async (port) => ((await portFree(port)) ? [] : [port])))).flat();
  const hasGhz = hasGoTool(ghz);
  const checks: Check[] = [
    {
      name: "node",
      found: node,
      detail: process.version,
      use: "runs everything",
      get: "npm install (brings the pinned one)",
      required: true,
    },
    await tool(
      "python3",
      "python3",
      ["--version"],
      "fetches the recommender's data; training",
      "your system's python3 package, 3.11 or newer",
    ),
    await tool(
      "pip",
      "python3",
      ["-m", "pip", "--version"],
      "fetches the recommender's data; training",
      "your system's python3-pip package",
    ),
    await tool("venv", "python3", ["-m", "venv", "--help"], "weft train", "your system's python3-venv package"),
    {
      name: "training",
      found: existsSync(join(trainingDirectory, "requirements.lock")),
      detail: trainingDirectory,
      use: "weft train",
      get: "a checkout of the project",
      required: false,
    },
    await tool("go", "go", ["version"], "builds ghz for weft bench, and grpcurl", "your system's Go, 1.22 or newer"),
    {
      name: "ghz",
      found: hasGhz,
      detail: hasGhz ? "built" : "not built yet",
      use: "weft bench",
      get: "weft bench builds it on first use, with Go",
      required: false,
    },
    await tool(
      "grpcurl",
      "grpcurl",
      ["--version"],
      "calls services by hand",
      "go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3",
    ),
    {
      name: "ports",
      found: taken.length === 0,
      detail: taken.length === 0 ? `${ports[0]}-${ports.at(-1)} free` : `taken: ${taken.join(", ")}`,
      use: "weft up",
      get: "end what holds them, or set others: --gateway.port=0 picks a free one",
      required: false,
    },
  ];
  if (options.json) process.stdout.write(`${JSON.stringify(checks)}\n`);
  else
    for (const check of checks)
      process.stdout.write(
        `${check.found ? "ok     " : "missing"} ${check.name.padEnd(9)} ${check.detail}${check.found ? "" : `\n                  for: ${check.use}\n                  get: ${check.get}`}\n`,
      );
  if (checks.some(({ required, found }) => required && !found)) process.exitCode = 1;
}
