import { describe, expect, test } from "@jest/globals";
import { FakeClock, quietTelemetry } from "@weft/testkit";
import { FeatureStatus } from "../domain/peers.ts";
import { PopularList } from "../domain/popular-list.ts";
import { RecommendPlan } from "../domain/recommend-plan.ts";
import { FakePeers } from "../testing/fake-peers.ts";
import { recommending, recommendPipeline } from "../testing/scenarios.ts";
import { PopularRefresh } from "./popular-refresh.ts";

const list = recommendPipeline.fallback.list;

function create() {
  const clock = new FakeClock();
  const peers = new FakePeers(clock);
  const plan = new RecommendPlan(
    recommending,
    recommendPipeline,
    { version: () => "1", generation: () => 1n },
    new PopularList(),
    {
      nowMs: () => clock.nowMs(),
      answerReserveMs: 5,
      onFailure: () => {},
      candidateMax: 10,
      displayBudgetMs: 10,
      popularMax: 3,
    },
  );
  const state: { keys: readonly bigint[] } = { keys: [5n, 4n, 3n, 2n] };
  peers.column = (reference, rows) => {
    const statuses = Array(rows).fill(FeatureStatus.Present);
    if (reference === list) return { values: [state.keys], statuses };
    return { values: Array.from({ length: rows }, (_, row) => `${reference} ${row}`), statuses };
  };
  const times: number[] = [];
  const readColumns = peers.readColumns.bind(peers);
  peers.readColumns = (read, keys, fields, eventTimeUs, timeoutMs) => {
    if (read.references[0] === list) times.push(eventTimeUs);
    return readColumns(read, keys, fields, eventTimeUs, timeoutMs);
  };
  const refresh = new PopularRefresh({
    plan,
    peers,
    timers: clock,
    timeoutMs: 100,
    eventTimeUs: 1_000,
    onRefreshed: () => {},
    logger: quietTelemetry().logger,
  });
  const keys = () => plan.popular.items.map(({ key }) => key);
  return { clock, peers, plan, refresh, state, times, keys };
}

describe("refresh of the fallback list", () => {
  test("reads the list and what is known of its items, bounded", async () => {
    const { plan, refresh, keys } = create();
    expect(await refresh.refresh()).toBe(true);
    expect(keys()).toEqual([5n, 4n, 3n]);
    expect(plan.popular.items[1]?.attributes).toEqual({
      "book_profile:title": "book_profile:title 1",
      "book_profile:year": "book_profile:year 1",
    });
  });

  test("goes on every refreshMs; failures and empty lists leave the last good one", async () => {
    const { clock, peers, refresh, state, keys } = create();
    await refresh.refresh();
    refresh.start();
    state.keys = [9n];
    await clock.advance(60_000);
    expect(keys()).toEqual([9n]);
    state.keys = [];
    await clock.advance(60_000);
    expect(keys()).toEqual([9n]);
    peers.behaviour.set("columns", { failure: "PEER_DOWN" });
    await clock.advance(60_000);
    expect(keys()).toEqual([9n]);
    peers.behaviour.clear();
    state.keys = [8n];
    await clock.advance(60_000);
    expect(keys()).toEqual([8n]);
    refresh.close();
    expect(clock.pending()).toBe(0);
  });

  test("comes sooner while there is none", async () => {
    const { clock, peers, refresh, keys } = create();
    peers.behaviour.set("columns", { failure: "PEER_DOWN" });
    refresh.start();
    await clock.advance(2_000);
    peers.behaviour.clear();
    await clock.advance(2_000);
    expect(keys()).toEqual([5n, 4n, 3n]);
    refresh.close();
  });

  test("is for the newest time that requests asked for since the last one", async () => {
    const { refresh, times } = create();
    await refresh.refresh();
    refresh.saw(5_000);
    refresh.saw(4_000);
    await refresh.refresh();
    await refresh.refresh();
    expect(times).toEqual([1_000, 5_000, 5_000]);
  });

  test("items whose attributes cannot be read are kept, without them", async () => {
    const { peers, plan, refresh } = create();
    peers.behaviour.set("columns book_profile:title book_profile:year", { failure: "PEER_DOWN" });
    await refresh.refresh();
    expect(plan.popular.items.map(({ attributes }) => attributes)).toEqual([undefined, undefined, undefined]);
  });
});
