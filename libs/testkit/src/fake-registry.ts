import { createHash } from "node:crypto";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { defineConfig } from "@weft/config";
import { registry } from "@weft/contracts";
import type { Handlers } from "@weft/rpc";
import { defineService, type ServiceDefinition } from "@weft/service";

/** A registry in memory: artifacts, and releases under labels that watchers hear of. For tests of those who follow releases. */
export class FakeRegistry {
  /** To be started beside the service under test. */
  readonly definition: ServiceDefinition;
  readonly #artifacts = new Map<string, Uint8Array>();
  #state = create(registry.WatchReleasesResponseSchema);
  #changed = Promise.withResolvers<void>();

  constructor() {
    const unused = () => Promise.reject(new Error("the fake registry only watches and hands out artifacts"));
    const handlers: Partial<Handlers<typeof registry.RegistryService>> = {
      watchReleases: (_request, context) => this.#watch(context),
      getArtifact: (request) => this.#read(request.digest),
    };
    const all = Object.fromEntries(
      Object.keys(registry.RegistryService.method).map((name) => [name, unused] as const),
    ) as unknown as Handlers<typeof registry.RegistryService>;
    this.definition = defineService({
      name: "registry",
      config: defineConfig("registry", {}),
      compose: ({ rpc }) => rpc.serve(registry.RegistryService, { ...all, ...handlers }),
    });
  }

  /** Stores an artifact; answers its digest. */
  put(bytes: Uint8Array): string {
    const digest = createHash("sha256").update(bytes).digest("hex");
    this.#artifacts.set(digest, bytes);
    return digest;
  }

  /** Makes a release of a minimal scenario with these parts; `number` makes its id. */
  release(
    scenario: string,
    number: number,
    parts: Omit<MessageInitShape<typeof registry.ReleaseSchema>, "$typeName" | "$unknown"> = {},
  ): registry.Release {
    const id = `${scenario}-${String(number).padStart(12, "0")}`;
    const code = JSON.stringify({ files: { "scenario.ts": scenarioText(scenario) } });
    return create(registry.ReleaseSchema, { id, scenario, codeDigest: this.put(Buffer.from(code)), ...parts });
  }

  /** Replaces all labels. */
  label(...releases: readonly (readonly [label: string, release: registry.Release])[]): void {
    this.#state = create(registry.WatchReleasesResponseSchema, {
      revision: this.#state.revision + 1n,
      releases: releases.map(([label, release]) => ({ label, release })),
    });
    const changed = this.#changed;
    this.#changed = Promise.withResolvers();
    changed.resolve();
  }

  async *#watch(context: {
    onCancel(listener: () => void): () => void;
  }): AsyncGenerator<registry.WatchReleasesResponse> {
    let cancelled = false;
    const cancel = Promise.withResolvers<void>();
    const stop = context.onCancel(() => {
      cancelled = true;
      cancel.resolve();
    });
    try {
      while (!cancelled) {
        const changed = this.#changed.promise;
        yield this.#state;
        await Promise.race([changed, cancel.promise]);
      }
    } finally {
      stop();
    }
  }

  async *#read(digest: string): AsyncGenerator<registry.GetArtifactResponse> {
    const bytes = this.#artifacts.get(digest);
    if (bytes === undefined) throw new Error(`no artifact ${digest}`);
    yield create(registry.GetArtifactResponseSchema, { chunk: bytes });
  }
}

function scenarioText(name: string): string {
  return `import { defineEntity, defineFeatureView, defineModel, defineScenario, defineScorePipeline, defineSource, defineTrainingSet } from "@weft/scenario";
const card = defineEntity({ name: "card", key: "string" });
const payments = defineSource({ name: "payments", file: "payments.csv", eventTime: "event_time", fields: { card_id: "string", amount: "float64", fraud: "float32" } });
const view = defineFeatureView({ name: "card_stats", entities: [{ entity: card, field: "card_id" }], source: payments, features: { amount: { type: "float64" } } });
const training = defineTrainingSet({ name: "labelled", source: payments, entities: { card: "card_id" }, label: "fraud", testShare: 0.2 });
const model = defineModel({ name: "tree", features: ["card_stats:amount"], trainingSet: training, trainer: { name: "lightgbm", parameters: {} }, output: "probability" });
export default defineScenario({
  name: ${JSON.stringify(name)},
  description: "A small scenario.",
  request: { amount: "float64" },
  views: [view],
  models: [model],
  pipeline: defineScorePipeline({
    name: "score",
    deadlineMs: 100,
    entities: [card],
    stages: { features: { budgetMs: 20 }, scoring: { budgetMs: 20, model } },
    decisions: [{ decision: "review", atLeast: 0.5 }, { decision: "approve", atLeast: 0 }],
    fallback: { name: "rules", rules: () => ({ score: 0, reasons: [] }) },
  }),
  examples: [{ entities: { card: "c1" }, request: { amount: 1 }, eventTimeUs: 1n }],
});
`;
}
