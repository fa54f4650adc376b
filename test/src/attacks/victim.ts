import { listenWeft } from "@weft/rpc";
import { createTestRouter } from "../interop/test-service.ts";

/** What the server that is attacked answers on "memory". */
export interface VictimMemory {
  readonly rssBytes: number;
}

/** Serves the test service with the defaults that users get; tells its port, and on "memory" what it holds. */
async function serve(): Promise<void> {
  const listener = await listenWeft(createTestRouter(), {
    host: "127.0.0.1",
    port: 0,
    messageBytesMax: 4_194_304,
    concurrentStreamsMax: 1_000,
  });
  process.on("message", () => {
    const memory: VictimMemory = { rssBytes: process.memoryUsage().rss };
    process.send?.(memory);
  });
  process.on("disconnect", () => process.exit());
  process.send?.({ port: listener.port });
}

void serve();
