import { expect, test } from "@jest/globals";
import { type FuzzedSide, fuzz } from "./testing/fuzz/fuzz.ts";

/**
 * Mutated conversations, given to this implementation and to node:http2: the same verdict or a stricter one. A run with
 * WEFT_FUZZ_COUNT=1000000 is the whole of it; WEFT_FUZZ_SEED takes another seed than the suite's own, WEFT_FUZZ_FIRST begins
 * at a later sequence.
 */
const seed = Number(process.env.WEFT_FUZZ_SEED ?? 20261122);
const count = Number(process.env.WEFT_FUZZ_COUNT ?? 100_000);
const first = Number(process.env.WEFT_FUZZ_FIRST ?? 0);
const chunkCount = 10_000;
const heapGrowthMax = 64 * 1024 * 1024;

test.each<FuzzedSide>(["server", "client"])(
  "%s: the same verdicts as node:http2, or stricter",
  async (side) => {
    const judgements = new Map<string, number>();
    const faults: string[] = [];
    let heapBytes = 0;
    // Half of the sequences go to each side.
    for (let done = 0; done < count / 2; done += chunkCount) {
      const report = await fuzz(side, seed, first + done, Math.min(chunkCount, count / 2 - done));
      faults.push(...report.faults);
      for (const [judgement, times] of report.judgements)
        judgements.set(judgement, (judgements.get(judgement) ?? 0) + times);
      globalThis.gc?.();
      if (done === 0) heapBytes = process.memoryUsage().heapUsed;
    }
    expect({ side, seed, faults }).toEqual({ side, seed, faults: [] });
    // Without a collection on demand, garbage counts too: the bound is then of what is never taken away.
    expect(process.memoryUsage().heapUsed - heapBytes).toBeLessThan(heapGrowthMax);
    const lines = [...judgements].sort(([, one], [, other]) => other - one).map(([what, times]) => `${times} ${what}`);
    process.stdout.write(`${side}, seed ${seed}, ${count / 2} sequences from ${first}:\n${lines.join("\n")}\n`);
  },
  7_200_000,
);
