import { quietTelemetry, seededRandom } from "@weft/testkit";
import { GenerationStore } from "../adapters/generation-store.ts";
import { randomItems } from "./items.ts";
import { storeOptions } from "./store-options.ts";

/** Builds generations of one index without end, and prints the number of each that was acknowledged. Run as a process. */
async function main(directory: string): Promise<void> {
  const store = await GenerationStore.open(storeOptions(directory, quietTelemetry().logger));
  const header = { scenario: "films", index: "items", dimension: 16, metric: "cosine", requestId: "" } as const;
  while (true) {
    const items = randomItems(400, 16, seededRandom(1));
    const { generation } = await store.build(header, items, new AbortController().signal);
    process.stdout.write(`${generation}\n`);
  }
}

if (require.main === module) void main(process.argv[2] ?? "");
