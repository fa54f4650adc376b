import { pack, prediction } from "../domain/prediction-fixture.ts";
import { SqlitePredictionLog } from "./sqlite-prediction-log.ts";

/** Appends batches of 50 and their labels for ever, telling each once it is acknowledged; a test kills it. */
async function main(path: string, round: string): Promise<void> {
  const log = SqlitePredictionLog.open({ path, synchronous: "full", hardLimitBytes: 1e9, layoutsMax: 100 });
  for (let batch = 0; ; batch++) {
    const ids = Array.from({ length: 50 }, (_, i) => `${round}-${batch}-${i}`);
    await log.append(pack(...ids.map((id) => prediction(id))), batch);
    process.stdout.write(`predictions ${batch}\n`);
    const labels = ids.map((requestId) => ({ requestId, item: "", value: 1, labelTimeUs: 1 }));
    await log.appendLabels("fraud", labels, batch);
    process.stdout.write(`labels ${batch}\n`);
  }
}

void main(process.argv[2] ?? "", process.argv[3] ?? "");
