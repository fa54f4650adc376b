import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "@jest/globals";
import { feature, registry } from "@weft/contracts";
import { Code, WeftError } from "@weft/errors";
import { FakeClock, quietTelemetry, settle } from "@weft/testkit";
import { config, type Settings } from "../config.ts";
import { createMetrics } from "../metrics.ts";
import { scoring } from "../testing/scenarios.ts";
import { ReleaseLoader } from "./release-loader.ts";
import { PeerCalls, type PeerClients } from "./rpc-peers.ts";

const release = create(registry.ReleaseSchema, {
  id: "screening-1",
  models: scoring.models.map(({ name }) => ({ name, version: "1" })),
});

function createLoader() {
  const clock = new FakeClock();
  const telemetry = quietTelemetry();
  const state: { failure: WeftError | undefined; releases: string[] } = { failure: undefined, releases: [] };
  const unused = () => Promise.reject(new Error("not part of this test"));
  const clients = {
    feature: {
      async getOnlineFeatures(_: unknown, options?: { release?: string | undefined }) {
        state.releases.push(options?.release ?? "");
        if (state.failure !== undefined) throw state.failure;
        const matrix = { rows: 1, values: new Uint8Array(16), statuses: new Uint8Array(4).fill(1) };
        return create(feature.GetOnlineFeaturesResponseSchema, { matrix });
      },
    },
    ranking: {
      modelInfer: async () => ({
        outputs: [{ name: "probability", datatype: "FP32" }],
        rawOutputContents: [new Uint8Array(4)],
      }),
    },
    retrieval: { search: unused },
  } as unknown as PeerClients;
  const defaults = Object.fromEntries(
    Object.entries(config.settings).map(([name, { default: value }]) => [name, value]),
  );
  const loader = new ReleaseLoader({
    calls: new PeerCalls(clients, { coalesceMax: 64, nowMs: () => clock.nowMs(), observe: () => {} }),
    clock,
    stopwatchMs: () => clock.nowMs(),
    random: () => 1,
    settings: { ...(defaults as Settings), warmTimeoutMs: 5_000 },
    metrics: createMetrics(telemetry),
    logger: telemetry.logger,
    log: () => {},
  });
  return { clock, loader, state };
}

const notLoaded = new WeftError({
  code: Code.Unavailable,
  reason: "RELEASE_NOT_LOADED",
  domain: "fake",
  message: "wait",
});
const never = new AbortController().signal;

describe("release loader", () => {
  test("holds a release back until the peers answer its examples with it", async () => {
    const { clock, loader, state } = createLoader();
    state.failure = notLoaded;
    let loaded = false;
    const loading = loader.load({ release, scenario: scoring, signal: never }).then((served) => {
      loaded = true;
      return served;
    });
    await settle();
    await clock.advance(3_000);
    expect(loaded).toBe(false);
    state.failure = undefined;
    await clock.advance(1_000);
    const served = await loading;
    expect(served).toMatchObject({ kind: "score", releaseId: "screening-1" });
    expect(new Set(state.releases)).toEqual(new Set(["screening-1"]));
    await served.close();
  });

  test("gives up after its time, and at once when the gateway closes", async () => {
    const late = createLoader();
    late.state.failure = notLoaded;
    const failed = expect(late.loader.load({ release, scenario: scoring, signal: never })).rejects.toMatchObject({
      reason: "WARM_UP_FAILED",
      message: 'release "screening-1" did not answer its examples: features failed with RELEASE_NOT_LOADED',
    });
    await settle();
    await late.clock.advance(6_000);
    await failed;

    const closing = createLoader();
    closing.state.failure = notLoaded;
    const abort = new AbortController();
    const aborted = expect(closing.loader.load({ release, scenario: scoring, signal: abort.signal })).rejects.toThrow();
    await settle();
    abort.abort();
    await closing.clock.advance(1_000);
    await aborted;
  });

  test("a release without a version of a model that the pipeline names is refused", async () => {
    const { loader } = createLoader();
    const bare = create(registry.ReleaseSchema, { id: "screening-2" });
    await expect(loader.load({ release: bare, scenario: scoring, signal: never })).rejects.toMatchObject({
      reason: "MODEL_NOT_IN_RELEASE",
      message: 'release "screening-2" has no version of model "tree"',
    });
  });
});
