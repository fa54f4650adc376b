export { FakeClock, settle } from "./fake-clock.ts";
export { clientOf, quietTelemetry } from "./in-memory.ts";
export { seededRandom } from "./random.ts";
export { startOnFreePorts } from "./start.ts";
