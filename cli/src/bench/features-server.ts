import { feature as contract } from "@weft/contracts";
import { feature } from "@weft/feature";
import { startServices } from "@weft/service";
import { FakeRegistry } from "@weft/testkit";
import { names, scenarioText } from "./features-scenario.ts";

/**
 * The server of `bench features`: the feature service over Redis, as it is started by itself, with a registry that knows
 * one release. Arguments: data folder, Redis' port, values kept in memory. Materializes the data folder's rows, then
 * prints its port.
 */
const [directory = "", redisPort = "", cacheEntriesMax = "0"] = process.argv.slice(2);

async function main(): Promise<void> {
  const registry = new FakeRegistry();
  const code = JSON.stringify({ files: { "scenario.ts": scenarioText() } });
  const release = registry.release(names.scenario, 1, { codeDigest: registry.put(Buffer.from(code)) });
  registry.label(["champion", release]);
  const running = await startServices([registry.definition, feature], {
    arguments: [
      ...["registry", "feature"].flatMap((name) => [`--${name}.port=0`, `--${name}.metrics-port=0`]),
      `--process.data-directory=${directory}`,
      "--process.log-level=warn",
      "--feature.online-store=redis",
      `--feature.redis-addresses=127.0.0.1:${redisPort}`,
      `--feature.cache-entries-max=${cacheEntriesMax}`,
    ],
    environment: {},
  });
  await running.ready();
  const client = running.dial(contract.FeatureService);
  for await (const _progress of client.materialize({ scenario: names.scenario, views: [] }, { timeoutMs: 120_000 }));
  process.stdout.write(`${running.addresses.get("feature")?.port}\n`);
  // Each line asks for the CPU used so far, in microseconds.
  process.stdin.on("data", () => {
    const { user, system } = process.cpuUsage();
    process.stdout.write(`${user + system}\n`);
  });
  process.once("SIGTERM", () => void running.stop().then(() => process.exit(0)));
}

void main();
