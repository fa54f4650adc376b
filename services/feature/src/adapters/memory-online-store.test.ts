import { onlineStoreContract } from "../domain/online/online-store.contract.ts";
import { MemoryOnlineStore } from "./memory-online-store.ts";

onlineStoreContract("memory", async () => new MemoryOnlineStore());
