import { benchFeatures } from "../bench/features.ts";
import { benchHop } from "../bench/hop.ts";
import { benchIngest } from "../bench/ingest.ts";
import { printResult } from "../bench/result.ts";
import { benchScore } from "../bench/score.ts";
import { benchTrainingSet } from "../bench/training-set.ts";
import { CommandFailure } from "../failure.ts";

const benches = {
  features: benchFeatures,
  hop: benchHop,
  ingest: benchIngest,
  score: benchScore,
  "training-set": benchTrainingSet,
} as const;

/** Names of the benches. */
export const benchNames: readonly string[] = Object.keys(benches);

/** Runs a bench by name and prints what it measured. */
export async function bench(
  name: string,
  options: { readonly seconds: number; readonly json: boolean },
): Promise<void> {
  if (!(name in benches)) throw new CommandFailure(`no bench "${name}"; there are ${benchNames.join(", ")}`);
  printResult(await benches[name as keyof typeof benches](options.seconds), options.json);
}
