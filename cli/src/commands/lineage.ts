import type { MessageInitShape } from "@bufbuild/protobuf";
import { registry } from "@weft/contracts";
import { CommandFailure } from "../failure.ts";
import { peersOf } from "../peers.ts";
import { dialWire } from "../topology.ts";

/** Options of `weft lineage`. */
export interface LineageOptions {
  readonly json: boolean;
  readonly settings: readonly string[];
}

type Part = NonNullable<MessageInitShape<typeof registry.GetLineageRequestSchema>["part"]>;

/** Shows what a part of a scenario came from and what came of it; without a part all of the scenario. */
export async function lineage(scenario: string, part: string | undefined, options: LineageOptions): Promise<void> {
  const asked = part === undefined ? {} : { part: readPart(part) };
  const wire = dialWire(peersOf(options.settings));
  try {
    const found = await wire.dial(registry.RegistryService).getLineage({ scenario, ...asked });
    process.stdout.write(options.json ? `${JSON.stringify(found)}\n` : showLineage(found));
  } finally {
    wire.close();
  }
}

/** Reads `source:name`, `view:name@version`, `training-set:hash`, `model:name@version` or `release:id`. */
function readPart(text: string): Part {
  const colon = text.indexOf(":");
  const kind = text.slice(0, Math.max(0, colon));
  const rest = text.slice(colon + 1);
  const [name = "", version = ""] = rest.split("@");
  switch (kind) {
    case "source":
      return { case: "source", value: rest };
    case "view":
      return { case: "featureView", value: { name, version } };
    case "training-set":
      return { case: "trainingSetHash", value: rest };
    case "model":
      return { case: "model", value: { name, version } };
    case "release":
      return { case: "releaseId", value: rest };
    default:
      throw new CommandFailure(
        `"${text}" must be source:<name>, view:<name>@<version>, training-set:<hash>, model:<name>@<version> or release:<id>`,
      );
  }
}

/** A lineage as lines, from the sources to the releases, each with what it came from. */
function showLineage(found: registry.GetLineageResponse): string {
  const views = (list: readonly { readonly name: string; readonly version: string }[]) =>
    list.map(({ name, version }) => `${name}@${version}`).join(", ");
  const lines = [
    ...found.sources.map((name) => `source ${name}`),
    ...found.featureViews.map(({ name, version, source }) => `view ${name}@${version} <- source ${source}`),
    ...found.trainingSets.map(({ hash, featureViews }) => `training-set ${hash} <- ${views(featureViews)}`),
    ...found.models.map(
      ({ name, version, trainingSetHash }) => `model ${name}@${version} <- training-set ${trainingSetHash}`,
    ),
    ...found.releases.map(({ id, models, featureViews }) => `release ${id} <- ${views([...models, ...featureViews])}`),
  ];
  if (found.truncated) lines.push("older parts were left out");
  return `${lines.join("\n")}\n`;
}
