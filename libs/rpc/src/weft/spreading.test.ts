import { afterEach, expect, test } from "@jest/globals";
import { health } from "@weft/contracts";
import { Code, createErrors, type WeftError } from "@weft/errors";
import { createMetrics } from "@weft/telemetry";
import { createChannelMetrics, createClient, type Listener, ServiceRouter, type Transport } from "../index.ts";
import { type ClientOptions, connect } from "./client.ts";
import { listen } from "./server.ts";

const messageBytesMax = 100_000;
const errors = createErrors("weft.test", {
  BROKEN: { code: Code.Internal, message: () => "broken" },
  FULL: { code: Code.ResourceExhausted, message: () => "full" },
  NO: { code: Code.NotFound, message: () => "no" },
});

type Behaviour = keyof typeof errors | "answers" | "hangs";

let replicas: { readonly listener: Listener; calls: number; behaviour: Behaviour }[] = [];
let transport: Transport | undefined;
afterEach(async () => {
  await transport?.close();
  for (const { listener } of replicas) await listener.drain(0);
  replicas = [];
});

async function serve(...behaviours: readonly Behaviour[]): Promise<string> {
  for (const behaviour of behaviours) {
    const router = new ServiceRouter([]);
    const place = replicas.length;
    router.serve(health.Health, {
      async check(_request, context) {
        const own = replicas[place];
        if (own === undefined) return {};
        own.calls++;
        if (own.behaviour === "hangs") await new Promise<void>((resolve) => context.onCancel(() => resolve()));
        else if (own.behaviour !== "answers") throw errors[own.behaviour]({});
        return { status: 1 };
      },
      list: () => ({}),
      async *watch() {},
    });
    const limits = { messageBytesMax, concurrentStreamsMax: 100 };
    replicas.push({ listener: await listen(router, { host: "127.0.0.1", port: 0, ...limits }), calls: 0, behaviour });
  }
  return `ipv4:${replicas.map(({ listener }) => `127.0.0.1:${listener.port}`).join(",")}`;
}

async function open(target: string, options: Partial<ClientOptions> = {}) {
  const metrics = createMetrics({ processMetrics: false });
  transport = connect(target, { messageBytesMax, ...options, metrics: createChannelMetrics(metrics, "peer") });
  const client = createClient(health.Health, transport, []);
  const connections = async () =>
    /rpc_client_connections\{peer="peer"\} (\d+)/.exec((await metrics.expose()).body)?.[1];
  await client.check({}).catch(() => {});
  for (let tries = 0; (await connections()) !== String(replicas.length) && tries < 200; tries++)
    await new Promise((resolve) => setTimeout(resolve, 5));
  for (const replica of replicas) replica.calls = 0;
  return client;
}

const ejection = { failures: 3, baseMs: 200, maxMs: 1_000, percentMax: 50 };

test.each<Behaviour>(["BROKEN", "hangs"])(
  "a replica that is %s is left alone, and comes back when it is well",
  async (behaviour) => {
    const client = await open(await serve("answers", "answers", "answers"), { ejection });
    const [, ill] = replicas;
    if (ill === undefined) return;
    ill.behaviour = behaviour;
    let failures = 0;
    const call = () =>
      client.check({}, { timeoutMs: 300 }).catch(() => {
        failures++;
      });
    for (let count = 0; count < 30; count++) await call();
    expect([ill.calls, failures]).toEqual([3, 3]);
    ill.behaviour = "answers";
    await new Promise((resolve) => setTimeout(resolve, 220));
    for (let count = 0; count < 30; count++) await client.check({}, { timeoutMs: 5_000 });
    expect(ill.calls).toBe(13);
  },
);

test.each<[Behaviour, Code]>([
  ["FULL", Code.ResourceExhausted],
  ["NO", Code.NotFound],
])("a replica that says %s keeps its share of the calls", async (behaviour, code) => {
  const client = await open(await serve("answers", "answers"), { ejection });
  const [, other] = replicas;
  if (other === undefined) return;
  other.behaviour = behaviour;
  const codes = new Set<number>();
  for (let count = 0; count < 40; count++)
    await client.check({}, { timeoutMs: 5_000 }).catch((error: WeftError) => codes.add(error.code));
  expect([other.calls, [...codes]]).toEqual([20, [code]]);
});

test("calls of one tenant stay on one replica, those of many go to all", async () => {
  const target = await serve("answers", "answers", "answers");
  const client = await open(`${target}?policy=consistent_hash&key=x-weft-tenant`);
  for (let count = 0; count < 20; count++) await client.check({}, { tenant: "acme" });
  expect(replicas.map(({ calls }) => calls).sort((a, b) => a - b)).toEqual([0, 0, 20]);
  for (let tenant = 0; tenant < 60; tenant++) await client.check({}, { tenant: `tenant ${tenant}` });
  expect(Math.min(...replicas.map(({ calls }) => calls))).toBeGreaterThan(5);
  // Any metadata key will do.
  await transport?.close();
  const other = await open(`${target}?policy=consistent_hash&key=x-user`);
  for (let count = 0; count < 20; count++) await other.check({}, { metadata: { "x-user": "1" } });
  expect(replicas.map(({ calls }) => calls).sort((a, b) => a - b)).toEqual([0, 0, 20]);
});

test("with least_request a replica that hangs gets few of the calls", async () => {
  const target = await serve("answers", "answers", "hangs");
  const client = await open(`${target}?policy=least_request`, { ejection: { ...ejection, failures: 0 } });
  const work: Promise<unknown>[] = [];
  for (let count = 0; count < 300; count++) {
    work.push(client.check({}, { timeoutMs: 2_000 }).catch(() => {}));
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(replicas[2]?.calls).toBeLessThan(60);
  await Promise.all(work);
});
