import { readFileSync } from "node:fs";
import { ConfigError, type ConfigInput, describeConfig, processEnvironment } from "@weft/config";
import { isWeftError } from "@weft/errors";
import type { ServiceDefinition } from "./definition.ts";
import { sharedConfigs, withListener } from "./settings.ts";
import { startServices } from "./start.ts";

/** The configuration of this process: flags, environment and the file that `--config` or WEFT_CONFIG names. Throws ConfigError. */
export function readConfigInput(args: readonly string[]): ConfigInput {
  const environment = processEnvironment();
  const rest = [...args];
  const at = rest.findIndex((argument) => argument === "--config" || argument.startsWith("--config="));
  let path = environment.WEFT_CONFIG;
  if (at !== -1) {
    const inline = rest[at]?.split("=", 2)[1];
    path = inline ?? rest[at + 1];
    rest.splice(at, inline === undefined ? 2 : 1);
  }
  if (path === undefined) return { arguments: rest, environment };
  try {
    return { arguments: rest, environment, file: { path, content: JSON.parse(readFileSync(path, "utf8")) } };
  } catch (error) {
    throw new ConfigError([{ origin: path, fault: error instanceof Error ? error.message : String(error) }]);
  }
}

/** Help for a set of services: every setting with its flag, variable, range, default and doc. */
export function describeServices(definitions: readonly ServiceDefinition[]): string {
  return describeConfig([...sharedConfigs, ...definitions.map(({ name, config }) => withListener(name, config))]);
}

/**
 * Owns the life of a process that serves: configuration (or `--help`), compose, listen, and on SIGTERM or SIGINT
 * not-ready, drain, close, exit. Exits 2 on a faulty configuration, 1 when it cannot start.
 */
export async function runServices(definitions: readonly ServiceDefinition[], args: readonly string[]): Promise<void> {
  if (args.includes("--help")) {
    process.stdout.write(
      `Serves ${definitions.map(({ name }) => name).join(", ")}.\n\n${describeServices(definitions)}\n`,
    );
    return;
  }
  try {
    const running = await startServices(definitions, readConfigInput(args));
    for (const [name, { host, port, metricsPort, edgePort }] of running.addresses)
      process.stdout.write(
        `${name} grpc ${host}:${port} metrics ${host}:${metricsPort}${edgePort === undefined ? "" : ` edge ${host}:${edgePort}`}\n`,
      );
    const signal = await new Promise<NodeJS.Signals>((resolve) => {
      process.once("SIGTERM", resolve);
      process.once("SIGINT", resolve);
    });
    process.stderr.write(`${signal}: draining\n`);
    await running.stop();
    process.exitCode = 0;
  } catch (error) {
    if (error instanceof ConfigError || (error instanceof Error && error.name === "ConfigError")) {
      process.stderr.write(`${error.message}\n`);
      process.exitCode = 2;
    } else {
      process.stderr.write(
        `${isWeftError(error) ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
      );
      process.exitCode = 1;
    }
  }
}
