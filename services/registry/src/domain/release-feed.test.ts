import { expect, test } from "@jest/globals";
import type { LabelledRelease, LabelState } from "./catalog.ts";
import { ReleaseFeed } from "./release-feed.ts";

function labelled(scenario: string, id: string): LabelledRelease {
  const release = {
    id,
    scenario,
    digest: "",
    codeDigest: "",
    models: [],
    featureViews: [],
    indexes: [],
    createTimeUs: 0,
  };
  return { label: "champion", release };
}

function harness(watchersMax = 10) {
  let state: LabelState = { revision: 0, releases: [] };
  let reads = 0;
  const feed = new ReleaseFeed(async () => {
    reads++;
    return state;
  }, watchersMax);
  const move = (...releases: LabelledRelease[]) => {
    state = { revision: state.revision + 1, releases };
    feed.changed();
  };
  const ids = (result: IteratorResult<LabelState, void>) =>
    result.done === true
      ? "ended"
      : `${result.value.revision}:${result.value.releases.map((r) => r.release.id).join()}`;
  return { feed, move, ids, reads: () => reads };
}

test("sends the state at once, also when it is empty, and again on each change", async () => {
  const { feed, move, ids } = harness();
  const watch = feed.watch("", new AbortController().signal);
  expect(ids(await watch.next())).toBe("0:");
  const next = watch.next();
  move(labelled("a", "a-1"));
  expect(ids(await next)).toBe("1:a-1");
  await watch.return();
  expect(feed.watchers).toBe(0);
});

test("a slow watcher gets the newest state only, and watchers share one read", async () => {
  const { feed, move, ids, reads } = harness();
  const watches = Array.from({ length: 5 }, () => feed.watch("", new AbortController().signal));
  for (const watch of watches) await watch.next();
  for (let round = 1; round <= 100; round++) move(labelled("a", `a-${round}`));
  for (const watch of watches) expect(ids(await watch.next())).toBe("100:a-100");
  expect(reads()).toBe(2);
});

test("a watcher of one scenario is not woken by another's labels", async () => {
  const { feed, move, ids } = harness();
  const watch = feed.watch("b", new AbortController().signal);
  expect(ids(await watch.next())).toBe("0:");
  const next = watch.next();
  move(labelled("a", "a-1"));
  move(labelled("a", "a-1"), labelled("b", "b-1"));
  expect(ids(await next)).toBe("2:b-1");
});

test("ends when the caller goes away or the feed closes, and bounds the watchers", async () => {
  const { feed, ids } = harness(2);
  const abort = new AbortController();
  const first = feed.watch("", abort.signal);
  const second = feed.watch("", new AbortController().signal);
  await first.next();
  await second.next();
  await expect(feed.watch("", abort.signal).next()).rejects.toMatchObject({ reason: "WATCHERS_FULL" });
  const waiting = [first.next(), second.next()] as const;
  abort.abort();
  expect(ids(await waiting[0])).toBe("ended");
  expect(feed.watchers).toBe(1);
  feed.close();
  expect(ids(await waiting[1])).toBe("ended");
  expect(feed.watchers).toBe(0);
});

test("a read that fails is the watcher's error, and the next one reads again", async () => {
  let fail = true;
  const feed = new ReleaseFeed(async () => {
    if (fail) throw new Error("broken");
    return { revision: 1, releases: [] };
  }, 10);
  const signal = new AbortController().signal;
  await expect(feed.watch("", signal).next()).rejects.toThrow("broken");
  fail = false;
  expect((await feed.watch("", signal).next()).value?.revision).toBe(1);
});
