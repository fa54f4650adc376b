import { onlineStoreContract } from "../domain/online-store.contract.ts";
import { MemoryOnlineStore } from "./memory-online-store.ts";

onlineStoreContract("memory", async () => new MemoryOnlineStore());
