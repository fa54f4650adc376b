import { describe, expect, test } from "@jest/globals";
import { Code, createErrors } from "@weft/errors";
import { CallScope } from "@weft/rpc";
import { CallCoalescer } from "./call-coalescer.ts";
import type { PeerScope } from "./peer-scope.ts";

const peer = createErrors("weft.ranking", {
  VALUE_REFUSED: { code: Code.InvalidArgument, message: (_: Record<never, never>) => "refused" },
  QUEUE_FULL: { code: Code.ResourceExhausted, message: (_: Record<never, never>) => "full" },
});
const model = { name: "tree" };

interface Sent {
  readonly items: readonly number[];
  readonly scope: PeerScope;
  readonly timeoutMs: number;
}

/** A coalescer whose turns end when told, over a peer that answers tenfold and refuses negative numbers. */
function open(itemsMax = 8) {
  const sent: Sent[] = [];
  const state = { nowMs: 0, failure: undefined as Error | undefined, tookMs: 0 };
  let flush = () => {};
  const coalescer = new CallCoalescer<{ readonly name: string }, number, number>({
    method: "ModelInfer",
    itemsMax,
    nowMs: () => state.nowMs,
    schedule: (run) => {
      flush = run;
    },
    call: async (_, items, scope, timeoutMs) => {
      sent.push({ items, scope, timeoutMs });
      state.nowMs += state.tookMs;
      if (state.failure !== undefined) throw state.failure;
      if (items.some((item) => item < 0)) throw peer.VALUE_REFUSED({});
      return items.map((item) => item * 10);
    },
  });
  return { coalescer, sent, state, endTurn: () => flush() };
}

function scopeOf(context: Partial<ConstructorParameters<typeof CallScope>[0]> = {}, release = "r1"): PeerScope {
  return { parent: new CallScope(context), release, requestId: context.requestId ?? "" };
}

describe("calls of one turn", () => {
  test("are one call, answered in order, on behalf of what the requests share", async () => {
    const { coalescer, sent, endTurn } = open();
    const scopes = ["a", "b", "c"].map((requestId) => scopeOf({ requestId, tenant: "t", priority: 3, arm: "x" }));
    const answers = scopes.map((scope, item) => coalescer.submit(model, item, scope, 20));
    expect(sent).toEqual([]);
    endTurn();
    expect(await Promise.all(answers)).toEqual([0, 10, 20]);
    const joint = { parent: undefined, release: "r1", requestId: "a", tenant: "t", priority: 3, arm: "x" };
    expect(sent).toEqual([{ items: [0, 1, 2], scope: joint, timeoutMs: 20 }]);
  });

  test("one that is alone goes on behalf of its own request", async () => {
    const { coalescer, sent, endTurn } = open();
    const scope = scopeOf({ requestId: "a" });
    const answer = coalescer.submit(model, 1, scope, 20);
    endTurn();
    expect(await answer).toBe(10);
    expect(sent[0]?.scope).toBe(scope);
  });

  test("stay apart by target, release, tenant, priority, arm and where timeouts differ", async () => {
    const { coalescer, sent, endTurn } = open();
    const calls: [object, PeerScope, number][] = [
      [model, scopeOf(), 20],
      [{ name: "other" }, scopeOf(), 20],
      [model, scopeOf({}, "r2"), 20],
      [model, scopeOf({ tenant: "t" }), 20],
      [model, scopeOf({ priority: 1 }), 20],
      [model, scopeOf({ arm: "b" }), 20],
      [model, scopeOf(), 10],
      [model, scopeOf(), 18],
    ];
    const answers = calls.map(([target, scope, timeoutMs], item) =>
      coalescer.submit(target as typeof model, item, scope, timeoutMs),
    );
    endTurn();
    expect(await Promise.all(answers)).toEqual([0, 10, 20, 30, 40, 50, 60, 70]);
    expect(sent.map(({ items }) => items)).toEqual([[0, 7], [1], [2], [3], [4], [5], [6]]);
    expect(sent[0]?.timeoutMs).toBe(18);
  });

  test("are cut at the greatest number of items; a limit of one makes each its own call at once", async () => {
    const { coalescer, sent, endTurn } = open(3);
    const answers = [0, 1, 2, 3].map((item) => coalescer.submit(model, item, scopeOf(), 20));
    expect(sent.map(({ items }) => items)).toEqual([[0, 1, 2]]);
    endTurn();
    expect(await Promise.all(answers)).toEqual([0, 10, 20, 30]);
    const single = open(1);
    expect(await single.coalescer.submit(model, 5, scopeOf(), 20)).toBe(50);
  });

  test("a traced request has its own call", async () => {
    const { coalescer, sent, endTurn } = open();
    const trace = { traceId: "1".repeat(32), spanId: "2".repeat(16), sampled: true };
    const answers = [scopeOf(), scopeOf({ trace }), scopeOf()].map((scope, item) =>
      coalescer.submit(model, item, scope, 20),
    );
    endTurn();
    await Promise.all(answers);
    expect(sent.map(({ items }) => items)).toEqual([[1], [0, 2]]);
  });

  test("a request that ended before the call is not sent", async () => {
    const { coalescer, sent, endTurn } = open();
    const gone = new CallScope({});
    const answers = [scopeOf(), { parent: gone, release: "r1", requestId: "" }, scopeOf()].map((scope, item) =>
      coalescer.submit(model, item, scope, 20).catch(({ reason }) => reason),
    );
    gone.cancel("cancelled");
    endTurn();
    expect(await Promise.all(answers)).toEqual([0, "CANCELLED", 20]);
    expect(sent.map(({ items }) => items)).toEqual([[0, 2]]);
  });
});

describe("a call that fails", () => {
  test("for one of its items is repeated item by item with the time that is left, and only that item fails", async () => {
    const { coalescer, sent, state, endTurn } = open();
    state.tookMs = 5;
    const scopes = [0, 1, 2].map(() => scopeOf());
    const answers = [1, -1, 2].map((item, at) =>
      coalescer.submit(model, item, scopes[at] ?? scopeOf(), 20).catch(({ reason }) => reason),
    );
    endTurn();
    expect(await Promise.all(answers)).toEqual([10, "VALUE_REFUSED", 20]);
    expect(sent.map(({ items }) => items)).toEqual([[1, -1, 2], [1], [-1], [2]]);
    expect(sent[1]).toMatchObject({ timeoutMs: 15 });
    expect(sent[1]?.scope).toBe(scopes[0]);
  });

  test("for the peer's sake fails all, and is not repeated", async () => {
    const { coalescer, sent, state, endTurn } = open();
    state.failure = peer.QUEUE_FULL({});
    const answers = [1, 2].map((item) => coalescer.submit(model, item, scopeOf(), 20).catch(({ reason }) => reason));
    endTurn();
    expect(await Promise.all(answers)).toEqual(["QUEUE_FULL", "QUEUE_FULL"]);
    expect(sent).toHaveLength(1);
  });

  test("when no time is left is not repeated", async () => {
    const { coalescer, sent, state, endTurn } = open();
    state.tookMs = 20;
    const answers = [1, -1].map((item) => coalescer.submit(model, item, scopeOf(), 20).catch(({ reason }) => reason));
    endTurn();
    expect(await Promise.all(answers)).toEqual(["VALUE_REFUSED", "VALUE_REFUSED"]);
    expect(sent).toHaveLength(1);
  });
});
