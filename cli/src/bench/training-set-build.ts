import { feature, registry } from "@weft/contracts";
import { loadScenario } from "@weft/scenario";
import { startServices } from "@weft/service";
import { pushDefinitions } from "../deploy/push.ts";
import { whileUnavailable } from "../retry.ts";
import { servicesNamed } from "../services.ts";
import { trainingSetNames } from "./training-set-scenario.ts";

/** What the program prints as one line of JSON. */
export interface BuiltTrainingSet {
  readonly rows: number;
  readonly columns: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Greatest resident size of the whole process. */
  readonly peakBytes: number;
  readonly contentHash: string;
}

const loadTimeoutMs = 60_000;

/** Builds the training set of the scenario in a folder through a feature service of its own. */
async function build(folder: string, data: string): Promise<BuiltTrainingSet> {
  const scenario = loadScenario(folder);
  const services = servicesNamed(["registry", "feature"]);
  const running = await startServices(services, {
    arguments: [
      "--process.log-level=warn",
      `--process.data-directory=${data}`,
      ...services.flatMap(({ name }) => [`--${name}.port=0`, `--${name}.metrics-port=0`]),
    ],
    environment: {},
  });
  try {
    const client = running.dial(registry.RegistryService);
    const { codeDigest, featureViews } = await pushDefinitions(client, folder, scenario);
    const views = featureViews.map((view) => ({ ...view }));
    const created = await client.createRelease({ scenario: scenario.name, codeDigest, featureViews: views });
    const release = created.release?.id ?? "";
    await client.setLabel({ scenario: scenario.name, label: "champion", releaseId: release });
    const features = running.dial(feature.FeatureService);
    let last: feature.BuildTrainingSetResponse | undefined;
    let startMs = 0;
    let startCpu = process.cpuUsage();
    await whileUnavailable(loadTimeoutMs, async () => {
      startMs = performance.now();
      startCpu = process.cpuUsage();
      const request = { scenario: scenario.name, trainingSet: trainingSetNames.trainingSet };
      for await (const step of features.buildTrainingSet(request, { release })) last = step;
    });
    const { user, system } = process.cpuUsage(startCpu);
    return {
      rows: Number(last?.rows ?? 0n),
      columns: last?.columns.length ?? 0,
      seconds: (performance.now() - startMs) / 1e3,
      cpuSeconds: (user + system) / 1e6,
      peakBytes: process.resourceUsage().maxRSS * 1_024,
      contentHash: last?.contentHash ?? "",
    };
  } finally {
    await running.stop();
  }
}

const [folder = "", data = ""] = process.argv.slice(2);
void build(folder, data).then((built) => process.stdout.write(`${JSON.stringify(built)}\n`));
