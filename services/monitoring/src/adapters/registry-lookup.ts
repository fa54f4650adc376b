import { createHash } from "node:crypto";
import type { registry } from "@weft/contracts";
import { Code, isWeftError } from "@weft/errors";
import type { Client } from "@weft/rpc";
import { readReference } from "../domain/reference.ts";
import type { ReleaseLookup } from "../domain/release-catalog.ts";
import type { ModelParts, ReleaseParts } from "../domain/release-parts.ts";
import { errors } from "../errors.ts";

/** Limits of a look-up. */
export interface RegistryLookupOptions {
  /** Greatest time for one call of the registry. */
  readonly timeoutMs: number;
  /** Greatest size of a reference. */
  readonly referenceBytesMax: number;
}

/** Looks releases up in the registry, with the reference statistics of their models. */
export function createRegistryLookup(
  client: Client<typeof registry.RegistryService>,
  { timeoutMs, referenceBytesMax }: RegistryLookupOptions,
): ReleaseLookup {
  const artifact = async (digest: string): Promise<string> => {
    const hash = createHash("sha256");
    const chunks: Uint8Array[] = [];
    let sizeBytes = 0;
    for await (const { chunk } of client.getArtifact({ digest }, { timeoutMs })) {
      sizeBytes += chunk.length;
      if (sizeBytes > referenceBytesMax) {
        throw errors.REFERENCE_TOO_LARGE({ digest, limitBytes: referenceBytesMax });
      }
      hash.update(chunk);
      chunks.push(chunk);
    }
    if (hash.digest("hex") !== digest.toLowerCase()) {
      throw errors.REFERENCE_CORRUPT({ digest });
    }
    return Buffer.concat(chunks).toString("utf8");
  };
  const model = async ({ name, version, features, referenceDigest }: registry.Model): Promise<ModelParts> => {
    if (referenceDigest === "") {
      return { name, version, features };
    }
    const { reference, faults } = readReference(await artifact(referenceDigest));
    return reference === undefined
      ? { name, version, features, referenceFault: faults.slice(0, 5).join("; ") }
      : { name, version, features, reference };
  };
  return {
    async findRelease(releaseId): Promise<ReleaseParts | undefined> {
      try {
        const { release } = await client.getRelease({ id: releaseId }, { timeoutMs });
        return release === undefined
          ? undefined
          : { releaseId, scenario: release.scenario, models: await Promise.all(release.models.map(model)) };
      } catch (error) {
        if (isWeftError(error) && error.code === Code.NotFound && error.reason === "RELEASE_NOT_FOUND") {
          return undefined;
        }
        throw error;
      }
    },
    async hasScenario(scenario) {
      const { releases } = await client.listReleases({ scenario, pageSize: 1 }, { timeoutMs });
      return releases.length > 0;
    },
  };
}
