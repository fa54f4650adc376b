export { FakeClock, settle } from "./fake-clock.ts";
export { seededBelow, seededRandom } from "./seeded-random.ts";
