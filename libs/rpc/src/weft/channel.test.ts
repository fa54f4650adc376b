import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { Code, type WeftError } from "@weft/errors";
import type { Http2ClientOptions, Stream } from "@weft/http2";
import { FakeClock, seededRandom, settle } from "@weft/repeatable";
import { createMetrics } from "@weft/telemetry";
import { type CallPeer, Channel, type ChannelOptions, type Waiter } from "./channel.ts";
import { createChannelMetrics } from "./channel-metrics.ts";
import type { Link } from "./endpoint.ts";

/** One connection of the network below. */
class FakeLink implements Link {
  readonly address: string;
  readonly streams = { size: 0 };
  isDraining = false;
  streamsMax = Number.POSITIVE_INFINITY;
  readonly #events: Http2ClientOptions;

  constructor(address: string, events: Http2ClientOptions) {
    this.address = address;
    this.#events = events;
  }

  get canOpen(): boolean {
    return !this.isDraining && this.streams.size < this.streamsMax;
  }

  open(): Stream {
    throw new TypeError("calls of this test open none");
  }

  drain(): void {
    if (this.isDraining) return;
    this.isDraining = true;
    this.#events.draining?.();
    if (this.streams.size === 0) this.#events.closed?.(undefined);
  }

  lose(why = "gone"): void {
    this.isDraining = true;
    this.#events.draining?.();
    this.#events.closed?.(new Error(why));
  }

  end(): void {
    this.streams.size--;
    this.#events.capacity?.();
  }
}

class FakeCall implements Waiter {
  waitsForReady = false;
  isWaiting = true;
  link: FakeLink | undefined;
  peer: CallPeer | undefined;
  error: WeftError | undefined;
  readonly #key: string | undefined;

  constructor(key?: string) {
    this.#key = key;
  }

  metadataValue(key: string): string | undefined {
    return key === "x-user" ? this.#key : undefined;
  }

  start(link: Link, peer: CallPeer): void {
    this.isWaiting = false;
    this.link = link as FakeLink;
    this.link.streams.size++;
    this.peer = peer;
  }

  refuse(error: WeftError): void {
    this.isWaiting = false;
    this.error = error;
  }

  get to(): string {
    return this.link?.address ?? this.error?.reason ?? "waiting";
  }

  end(code: number = Code.Ok): void {
    this.peer?.report(code);
    this.link?.end();
  }
}

let timers: FakeClock;
let links: FakeLink[];
let attempts: string[];
/** Addresses that refuse connections, and why. */
let down: Map<string, string>;
let names: Map<string, readonly string[]>;
let channel: Channel;
let metrics: ReturnType<typeof createMetrics>;

beforeEach(() => {
  timers = new FakeClock(0);
  links = [];
  attempts = [];
  down = new Map();
  names = new Map();
  metrics = createMetrics({ processMetrics: false });
});
afterEach(() => channel.close());

function open(target: string, options: Partial<ChannelOptions> = {}): void {
  channel = new Channel(target, {
    connections: 1,
    waitingMax: 5,
    backoff: { firstMs: 100, maxMs: 2_000 },
    ejection: { failures: 3, baseMs: 1_000, maxMs: 10_000, percentMax: 50 },
    resolveMs: 30_000,
    idleMs: 0,
    tls: () => undefined,
    http2: {},
    metrics: createChannelMetrics(metrics, "peer"),
    timers,
    random: seededRandom(11),
    async lookUp(host) {
      const found = names.get(host);
      if (found === undefined) throw new Error(`${host} is unknown`);
      return found;
    },
    async connect(to) {
      const address = `${to.host}:${to.port}`;
      attempts.push(address);
      const why = down.get(address);
      if (why !== undefined) throw new Error(why);
      const link = new FakeLink(address, to);
      links.push(link);
      return link;
    },
    ...options,
  });
}

function call(key?: string, waitsForReady = false): FakeCall {
  const made = new FakeCall(key);
  made.waitsForReady = waitsForReady;
  channel.submit(made);
  return made;
}

/** Where so many calls went, each ended before the next. */
function spread(count: number, code: (to: string) => number = () => Code.Ok): Record<string, number> {
  const counts: Record<string, number> = {};
  for (let index = 0; index < count; index++) {
    const made = call(`user ${index}`);
    counts[made.to] = (counts[made.to] ?? 0) + 1;
    made.end(code(made.to));
  }
  return counts;
}

async function metric(name: string): Promise<number> {
  const { body } = await metrics.expose();
  return Number(new RegExp(`^${name}\\{peer="peer"\\} (.+)$`, "m").exec(body)?.[1]);
}

async function connected(): Promise<void> {
  call();
  await settle();
  for (const link of links) link.streams.size = 0;
}

const a = "10.0.0.1:5";
const b = "10.0.0.2:5";
const c = "10.0.0.3:5";

describe("balancing", () => {
  test("calls go over every address of a list, by the target's policy", async () => {
    open(`ipv4:${a},${b}`);
    await connected();
    expect(spread(100)).toEqual({ [a]: 50, [b]: 50 });
    channel.close();
    open(`ipv4:${a}*3,${b}?policy=weighted`);
    await connected();
    expect(spread(100)).toEqual({ [a]: 75, [b]: 25 });
    channel.close();
    open(`ipv4:${a},${b},${c}?policy=least_request`);
    await connected();
    for (const link of links.slice(-3)) if (link.address !== c) link.streams.size = 50;
    expect(spread(300)[c]).toBeGreaterThan(180);
  });

  test("requests with one key stay together, and move only when their address goes", async () => {
    open(`ipv4:${a},${b},${c}?policy=consistent_hash&key=x-user`);
    await connected();
    const where = () =>
      Array.from({ length: 60 }, (_, user) => {
        const made = call(`user ${user}`);
        made.end();
        return made.to;
      });
    const before = where();
    expect(where()).toEqual(before);
    expect(new Set(before).size).toBe(3);
    await timers.advance(5_000);
    down.set(b, "refused");
    links.find(({ address }) => address === b)?.lose();
    const after = where();
    for (const [user, address] of before.entries())
      if (address === b) expect(after[user]).not.toBe(b);
      else expect(after[user]).toBe(address);
    down.clear();
    await timers.advance(5_000);
    expect(where()).toEqual(before);
  });

  test("the target says how many connections an address gets", async () => {
    open(`${a}?connections=3`);
    await connected();
    expect(links.length).toBe(3);
    expect(await metric("rpc_client_connections")).toBe(3);
  });

  test("a full address is passed over, and calls wait when all are full", async () => {
    open(`ipv4:${a},${b}`);
    await connected();
    for (const link of links) link.streamsMax = 1;
    const calls = Array.from({ length: 4 }, () => call());
    expect(calls.map(({ to }) => to).sort()).toEqual([a, b, "waiting", "waiting"]);
    expect(await metric("rpc_client_calls_waiting")).toBe(2);
    calls[0]?.end();
    expect(calls.filter(({ to }) => to === "waiting").length).toBe(1);
    calls[1]?.end();
    expect(calls.filter(({ to }) => to === "waiting").length).toBe(0);
    expect(await metric("rpc_client_calls_waiting")).toBe(0);
  });

  test("no more calls wait than may, those that have given up not counted", async () => {
    open(a);
    const calls = Array.from({ length: 6 }, () => call());
    expect(calls.map(({ to }) => to)).toEqual([...new Array(5).fill("waiting"), "CALLS_WAITING"]);
    const left = calls[2];
    if (left !== undefined) left.isWaiting = false;
    expect(call().to).toBe("waiting");
    expect(await metric("rpc_client_calls_refused_total")).toBe(1);
    await settle();
    expect(left?.link).toBeUndefined();
    expect(calls[0]?.to).toBe(a);
  });
});

describe("reconnecting", () => {
  test("a peer that is not there is tried ever later; calls fail at once, or wait where they are to", async () => {
    down.set(a, "ECONNREFUSED");
    open(a, { random: () => 0.5 });
    const first = call();
    const patient = call(undefined, true);
    await settle();
    expect(first.error).toMatchObject({
      code: Code.Unavailable,
      reason: "PEER_UNREACHABLE",
      message: `${a} cannot be reached: ECONNREFUSED`,
    });
    expect(patient.to).toBe("waiting");
    const times: number[] = [];
    for (let attempt = 0; attempt < 8; attempt++) {
      const due = timers.dueMs()[0] ?? 0;
      times.push(Math.round(due - timers.nowMs()));
      await timers.advance(due - timers.nowMs());
    }
    expect(times).toEqual([100, 160, 256, 410, 655, 1_049, 1_678, 2_000]);
    expect(call().to).toBe("PEER_UNREACHABLE");
    expect(await metric("rpc_client_connect_failures_total")).toBe(9);
    down.clear();
    await timers.advance(2_000);
    expect([patient.to, call().to]).toEqual([a, a]);
  });

  test("jitter is within a fifth, and spreads", async () => {
    const waits = new Set<number>();
    for (let seed = 0; seed < 20; seed++) {
      down.set(a, "refused");
      open(a, { random: seededRandom(seed) });
      call();
      await settle();
      const wait = (timers.dueMs()[0] ?? 0) - timers.nowMs();
      expect(wait).toBeGreaterThanOrEqual(80);
      expect(wait).toBeLessThanOrEqual(120);
      waits.add(wait);
      channel.close();
    }
    expect(waits.size).toBeGreaterThan(15);
  });

  test("a connection that worked is replaced at once, one that did not stay only after a while", async () => {
    open(a);
    await connected();
    await timers.advance(1_500);
    links[0]?.lose();
    await settle();
    expect([links.length, call().to]).toEqual([2, a]);
    links[1]?.lose();
    await settle();
    const waiting = call();
    expect([links.length, waiting.to]).toEqual([2, "waiting"]);
    await timers.advance(200);
    expect([links.length, waiting.to]).toEqual([3, a]);
    links[2]?.lose();
    expect(call().to).toBe("PEER_UNREACHABLE");
    await timers.advance(300);
    expect([links.length, call().to]).toEqual([4, a]);
  });

  test("a name is resolved again when a connection is lost: new addresses are used, gone ones drained", async () => {
    names.set("peer", ["10.0.0.1", "10.0.0.2"]);
    open("dns:///peer:5");
    await connected();
    const open1 = call();
    const open2 = call();
    await timers.advance(5_000);
    names.set("peer", ["10.0.0.2", "10.0.0.3"]);
    down.set(a, "refused");
    const kept = open1.to === a ? open2 : open1;
    links.find(({ address }) => address === a)?.lose();
    await settle();
    expect(spread(10)).toEqual({ [b]: 5, [c]: 5 });
    expect(kept.link?.isDraining).toBe(false);
    const before = attempts.length;
    await timers.advance(20_000);
    expect(attempts.slice(before)).toEqual([]);
    expect(await metric("rpc_client_addresses")).toBe(2);
  });

  test("a name is resolved again now and then; an address that is gone ends its calls first", async () => {
    names.set("peer", ["10.0.0.1"]);
    open("peer:5");
    await connected();
    const running = call();
    names.set("peer", ["10.0.0.2"]);
    await timers.advance(30_000);
    expect(links.map(({ address, isDraining }) => [address, isDraining])).toEqual([
      [a, true],
      [b, false],
    ]);
    expect([running.to, call().to]).toEqual([a, b]);
  });

  test("an address that is gone is kept while no other can be had", async () => {
    names.set("peer", ["10.0.0.1"]);
    open("peer:5");
    await connected();
    names.set("peer", ["10.0.0.2"]);
    down.set(b, "refused");
    await timers.advance(30_000);
    expect(call().to).toBe(a);
    down.clear();
    await timers.advance(10_000);
    expect(call().to).toBe(b);
    expect(links[0]?.isDraining).toBe(true);
  });

  test("a name that is not known fails calls with why, and is found when it comes", async () => {
    open("peer:5");
    const first = call();
    await settle();
    expect(first.error?.message).toBe("peer:5 cannot be reached: peer is unknown");
    names.set("peer", ["10.0.0.1"]);
    await timers.advance(500);
    expect(call().to).toBe(a);
  });

  test("a client that is not used closes its connections, and opens them for the next call", async () => {
    open(a, { idleMs: 10_000 });
    await connected();
    const running = call();
    await timers.advance(60_000);
    expect(links[0]?.isDraining).toBe(false);
    running.end();
    await timers.advance(20_000);
    expect(links[0]?.isDraining).toBe(true);
    expect([links.length, timers.dueMs()]).toEqual([1, []]);
    const next = call();
    await settle();
    expect([links.length, next.to]).toEqual([2, a]);
  });

  test("a closed channel refuses, and leaves no timer", async () => {
    open(`ipv4:${a},${b}`);
    down.set(b, "refused");
    await connected();
    const waiting = call(undefined, true);
    channel.close();
    expect(links[0]?.isDraining).toBe(true);
    expect(call().error?.message).toBe(`${a} cannot be reached: the client is closed`);
    waiting.end();
    await timers.advance(60_000);
    expect(timers.dueMs()).toEqual([]);
    expect(await metric("rpc_client_connections")).toBe(0);
  });
});

describe("ejection", () => {
  const failing = (address: string) => (to: string) => (to === address ? Code.Unavailable : Code.Ok);

  test("an address that fails is left alone, and tried again", async () => {
    open(`ipv4:${a},${b},${c}`);
    await connected();
    expect(spread(300, failing(b))[b]).toBe(3);
    expect(await metric("rpc_client_ejections_total")).toBe(1);
    expect(await metric("rpc_client_addresses_ejected")).toBe(1);
    await timers.advance(1_000);
    expect(await metric("rpc_client_addresses_ejected")).toBe(0);
    expect(spread(300)).toEqual({ [a]: 100, [b]: 100, [c]: 100 });
  });

  test("shedding never leaves an address alone", async () => {
    open(`ipv4:${a},${b},${c}`);
    await connected();
    expect(spread(300, (to) => (to === b ? Code.ResourceExhausted : Code.Ok))).toEqual({
      [a]: 100,
      [b]: 100,
      [c]: 100,
    });
  });

  test("when all fail, no more than half are left alone", async () => {
    open(`ipv4:${a},${b},${c}`);
    await connected();
    const counts = spread(300, () => Code.Internal);
    expect(await metric("rpc_client_addresses_ejected")).toBe(1);
    expect(Object.values(counts).filter((count) => count > 100).length).toBe(2);
  });

  test("an address that fails is used when no other is connected", async () => {
    open(`ipv4:${a},${b}`);
    await connected();
    await timers.advance(2_000);
    expect(spread(100, failing(b))[b]).toBe(3);
    down.set(a, "refused");
    links.find(({ address }) => address === a)?.lose();
    expect(spread(10)).toEqual({ [b]: 10 });
  });

  test("a connection that is lost counts once, not once a call", async () => {
    open(`ipv4:${a},${b}`);
    await connected();
    await timers.advance(2_000);
    for (let loss = 0; loss < 2; loss++) {
      links.findLast(({ address }) => address === a)?.lose();
      await timers.advance(5_000);
    }
    expect(await metric("rpc_client_ejections_total")).toBe(0);
    links.findLast(({ address }) => address === a)?.lose();
    expect(await metric("rpc_client_ejections_total")).toBe(1);
  });
});

test("a call that was refused goes to another connection", async () => {
  open(`ipv4:${a},${b}?connections=2`);
  await connected();
  for (let trial = 0; trial < 20; trial++) {
    const made = call();
    const refusing = made.link;
    made.link?.end();
    channel.submit(made, refusing);
    expect(made.link).not.toBe(refusing);
    made.end();
  }
  expect(await metric("rpc_client_calls_resent_total")).toBe(20);
});
