import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { decodePayload } from "./payload.ts";
import type { LabelRecord } from "./prediction.ts";
import { floatBytes, pack, prediction, releaseParts, startUs } from "./prediction-fixture.ts";
import type { LabelledPage, PredictionLog } from "./prediction-log.ts";

/** A log under test. */
export interface PredictionLogBackend {
  readonly name: string;
  /** Opens an empty log. */
  open(): Promise<PredictionLog>;
}

const label = (requestId: string, value: number, labelTimeUs = startUs, item = ""): LabelRecord => ({
  requestId,
  item,
  value,
  labelTimeUs,
});

/** What every prediction log does. */
export function predictionLogContract(backend: PredictionLogBackend): void {
  describe(`prediction log: ${backend.name}`, () => {
    let log: PredictionLog;
    beforeEach(async () => {
      log = await backend.open();
    });
    afterEach(() => log.close());

    const ids = async () => (await log.scan(0, 1000)).map(({ requestId, item }) => requestId + item);
    const labels = async (releaseId = "fraud-1", scenario = "fraud") => {
      const all = { scenario, releaseId, fromUs: 0, toUs: startUs + 1e12, after: undefined, limit: 1000 };
      const { rows } = await log.labelled(all);
      return Object.fromEntries(
        rows.map(({ prediction: { requestId, item }, label: value }) => [requestId + item, value]),
      );
    };

    test("answers what was appended, in the order of arrival", async () => {
      const scores = [
        { model: "tree", version: "1", score: 0.25, shadow: false },
        { model: "network", version: "3", score: 0.75, shadow: true },
      ];
      const appended = await log.append(
        pack(
          prediction("b", { scores, eventTimeUs: BigInt(startUs + 5), features: floatBytes([1.5, Number.NaN]) }),
          prediction("a", { releaseId: "fraud-2", entities: { card: "ü" } }),
        ),
        1000,
      );
      expect(appended).toMatchObject({ newCount: 2, joinedCount: 0 });
      expect([...appended.isNew]).toEqual([1, 1]);
      await log.append(pack(prediction("c")), 1001);
      const [b, a, c, ...rest] = await log.scan(0, 10);
      expect(rest).toEqual([]);
      expect([b?.requestId, a?.requestId, c?.requestId]).toEqual(["b", "a", "c"]);
      expect(b?.eventTimeUs).toBe(startUs + 5);
      expect(b?.layout).toEqual({
        scenario: "fraud",
        releaseId: "fraud-1",
        featureModel: "tree",
        models: scores.map(({ model, version, shadow }) => ({ model, version, shadow })),
      });
      const { scores: stored, features } = decodePayload(b?.payload ?? new Uint8Array(0));
      expect(stored).toEqual([0.25, 0.75]);
      expect(features).toEqual(floatBytes([1.5, Number.NaN]));
      expect(decodePayload(a?.payload ?? new Uint8Array(0)).entities).toEqual({ card: "ü" });
      expect(a?.layout.releaseId).toBe("fraud-2");
      expect((await log.scan(b?.sequence ?? 0, 1)).map(({ requestId }) => requestId)).toEqual(["a"]);
      expect(await log.scan(c?.sequence ?? 0, 10)).toEqual([]);
      expect(await log.scanBack(Number.MAX_SAFE_INTEGER, 2)).toEqual([c, a]);
      expect(await log.scanBack(a?.sequence ?? 0, 10)).toEqual([b]);
      expect(await log.scanBack(b?.sequence ?? 0, 10)).toEqual([]);
    });

    test("a repeated (request id, item) changes nothing, in one batch or in two", async () => {
      await log.append(pack(prediction("a"), prediction("a", { item: "1" })), 1);
      const again = await log.append(
        pack(
          prediction("a", { decision: "decline" }),
          prediction("b"),
          prediction("b"),
          prediction("a", { item: "2" }),
        ),
        2,
      );
      expect([...again.isNew]).toEqual([0, 1, 0, 1]);
      expect(again.newCount).toBe(2);
      expect(await ids()).toEqual(["a", "a1", "b", "a2"]);
      const [first] = await log.scan(0, 1);
      expect(decodePayload(first?.payload ?? new Uint8Array(0)).decision).toBe("approve");
      expect((await log.usage()).predictionCount).toBe(4);
    });

    test("joins labels whichever comes first", async () => {
      await log.append(pack(prediction("a"), prediction("a", { item: "1" })), 1);
      expect(await log.appendLabels("fraud", [label("a", 1), label("late", 0)], 2)).toEqual({
        changedCount: 2,
        joinedCount: 1,
      });
      expect(await log.usage()).toMatchObject({ labelCount: 2, waitingLabelCount: 1 });
      const appended = await log.append(pack(prediction("x"), prediction("late"), prediction("late")), 3);
      expect(appended.joinedCount).toBe(1);
      expect(await log.usage()).toMatchObject({ labelCount: 2, waitingLabelCount: 0 });
      expect(await labels()).toEqual({ a: 1, late: 0 });
    });

    test("a label of another scenario or item does not join", async () => {
      await log.append(pack(prediction("a", { item: "1" })), 1);
      expect((await log.appendLabels("films", [label("a", 1, startUs, "1")], 2)).joinedCount).toBe(0);
      expect((await log.appendLabels("fraud", [label("a", 1)], 2)).joinedCount).toBe(0);
      expect(await labels()).toEqual({});
      await log.append(pack(prediction("a")), 3);
      expect(await labels()).toEqual({ a: 1 });
      expect((await log.usage()).waitingLabelCount).toBe(1);
    });

    test("of several labels the latest counts, then the greater, in any order and any number of times", async () => {
      const all = [label("a", 0, 10), label("a", 1, 30), label("a", 0, 30), label("a", 0, 20)];
      await log.append(pack(prediction("a"), prediction("b")), 1);
      const forward = await log.appendLabels("fraud", all, 1);
      expect(forward).toEqual({ changedCount: 2, joinedCount: 4 });
      const backward = await log.appendLabels("fraud", all.map((each) => ({ ...each, requestId: "b" })).reverse(), 1);
      expect(backward.joinedCount).toBe(4);
      expect(await labels()).toEqual({ a: 1, b: 1 });
      expect((await log.appendLabels("fraud", all, 5)).changedCount).toBe(0);
      expect(await labels()).toEqual({ a: 1, b: 1 });
      expect((await log.usage()).labelCount).toBe(2);
    });

    test("a label that waits can change before its prediction comes", async () => {
      await log.appendLabels("fraud", [label("a", 0, 10)], 1);
      await log.appendLabels("fraud", [label("a", 1, 20)], 2);
      await log.append(pack(prediction("a")), 3);
      expect(await labels()).toEqual({ a: 1 });
    });

    test("answers labelled rows of a release and window in pages", async () => {
      const rows = Array.from({ length: 10 }, (_, i) =>
        prediction(`r${i}`, {
          eventTimeUs: BigInt(startUs + Math.floor(i / 2)),
          releaseId: i === 9 ? "fraud-2" : "fraud-1",
        }),
      );
      await log.append(pack(...rows.toReversed()), 1);
      await log.appendLabels(
        "fraud",
        rows.map(({ requestId }, i) => label(requestId, i)),
        2,
      );
      const query = { scenario: "fraud", releaseId: "fraud-1", fromUs: startUs + 1, toUs: startUs + 3, limit: 4 };
      const found: number[] = [];
      let page: LabelledPage = await log.labelled({ ...query, after: undefined });
      for (;;) {
        found.push(...page.rows.map((row) => row.label));
        if (page.next === undefined) {
          break;
        }
        page = await log.labelled({ ...query, after: page.next });
      }
      // By event time, then by arrival, which was backwards.
      expect(found).toEqual([3, 2, 5, 4, 7, 6]);
      expect((await log.labelled({ ...query, releaseId: "none", after: undefined })).rows).toEqual([]);
    });

    test("lists releases with predictions, the first one logged first", async () => {
      await log.append(pack(prediction("a", { releaseId: "fraud-2", eventTimeUs: BigInt(startUs + 50) })), 1);
      await log.append(
        pack(
          prediction("b", { releaseId: "fraud-1", eventTimeUs: BigInt(startUs + 10) }),
          prediction("c", { releaseId: "fraud-2", eventTimeUs: BigInt(startUs + 40), scores: [] }),
          prediction("d", { scenario: "films", releaseId: "films-1" }),
        ),
        2,
      );
      expect(await log.releases("fraud")).toEqual([
        { scenario: "fraud", releaseId: "fraud-2", newestUs: startUs + 50 },
        { scenario: "fraud", releaseId: "fraud-1", newestUs: startUs + 10 },
      ]);
      expect(await log.releases("")).toHaveLength(3);
      expect(await log.releases("none")).toEqual([]);
    });

    test("keeps what is known of releases", async () => {
      await log.putRelease(releaseParts("fraud-1"));
      await log.append(pack(prediction("a"), prediction("b", { releaseId: "fraud-2" })), 1);
      expect(await log.releaseParts()).toEqual([releaseParts("fraud-1")]);
      await log.putRelease(releaseParts("fraud-2"));
      expect(await log.releaseParts()).toEqual([releaseParts("fraud-1"), releaseParts("fraud-2")]);
      expect(await log.releases("fraud")).toHaveLength(2);
    });

    test("drops the oldest by arrival, with their labels, releases and waiting labels that are older", async () => {
      await log.appendLabels("fraud", [label("never", 1)], 5);
      await log.append(pack(prediction("a", { releaseId: "fraud-0" }), prediction("b")), 10);
      await log.append(pack(prediction("c"), prediction("d")), 20);
      await log.appendLabels("fraud", [label("b", 1), label("c", 0), label("never2", 1)], 30);
      await log.putRelease(releaseParts("fraud-0"));
      expect((await log.usage()).oldestMs).toBe(5);

      expect(await log.dropOldest(10, 4)).toEqual({ predictions: [], labelCount: 0 });
      expect(await log.dropOldest(10, 1e15)).toEqual({ predictions: [], labelCount: 1 });
      expect((await log.usage()).oldestMs).toBe(10);
      const first = await log.dropOldest(10, 15);
      expect(first.predictions.map(({ requestId, layout }) => [requestId, layout.releaseId])).toEqual([
        ["a", "fraud-0"],
        ["b", "fraud-1"],
      ]);
      expect(first.labelCount).toBe(1);
      expect(await ids()).toEqual(["c", "d"]);
      expect(await labels()).toEqual({ c: 0 });
      expect(await log.releases("")).toEqual([{ scenario: "fraud", releaseId: "fraud-1", newestUs: startUs }]);
      expect(await log.releaseParts()).toEqual([]);
      expect((await log.dropOldest(1, 1e15)).predictions.map(({ requestId }) => requestId)).toEqual(["c"]);
      expect(await log.usage()).toMatchObject({
        predictionCount: 1,
        labelCount: 1,
        waitingLabelCount: 1,
        oldestMs: 20,
      });
      expect((await log.dropOldest(10, 1e15)).predictions).toHaveLength(1);
      expect(await log.dropOldest(10, 1e15)).toEqual({ predictions: [], labelCount: 1 });
      expect(await log.usage()).toMatchObject({ predictionCount: 0, labelCount: 0, oldestMs: undefined });
      // What was dropped can come again.
      expect((await log.append(pack(prediction("a")), 40)).newCount).toBe(1);
    });

    test("refuses calls once closed, and closes twice", async () => {
      await log.close();
      await log.close();
      await expect(log.append(pack(prediction("a")), 1)).rejects.toMatchObject({ name: "LogFailure", fault: "closed" });
      await expect(log.usage()).rejects.toMatchObject({ fault: "closed" });
    });
  });
}
