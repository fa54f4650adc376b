import { toJson } from "@bufbuild/protobuf";
import { feature } from "@weft/contracts";
import { isWeftError } from "@weft/errors";
import type { Client } from "@weft/rpc";
import { CommandFailure } from "../failure.ts";
import { peersOf } from "../peers.ts";
import { startProgress } from "../progress.ts";
import { showMaterializations, showReport, showRollBack, showViews } from "../show-materialization.ts";
import { dialWire } from "../topology.ts";

/** Options of `weft materialize`. */
export interface MaterializeCommandOptions {
  readonly json: boolean;
  /** Views by name; all when empty. */
  readonly view: readonly string[];
  /** Only what is new. */
  readonly incremental: boolean;
  /** Go back to the generation before instead. */
  readonly rollBack: boolean;
  /** Show the latest materializations and the last report instead. */
  readonly status: boolean;
  /** Release; the champion when empty. */
  readonly release: string;
  readonly settings: readonly string[];
}

type FeatureClient = Client<typeof feature.FeatureService>;

/** Brings views up to date with their sources' files, and shows what readers see then and what the rows were found to be. */
export async function materialize(scenario: string, options: MaterializeCommandOptions): Promise<void> {
  if (options.status && options.rollBack) throw new CommandFailure("--status and --roll-back exclude each other");
  const wire = dialWire(peersOf(options.settings));
  try {
    const client = wire.dial(feature.FeatureService);
    if (options.status) await showStatus(client, scenario, options);
    else if (options.rollBack) await rollBack(client, scenario, options);
    else await load(client, scenario, options);
  } finally {
    wire.close();
  }
}

async function load(client: FeatureClient, scenario: string, options: MaterializeCommandOptions): Promise<void> {
  const { release } = options;
  const { FULL, INCREMENTAL } = feature.MaterializeMode;
  const mode = options.incremental ? INCREMENTAL : FULL;
  const progress = startProgress(`${scenario}: bringing views up to date`);
  let last: feature.MaterializeResponse | undefined;
  try {
    for await (const step of client.materialize({ scenario, views: [...options.view], mode }, { release })) {
      last = step;
      progress.update(Number(step.rowsRead), Number(step.rowsTotal));
    }
  } catch (error) {
    progress.end("failed");
    if (!isWeftError(error) || error.reason !== "EXPECTATION_NOT_MET") throw error;
    const report = await lastReport(client, scenario, release);
    if (report !== undefined)
      print(options, { report: toJson(feature.GetValidationReportResponseSchema, report) }, showReport(report));
    throw new CommandFailure(error.message);
  }
  progress.end(`${last?.rowsRead ?? 0n} rows, ${last?.entitiesWritten ?? 0n} entities`);
  if (last === undefined) return;
  const report = await lastReport(client, scenario, release);
  const isOwn = report !== undefined && report.materializationId === last.id;
  print(
    options,
    {
      materialization: toJson(feature.MaterializeResponseSchema, last),
      ...(isOwn ? { report: toJson(feature.GetValidationReportResponseSchema, report) } : {}),
    },
    `${showViews(last.views)}${isOwn ? `\n${showReport(report)}` : ""}`,
  );
}

async function rollBack(client: FeatureClient, scenario: string, options: MaterializeCommandOptions): Promise<void> {
  const { release } = options;
  const response = await client.rollBackViews({ scenario, views: [...options.view] }, { release });
  print(options, toJson(feature.RollBackViewsResponseSchema, response), showRollBack(response.views));
  if (!response.views.some(({ changed }) => changed)) throw new CommandFailure("no view has a generation before");
}

async function showStatus(client: FeatureClient, scenario: string, options: MaterializeCommandOptions): Promise<void> {
  const { release } = options;
  const list = await client.listMaterializations({ scenario }, { release });
  const report = await lastReport(client, scenario, release);
  print(
    options,
    {
      ...(toJson(feature.ListMaterializationsResponseSchema, list) as object),
      ...(report === undefined ? {} : { report: toJson(feature.GetValidationReportResponseSchema, report) }),
    },
    `${showMaterializations(list.materializations)}${report === undefined ? "" : `\n${showReport(report)}`}`,
  );
}

/** The latest report of a scenario; undefined where its sources expect nothing. */
async function lastReport(client: FeatureClient, scenario: string, release: string) {
  return client.getValidationReport({ scenario }, { release }).catch((error: unknown) => {
    if (isWeftError(error) && error.reason === "REPORT_UNKNOWN") return undefined;
    throw error;
  });
}

function print({ json }: MaterializeCommandOptions, value: unknown, text: string): void {
  process.stdout.write(json ? `${JSON.stringify(value)}\n` : text);
}
