import { ingestCrashContract } from "./ingest.crash.contract.ts";

ingestCrashContract(5, 11);
