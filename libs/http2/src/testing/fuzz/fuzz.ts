import { seededBelow } from "@weft/repeatable";
import { openNodeClient, openOurClient } from "./clients.ts";
import { answers, requests } from "./conversation.ts";
import { mutate, type Sequence } from "./mutation.ts";
import { judge } from "./oracle.ts";
import { openNodeServer, openOurServer } from "./servers.ts";
import { runAll } from "./side.ts";
import type { Verdict } from "./verdict.ts";

/** Which side is given the sequences. */
export type FuzzedSide = "server" | "client";

/** What came of many sequences. */
export interface FuzzReport {
  readonly sequences: number;
  /** How often each judgement was made. */
  readonly judgements: ReadonlyMap<string, number>;
  /** Where we are laxer, differ, throw or refuse a sound conversation; the number of the sequence comes first. */
  readonly faults: readonly string[];
}

const batchCount = 250;
const faultsMax = 20;

/** The sequence of a seed and a number: the same ever after. */
export function sequenceOf(side: FuzzedSide, seed: number, number: number): Sequence {
  const random = seededBelow(Math.imul(seed, 0x9e3779b1) + number);
  return side === "server" ? mutate(random, requests(random), true) : mutate(random, answers(random), false);
}

function isVerdict(one: Verdict | Error | undefined): one is Verdict {
  return one !== undefined && !(one instanceof Error);
}

/** Gives sequences `first` to `first + count` to our side and to that of node:http2, and compares what they make of them. */
export async function fuzz(side: FuzzedSide, seed: number, first: number, count: number): Promise<FuzzReport> {
  const judgements = new Map<string, number>();
  const faults: string[] = [];
  const [openOurs, openReference] =
    side === "server" ? [openOurServer, openNodeServer] : [openOurClient, openNodeClient];
  for (let start = first; start < first + count; start += batchCount) {
    const sequences = Array.from({ length: Math.min(batchCount, first + count - start) }, (_, index) =>
      sequenceOf(side, seed, start + index),
    );
    const ours = await runAll(sequences, openOurs);
    const reference = await runAll(sequences, openReference);
    for (const [index, sequence] of sequences.entries()) {
      const [one, other] = [ours[index], reference[index]];
      const fault = (what: string) => {
        if (faults.length < faultsMax) faults.push(`${start + index} (${sequence.changes.join(", ")}): ${what}`);
      };
      if (!isVerdict(one) || !isVerdict(other)) {
        fault(`${one instanceof Error ? one.stack : ""} ${other instanceof Error ? other.stack : ""}`);
        continue;
      }
      let { kind, what } = judge(sequence, one, other);
      if (kind === "laxer" || kind === "different") {
        // Who came to rest when is not what is compared: what differs must do so again, alone.
        const [oursAgain] = await runAll([sequence], openOurs);
        const [referenceAgain] = await runAll([sequence], openReference);
        if (isVerdict(oursAgain) && isVerdict(referenceAgain))
          ({ kind, what } = judge(sequence, oursAgain, referenceAgain));
      }
      judgements.set(`${kind}: ${what}`, (judgements.get(`${kind}: ${what}`) ?? 0) + 1);
      if (kind === "laxer" || kind === "different") fault(`${kind}: ${what}`);
      else if (sequence.isSound && (kind !== "same" || what !== "served")) fault(`a sound conversation: ${what}`);
    }
  }
  return { sequences: count, judgements, faults };
}
