import { feature as contract } from "@weft/contracts";
import { feature } from "@weft/feature";
import { startServices } from "@weft/service";
import { FakeRegistry } from "@weft/testkit";
import { names, scenarioText } from "./ingest-scenario.ts";

/**
 * The server of `bench ingest`: the feature service on its embedded stores, as it is started by itself, with a registry
 * that knows one release. Arguments: data folder, Kafka brokers or "". Materializes the data folder's rows,
 * where there are no brokers, then prints its port and that of its metrics.
 */
const [directory = "", brokers = ""] = process.argv.slice(2);

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
      `--feature.kafka-brokers=${brokers}`,
    ],
    environment: {},
  });
  await running.ready();
  const client = running.dial(contract.FeatureService);
  // What a topic brings is measured by itself.
  if (brokers === "")
    for await (const _progress of client.materialize({ scenario: names.scenario, views: [] }, { timeoutMs: 600_000 }));
  const { port, metricsPort } = running.addresses.get("feature") ?? { port: 0, metricsPort: 0 };
  process.stdout.write(`${JSON.stringify({ port, metricsPort })}\n`);
  // Each line asks for the CPU used so far, in microseconds.
  process.stdin.on("data", () => {
    const { user, system } = process.cpuUsage();
    process.stdout.write(`${user + system}\n`);
  });
  process.once("SIGTERM", () => void running.stop().then(() => process.exit(0)));
}

void main();
