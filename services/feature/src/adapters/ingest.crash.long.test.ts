import { ingestCrashContract } from "./ingest.crash.contract.ts";

ingestCrashContract(100, 4_711);
