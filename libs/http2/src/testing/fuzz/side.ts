import type { Sequence } from "./mutation.ts";
import type { Verdict } from "./verdict.ts";

/** One peer of a fuzzed connection, over a pipe in memory. */
export interface Side {
  /** Takes what the other side sends in one step, in the chunks that a socket might cut it into. */
  feed(chunks: readonly Buffer[]): void;
  /** Runs what the application has to do, once a step has been read. */
  act(): void;
  /** The verdict so far. */
  verdict(): Verdict;
  /** Ends it; answers what is left that should be gone. */
  close(): string | undefined;
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
/** Turns of the event loop until a side has come to rest; the reference takes several for a write. */
const restTurns = 5;

/** Runs sequences side by side, in step, each on a side of its own; answers the verdicts. */
export async function runAll(sequences: readonly Sequence[], open: () => Side): Promise<(Verdict | Error)[]> {
  const sides = sequences.map(open);
  for (let turns = 0; turns < restTurns; turns++) await turn();
  const failures = new Map<number, Error>();
  const attempt = (index: number, work: () => void) => {
    try {
      work();
    } catch (error) {
      failures.set(index, error instanceof Error ? error : new Error(String(error)));
    }
  };
  const steps = Math.max(...sequences.map((sequence) => sequence.steps.length));
  for (let step = 0; step < steps; step++) {
    for (const [index, side] of sides.entries()) {
      const chunks = sequences[index]?.steps[step];
      if (chunks !== undefined) attempt(index, () => side.feed(chunks));
    }
    for (let turns = 0; turns < restTurns; turns++) await turn();
    for (const [index, side] of sides.entries()) attempt(index, () => side.act());
    for (let turns = 0; turns < restTurns; turns++) await turn();
  }
  const verdicts = sides.map((side) => side.verdict());
  for (const [index, side] of sides.entries())
    attempt(index, () => {
      const left = side.close();
      if (left !== undefined) throw new Error(left);
    });
  await turn();
  return verdicts.map((verdict, index) => failures.get(index) ?? verdict);
}
