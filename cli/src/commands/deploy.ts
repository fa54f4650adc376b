import { resolve } from "node:path";
import { registry } from "@weft/contracts";
import { loadScenario } from "@weft/scenario";
import { pushScenario } from "../deploy/push.ts";
import { deployClients, releaseScenario } from "../deploy/release.ts";
import { peersOf } from "../peers.ts";
import { dialWire } from "../topology.ts";

/** Options of `weft push` and `weft release`. */
export interface DeployOptions {
  readonly json: boolean;
  readonly settings: readonly string[];
}

/** Pushes a scenario's code, views and models to the registry. */
export async function push(folder: string, options: DeployOptions): Promise<void> {
  const scenario = loadScenario(folder);
  const wire = dialWire(peersOf(options.settings));
  try {
    const pushed = await pushScenario(wire.dial(registry.RegistryService), resolve(folder), scenario);
    if (options.json) process.stdout.write(`${JSON.stringify(pushed)}\n`);
    else {
      process.stdout.write(`code ${pushed.codeDigest}\n`);
      for (const { name, version } of pushed.featureViews) process.stdout.write(`view ${name} version ${version}\n`);
      for (const { name, version } of pushed.models) process.stdout.write(`model ${name} version ${version}\n`);
    }
  } finally {
    wire.close();
  }
}

/** Pushes a scenario, makes a release of it, fills its indexes and points a label at it. */
export async function release(folder: string, options: DeployOptions & { readonly label: string }): Promise<void> {
  const scenario = loadScenario(folder);
  const wire = dialWire(peersOf(options.settings));
  try {
    const pushed = await pushScenario(wire.dial(registry.RegistryService), resolve(folder), scenario);
    const { id, unchanged } = await releaseScenario(deployClients(wire.dial), scenario, pushed, {
      label: options.label,
    });
    process.stdout.write(
      options.json
        ? `${JSON.stringify({ id, label: options.label, unchanged })}\n`
        : `${id} is ${options.label}${unchanged ? ", as before" : ""}\n`,
    );
  } finally {
    wire.close();
  }
}
