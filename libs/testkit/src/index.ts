export { FakeClock, settle } from "./fake-clock.ts";
export { FakeRegistry } from "./fake-registry.ts";
export { clientOf, quietTelemetry } from "./in-memory.ts";
export { seededRandom } from "./random.ts";
export { startOnFreePorts } from "./start.ts";
