import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RunningServices, type ServiceDefinition, startServices } from "@weft/service";

/** Starts services on free ports with a data folder of their own, which `stop` removes. */
export async function startOnFreePorts(
  definitions: readonly ServiceDefinition[],
  args: readonly string[] = [],
): Promise<RunningServices & { readonly directory: string }> {
  const directory = mkdtempSync(join(tmpdir(), "weft-test-"));
  const ports = definitions.flatMap(({ name, edge }) => [
    `--${name}.port=0`,
    `--${name}.metrics-port=0`,
    ...(edge === undefined ? [] : [`--${name}.edge-port=0`]),
  ]);
  const running = await startServices(definitions, {
    arguments: [...ports, `--process.data-directory=${directory}`, "--process.log-level=silent", ...args],
    environment: {},
  });
  return {
    ...running,
    directory,
    async stop() {
      await running.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
