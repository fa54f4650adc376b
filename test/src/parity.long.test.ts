import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { feature, gateway, monitoring } from "@weft/contracts";
import { seededRandom } from "@weft/testkit";
import { removeState, runWeft, startWeft, type Weft } from "./weft.ts";

const seed = 20_295;
/** Where the simulated history of the payments ends. */
const historyEndUs = 1_739_556_000_000_000n;

interface ModelReport {
  readonly model: string;
  readonly compared: number;
  readonly incomplete: number;
  readonly features: readonly { readonly reference: string; readonly matching: number; readonly hindsight: number }[];
  readonly differences: readonly { readonly reference: string; readonly id: string; readonly served: number | null }[];
}

let weft: Weft;
beforeAll(async () => {
  weft = await startWeft(["examples/recommender", "examples/fraud"]);
}, 400_000);
afterAll(async () => {
  if (weft === undefined) return;
  expect(await weft.stop()).toBe(0);
  removeState(weft);
}, 60_000);

async function parity(scenario: string, ...args: readonly string[]) {
  const { monitoring: log, feature: store } = weft.output.addresses;
  const peers = [`--peers.monitoring=${log.host}:${log.port}`, `--peers.feature=${store.host}:${store.port}`];
  const { code, stdout, stderr } = await runWeft(["parity", scenario, "--json", ...args, ...peers]);
  const { models, disagreements } = JSON.parse(stdout || `{"models":[]}`) as {
    readonly models: readonly ModelReport[];
    readonly disagreements: number;
  };
  return { code, models, disagreements, stderr };
}

/** Waits until the prediction log holds what was served. */
async function logged(scenario: string, count: number): Promise<void> {
  const client = weft.dial(monitoring.MonitoringService);
  for (let tries = 0; ; tries++) {
    let found = 0;
    let pageToken = "";
    do {
      const page = await client.listPredictions({ scenario, pageToken, pageSize: 1_000 });
      found += page.predictions.length;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    if (found >= count) return;
    if (tries === 100) throw new Error(`${found} of ${count} predictions are in the log`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const random = seededRandom(seed);
const upTo = (count: number) => Math.floor(random() * count);
const timestamp = (us: bigint) => ({ seconds: us / 1_000_000n, nanos: Number(us % 1_000_000n) * 1_000 });
const integer = (value: bigint) => ({ kind: { case: "integer" as const, value } });
const payments = { count: 300, past: 80, customer: 3_000_034n };

function paymentOf(index: number) {
  const card = 1_000_000n + BigInt(upTo(60));
  return {
    card,
    customer: index % 3 === 0 ? payments.customer : 3_000_000n + BigInt(upTo(60)),
    terminal: 5_000_000n + BigInt(upTo(60)),
    device: `c-${card}`,
    amount: Math.round(random() * 20_000) / 100,
    online: random() < 0.3,
  };
}

describe(`weft parity on a running Weft (seed ${seed})`, () => {
  test("payments that are scored while payments come in agree with the offline store to the bit", async () => {
    const client = weft.dial(gateway.GatewayService);
    const features = weft.dial(feature.FeatureService);
    const int64s = (name: string, value: bigint) => ({
      name,
      values: { case: "int64s" as const, value: { values: [value] } },
    });
    for (let index = 0; index < payments.count; index++) {
      const { card, customer, terminal, device, amount, online } = paymentOf(index);
      // The first ones at the end of the history, before anything comes in, the rest now.
      const isPast = index < payments.past;
      const eventTime = isPast ? { eventTime: timestamp(historyEndUs) } : {};
      const answer = await client.score({
        scenario: "fraud",
        entities: {
          card: integer(card),
          customer: integer(customer),
          terminal: integer(terminal),
          device: { kind: { case: "text", value: device } },
        },
        features: {
          amount: { kind: { case: "number", value: amount } },
          online: { kind: { case: "flag", value: online } },
          local_minute: { kind: { case: "number", value: upTo(1440) } },
        },
        ...eventTime,
      });
      expect(answer.releaseId).toBe(weft.output.releases.fraud);
      if (isPast) continue;
      // The payment itself, known from now on; every fifth one is reported late.
      const us = BigInt(Date.now()) * 1_000n - (index % 5 === 0 ? 90_000_000n : 0n);
      await features.push({
        scenario: "fraud",
        source: "transactions",
        columns: [
          int64s("event_time_us", us),
          int64s("transaction_id", BigInt(9_000_000 + index)),
          int64s("card_id", card),
          int64s("customer_id", customer),
          int64s("terminal_id", terminal),
          { name: "device_id", values: { case: "strings", value: { values: [device] } } },
          { name: "amount", values: { case: "float64s", value: { values: [amount] } } },
          { name: "online", values: { case: "bools", value: { values: [online] } } },
        ],
      });
    }
    await logged("fraud", payments.count);
    const { code, models, disagreements, stderr } = await parity("fraud");
    expect({ code, disagreements, differences: models[0]?.differences.slice(0, 5) }).toEqual({
      code: 0,
      disagreements: 0,
      differences: [],
    });
    expect(stderr).not.toContain("disagree");
    expect(models).toMatchObject([{ model: "fraud_tree", incomplete: 0 }]);
    expect(models[0]?.compared).toBeGreaterThanOrEqual(payments.count);
    expect(models[0]?.features.every(({ matching }) => matching === models[0]?.compared)).toBe(true);
    const part = await parity("examples/fraud", "--share", "0.3");
    expect(part.code).toBe(0);
    expect(part.models[0]?.compared).toBeGreaterThan(20);
    expect(part.models[0]?.compared).toBeLessThan(payments.count * 0.6);
  });

  test("recommendations agree to the bit, and one as of the past is told apart", async () => {
    const client = weft.dial(gateway.GatewayService);
    const endOfRatings = { eventTime: { seconds: 893_289_600n, nanos: 0 } };
    let items = 0;
    for (let index = 0; index < 20; index++) {
      const user = integer(BigInt(1 + upTo(900)));
      const time = index % 2 === 0 ? endOfRatings : {};
      const answer = await client.recommend(
        { scenario: "recommender", user, count: 20, ...time },
        { timeoutMs: 5_000 },
      );
      items += answer.items.length;
    }
    await logged("recommender", items);
    const { code, models, disagreements } = await parity("recommender");
    expect({ code, disagreements, differences: models[0]?.differences.slice(0, 5) }).toEqual({
      code: 0,
      disagreements: 0,
      differences: [],
    });
    expect(models).toMatchObject([{ model: "ranker", incomplete: 0 }]);
    expect(models[0]?.compared).toBeGreaterThan(200);
    expect(models[0]?.features.length).toBeGreaterThan(100);

    const past = { seconds: 888_883_200n, nanos: 0 };
    const answer = await client.recommend(
      { scenario: "recommender", user: integer(1n), count: 10, eventTime: past },
      { timeoutMs: 5_000 },
    );
    await logged("recommender", items + answer.items.length);
    const strict = await parity("recommender", "--vectors", "10", "--strict");
    expect({ code: strict.code, disagreements: strict.disagreements }).toEqual({ code: 1, disagreements: 0 });
    expect(strict.models[0]?.features.some(({ hindsight }) => hindsight > 0)).toBe(true);
    expect(strict.stderr).toContain("values disagree");
  });

  test("a batch table that was written anew without loading it online fails", async () => {
    const path = join(weft.directory, "feature", "offline", "fraud", "customer_risk.csv");
    const [header = "", ...rows] = readFileSync(path, "utf8").split("\n");
    const place = header.split(",").indexOf("risk_score");
    const owner = header.split(",").indexOf("customer_id");
    const changed = rows.map((row) => {
      const cells = row.split(",");
      if (cells[owner] !== String(payments.customer)) return row;
      cells[place] = "0.987654321";
      return cells.join(",");
    });
    writeFileSync(path, [header, ...changed].join("\n"));
    const { code, models, disagreements, stderr } = await parity("fraud");
    expect(code).toBe(1);
    expect(stderr).toMatch(/\d+ values disagree with the offline store/);
    expect(disagreements).toBeGreaterThan(20);
    expect(new Set(models[0]?.differences.map(({ reference }) => reference))).toEqual(
      new Set(["customer_risk:risk_score"]),
    );
    const tolerant = await parity("fraud", "--tolerance", "float64=1");
    expect({ code: tolerant.code, disagreements: tolerant.disagreements }).toEqual({ code: 0, disagreements: 0 });
  });

  test("says so where there is nothing to compare, and where it is asked wrongly", async () => {
    const none = await parity("fraud", "--release", "fraud-000000000000");
    expect(none.code).toBe(1);
    expect(none.stderr).toContain('no vector of scenario "fraud" could be compared');
    const wrong = await parity("fraud", "--tolerance", "float64");
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain("must be <type>=<number>");
    expect((await parity("fraud", "--share", "2")).code).toBe(1);
  });
});
