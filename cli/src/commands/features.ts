import { toJsonString } from "@bufbuild/protobuf";
import { feature } from "@weft/contracts";
import { peersOf } from "../peers.ts";
import { dialWire } from "../topology.ts";

/** Options of `weft features`. */
export interface FeaturesOptions {
  readonly json: boolean;
  /** Release; the champion when empty. */
  readonly release: string;
  readonly settings: readonly string[];
}

/** Shows what can be read from a scenario: its views and feature services, with types, keys and who answers for them. */
export async function features(scenario: string, options: FeaturesOptions): Promise<void> {
  const wire = dialWire(peersOf(options.settings));
  try {
    const { release } = options;
    const found = await wire.dial(feature.FeatureService).getDefinitions({ scenario }, { release });
    const text = options.json
      ? toJsonString(feature.GetDefinitionsResponseSchema, found, { alwaysEmitImplicit: true })
      : showDefinitions(found);
    process.stdout.write(`${text}\n`);
  } finally {
    wire.close();
  }
}

type Typed = readonly { readonly name: string; readonly type: string }[];

/** Definitions as lines: a heading for each view and feature service, its features below. */
function showDefinitions(found: feature.GetDefinitionsResponse): string {
  const keys = (entities: Typed) =>
    entities.length === 0
      ? "one row for all"
      : `by ${entities.map(({ name, type }) => `${name} (${type})`).join(", ")}`;
  const lines = (typed: Typed) => typed.map(({ name, type }) => `  ${name}  ${type}`);
  const about = ({ owner, description }: { readonly owner: string; readonly description: string }) =>
    [owner === "" ? "" : `  owner: ${owner}`, description === "" ? "" : `  ${description}`].filter(
      (line) => line !== "",
    );
  return [
    `release ${found.releaseId}`,
    ...found.featureViews.flatMap((view) => {
      const ttl = Number(view.ttl?.seconds ?? 0n);
      const facts = [keys(view.entities), `from ${view.source}`];
      if (ttl > 0) facts.push(`ttl ${ttl} s`);
      if (view.ladder.length > 0) facts.push(`then ${view.ladder.join(", then ")}`);
      return ["", `view ${view.name}@${view.version}: ${facts.join("; ")}`, ...about(view), ...lines(view.features)];
    }),
    ...found.featureServices.flatMap((service) => [
      "",
      `feature service ${service.name}: ${keys(service.entities)}`,
      ...about(service),
      ...lines(service.features),
    ]),
  ].join("\n");
}
