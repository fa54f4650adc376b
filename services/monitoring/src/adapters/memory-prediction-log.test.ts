import { expect, test } from "@jest/globals";
import { pack, prediction } from "../domain/prediction-fixture.ts";
import { predictionLogContract } from "../domain/prediction-log.contract.ts";
import { MemoryPredictionLog } from "./memory-prediction-log.ts";

predictionLogContract({ name: "memory", open: async () => new MemoryPredictionLog(1e9) });

test("refuses what does not fit and stays usable", async () => {
  const log = new MemoryPredictionLog(200);
  await log.append(pack(prediction("a")), 1);
  await expect(log.append(pack(prediction("b"), prediction("c"), prediction("d")), 2)).rejects.toMatchObject({
    fault: "full",
  });
  expect(await log.scan(0, 10)).toHaveLength(1);
});
