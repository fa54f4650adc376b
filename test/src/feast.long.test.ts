import { execFile, spawn } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { feature } from "@weft/contracts";
import { pythonEnvironment } from "@weft/local-servers";
import { grpcurlPath } from "./grpcurl.ts";
import { removeState, root, startWeft, type Weft } from "./weft.ts";

const execute = promisify(execFile);

/** Feast's own stubs, and what they run on; not the rest of its SDK. */
const requirements = ["--no-deps", "feast==0.67.0", "grpcio==1.85.1", "protobuf==7.36.2", "typing_extensions==4.15.0"];

let weft: Weft;
let python: string;
beforeAll(async () => {
  python = await pythonEnvironment("feast-stubs-0.67.0", requirements);
  weft = await startWeft(["examples/fraud"]);
}, 400_000);
afterAll(async () => {
  if (weft === undefined) return;
  expect(await weft.stop()).toBe(0);
  removeState(weft);
}, 60_000);

const address = () => `${weft.output.addresses.feature.host}:${weft.output.addresses.feature.port}`;

interface FeastAnswer {
  readonly version?: string;
  readonly code?: string;
  readonly details?: string;
  readonly status?: boolean;
  readonly metadata?: {
    readonly feature_names: { readonly val: readonly string[] };
    readonly feature_view_metadata?: readonly { readonly name: string; readonly version: number }[];
  };
  readonly results?: readonly {
    readonly values: readonly Readonly<Record<string, unknown>>[];
    readonly statuses: readonly string[];
    readonly event_timestamps: readonly string[];
  }[];
}

/** Makes calls with Feast's client, one after the other. */
function call(...calls: readonly object[]): Promise<readonly FeastAnswer[]> {
  const child = spawn(python, [join(root, "test", "src", "feast_client.py"), address()]);
  let output = "";
  let fault = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    output += part;
  });
  child.stderr.setEncoding("utf8").on("data", (part: string) => {
    fault += part;
  });
  child.stdin.end(calls.map((one) => `${JSON.stringify(one)}\n`).join(""));
  return new Promise((resolve, reject) =>
    child.once("close", (code) => {
      if (code !== 0) reject(new Error(`the client ended with ${code}: ${fault}`));
      else
        resolve(
          output
            .trim()
            .split("\n")
            .map((line) => JSON.parse(line) as FeastAnswer),
        );
    }),
  );
}

const cards = [1_000_043n, 1_000_007n, 999n];
const int64s = (values: readonly bigint[]) => ({ val: values.map((value) => ({ int64_val: String(value) })) });

describe("Feast's client", () => {
  test("reads the features that Weft's own contract serves, with statuses and event times", async () => {
    const names = ["card_payments:count_7d", "card_payments:amount_mean_30d", "customer_risk:risk_score"];
    const customers = [3_000_034n, 3_000_005n, 999n];
    const request = {
      features: { val: names },
      entities: { card: int64s(cards), customer: int64s(customers) },
      full_feature_names: true,
      include_feature_view_version_metadata: true,
    };
    const [info, answer] = await call({ method: "GetFeastServingInfo" }, { method: "GetOnlineFeatures", request });
    expect(info?.version).toMatch(/^0\.\d+\.\d+$/);
    expect(answer?.status).toBe(true);
    expect(answer?.metadata?.feature_names.val).toEqual([
      "card",
      "customer",
      ...names.map((name) => name.replace(":", "__")),
    ]);
    expect(answer?.metadata?.feature_view_metadata?.map(({ name }) => name).sort()).toEqual([
      "card_payments",
      "customer_risk",
    ]);
    const own = await weft.dial(feature.FeatureService).getOnlineFeatures({
      scenario: "fraud",
      features: names,
      entities: [
        { entity: "card", integers: cards },
        { entity: "customer", integers: customers },
      ],
      includeEventTimes: true,
    });
    for (const [index, column] of own.columns.entries()) {
      const { values = [], statuses = [], event_timestamps: times = [] } = answer?.results?.[index + 2] ?? {};
      const held =
        column.values.case === "float64s" || column.values.case === "int64s" ? column.values.value.values : [];
      for (const [row, status] of column.statuses.entries()) {
        const [value] = Object.values(values[row] ?? {});
        const isThere = value !== undefined;
        if (isThere) expect(Number(value)).toBe(Number(held[row]));
        expect({ row, status: statuses[row] }).toEqual({
          row,
          status: { 1: "PRESENT", 2: "NULL_VALUE", 3: "NOT_FOUND", 4: "OUTSIDE_MAX_AGE", 5: "NOT_FOUND" }[
            status as number
          ],
        });
        const us = column.eventTimesUs[row] ?? 0n;
        expect(Date.parse(times[row] ?? "")).toBe(Math.floor(Number(us) / 1_000));
      }
    }
    // The simulated history ended long ago: a stale risk for those that have one, the default for the one that has none.
    expect(answer?.results?.[4]?.statuses).toEqual(["OUTSIDE_MAX_AGE", "OUTSIDE_MAX_AGE", "NOT_FOUND"]);
    expect(answer?.results?.[4]?.values[2]).toEqual({ double_val: 0.006 });
  });

  test("reads a feature service with its request context, and hears what is wrong", async () => {
    const entities = {
      card: int64s(cards.slice(0, 1)),
      customer: int64s([3_000_034n]),
      terminal: int64s([5_000_543n]),
      device: { val: [{ string_val: "m-1bb8ecb36ac9c3cb" }] },
    };
    const request_context = {
      amount: { val: [{ double_val: 23.9 }] },
      online: { val: [{ bool_val: false }] },
      local_minute: { val: [{ double_val: 1080 }] },
    };
    const service = { feature_service: "fraud_tree", entities, request_context, full_feature_names: true };
    const unknown = { features: { val: ["card_payments:nope"] }, entities };
    const [answer, missing, wrong] = await call(
      { method: "GetOnlineFeatures", scenario: "fraud", request: service },
      { method: "GetOnlineFeatures", request: unknown },
      { method: "GetOnlineFeatures", scenario: "none", request: service },
    );
    const names = answer?.metadata?.feature_names.val ?? [];
    expect(names.length).toBe(4 + 36);
    expect(answer?.results?.[names.indexOf("clock__hour")]?.values).toEqual([{ float_val: 18 }]);
    expect(missing).toEqual({ code: "NOT_FOUND", details: expect.stringContaining("card_payments:nope") });
    expect(wrong?.code).toBe("NOT_FOUND");
  });

  test("needs no proto file: reflection lists and describes the contract", async () => {
    const grpcurl = await grpcurlPath();
    const plain = ["-plaintext", address()];
    const { stdout: list } = await execute(grpcurl, [...plain, "list"]);
    expect(list.split("\n")).toEqual(
      expect.arrayContaining(["feast.serving.ServingService", "weft.feature.v1.FeatureService"]),
    );
    const { stdout: described } = await execute(grpcurl, [...plain, "describe", "feast.serving.ServingService"]);
    expect(described).toContain("rpc GetOnlineFeatures ( .feast.serving.GetOnlineFeaturesRequest )");
    const { stdout: value } = await execute(grpcurl, [...plain, "describe", "feast.types.Value"]);
    expect(value).toContain("float_val = 6");
    const body = JSON.stringify({
      features: { val: ["card_payments:count_7d"] },
      entities: { card: { val: [{ int64Val: "1000043" }] } },
    });
    const { stdout: read } = await execute(grpcurl, [
      "-plaintext",
      "-d",
      body,
      address(),
      "feast.serving.ServingService/GetOnlineFeatures",
    ]);
    expect(JSON.parse(read)).toMatchObject({ metadata: { featureNames: { val: ["card", "count_7d"] } }, status: true });
  });
});
