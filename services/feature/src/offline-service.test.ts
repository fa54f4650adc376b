import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { feature } from "@weft/contracts";
import { isWeftError } from "@weft/errors";
import { CallScope } from "@weft/rpc";
import {
  type OfflineFixture,
  openOfflineFixture,
  randomHistory,
  scenario,
  views,
} from "./domain/offline/offline-fixture.ts";
import { JobTurns } from "./job-turns.ts";
import { createOfflineHandlers } from "./offline-service.ts";

const context = () => new CallScope({ release: "r1" });

let fixture: OfflineFixture;
let history: ReturnType<typeof randomHistory>;
beforeAll(async () => {
  fixture = await openOfflineFixture();
  history = randomHistory(20_260, 50);
  await fixture.write(history);
});
afterAll(() => fixture.close());

function handlers(gate: Promise<void> = Promise.resolve()) {
  const asked: string[] = [];
  const offline = createOfflineHandlers({
    resolve(name, release) {
      asked.push(`${name}@${release}`);
      return { scenario, views };
    },
    store: fixture.store,
    directory: `${fixture.root}/sets`,
    turns: new JobTurns(1),
    async begin() {
      await gate;
      return { pushed: async function* () {} };
    },
  });
  return { offline, asked };
}

async function all<T>(messages: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const message of messages) list.push(message);
  return list;
}

async function reasonOf(attempt: Promise<unknown>): Promise<string> {
  const error: unknown = await attempt.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return isWeftError(error) ? error.reason : String(error);
}

const buildRequest = (more = {}) =>
  create(feature.BuildTrainingSetRequestSchema, { scenario: "market", trainingSet: "labelled", ...more });

describe("offline handlers", () => {
  test("BuildTrainingSet answers where the file lies, its hash, columns and test share", async () => {
    const { offline } = handlers();
    const messages = await all(offline.buildTrainingSet(buildRequest(), context()));
    const last = messages.at(-1);
    if (last === undefined) throw new Error("no message came");
    expect(messages.slice(0, -1).every(({ done }) => done === false)).toBe(true);
    expect(last).toMatchObject({ done: true, rows: BigInt(history.labels.length) });
    expect(last.columns?.slice(0, 2)).toEqual(["event_time", "label"]);
    expect(last.contentHash).toMatch(/^[0-9a-f]{64}$/);
    expect((await stat(fileURLToPath(last.uri ?? ""))).size).toBeGreaterThan(0);
    const { seconds = 0n, nanos = 0 } = last.testFrom ?? {};
    const testFromUs = Number(seconds) * 1e6 + nanos / 1e3;
    expect(history.timesUs).toContain(testFromUs);

    const startTime = { seconds, nanos };
    const later = await all(offline.buildTrainingSet(buildRequest({ startTime }), context()));
    expect(later.at(-1)?.rows).toBe(BigInt(history.labels.filter(({ eventUs }) => eventUs >= testFromUs).length));
  });

  test("jobs take turns; those that cannot wait are refused, and one that is cancelled gives its place up", async () => {
    const gate = Promise.withResolvers<void>();
    const { offline, asked } = handlers(gate.promise);
    const build = (call = context()) => all(offline.buildTrainingSet(buildRequest(), call));
    const first = build();
    const cancelled = context();
    const second = build(cancelled);
    expect(await reasonOf(build())).toBe("OFFLINE_JOBS_FULL");
    cancelled.cancel("cancelled");
    expect(await reasonOf(second)).toContain("Abort");
    const third = build();
    gate.resolve();
    expect((await first).at(-1)?.done).toBe(true);
    expect((await third).at(-1)?.done).toBe(true);
    expect(asked).toEqual(Array(4).fill("market@r1"));
  });
});
