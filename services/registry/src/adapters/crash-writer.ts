import { writeSync } from "node:fs";
import { join } from "node:path";
import { featureViewContent } from "../domain/records.ts";
import { FolderArtifactStore } from "./folder-artifact-store.ts";
import { SqliteCatalog } from "./sqlite-catalog.ts";

/** Writes without end into the folder named by the first argument, and says on stdout what was acknowledged; a test kills it. */
async function write(folder: string): Promise<void> {
  const artifacts = await FolderArtifactStore.open(join(folder, "artifacts"));
  const catalog = SqliteCatalog.open(join(folder, "catalog.db"), { requestIdsMax: 10 });
  for (let round = 0; ; round++) {
    const text = `${process.pid} ${round} ${"x".repeat((round * 7_919) % 300_000)}`;
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield Buffer.from(text);
    }
    const { digest } = await artifacts.write(chunks(), { expectedDigest: "", bytesMax: 1_000_000 });
    writeSync(1, `artifact ${digest}\n`);
    const view = featureViewContent("fraud", "card", JSON.stringify({ digest }));
    if (view === undefined) throw new Error("not JSON");
    const { version } = await catalog.addFeatureView(view, round);
    writeSync(1, `view ${version} ${view.digest}\n`);
  }
}

void write(process.argv[2] ?? "");
