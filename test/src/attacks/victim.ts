import { listenWeft } from "@weft/rpc";
import { createTestRouter } from "../interop/test-service.ts";

/** What the server that is attacked tells of itself when it is asked. */
export interface VictimState {
  readonly rssBytes: number;
  /** CPU time of its longest turn of the event loop since it was asked last, which no other process can add to. */
  readonly longestTurnMs: number;
}

/** Serves the test service with the defaults that users get; tells its port, and its state on any message. */
async function serve(): Promise<void> {
  const listener = await listenWeft(createTestRouter(), {
    host: "127.0.0.1",
    port: 0,
    messageBytesMax: 4_194_304,
    concurrentStreamsMax: 1_000,
  });
  const usedMs = () => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1_000;
  };
  let longestTurnMs = 0;
  let sinceMs = usedMs();
  const turn = () => {
    const nowMs = usedMs();
    longestTurnMs = Math.max(longestTurnMs, nowMs - sinceMs);
    sinceMs = nowMs;
    setTimeout(turn, 1);
  };
  turn();
  process.on("message", () => {
    const state: VictimState = { rssBytes: process.memoryUsage().rss, longestTurnMs };
    longestTurnMs = 0;
    process.send?.(state);
  });
  process.on("disconnect", () => process.exit());
  process.send?.({ port: listener.port });
}

void serve();
