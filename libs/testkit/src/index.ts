export { FakeClock, seededRandom, settle } from "@weft/repeatable";
export { FakeRegistry } from "./fake-registry.ts";
export { clientOf, quietTelemetry } from "./in-memory.ts";
export { startOnFreePorts } from "./start.ts";
