import { artifactStoreContract } from "../domain/artifact-store.contract.ts";
import { catalogContract } from "../domain/catalog.contract.ts";
import { MemoryArtifactStore } from "./memory-artifact-store.ts";
import { MemoryCatalog } from "./memory-catalog.ts";

catalogContract({ name: "memory", open: async (requestIdsMax) => new MemoryCatalog({ requestIdsMax }) });

artifactStoreContract({
  name: "memory",
  open: async () => new MemoryArtifactStore(),
  spoil: async (store, digest) => {
    if (store instanceof MemoryArtifactStore) store.spoil(digest);
  },
});
