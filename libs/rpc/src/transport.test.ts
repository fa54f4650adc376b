import { createMemoryTransport, grpcJs, weft } from "./index.ts";
import { transportContract } from "./transport.contract.ts";
import type { WireTransport } from "./transport.ts";

transportContract("memory", async (router) => ({
  transport: createMemoryTransport(() => router),
  close: async () => {},
}));

/** Every pair: what one transport sends, the other must understand. */
const pairs: readonly (readonly [string, WireTransport, WireTransport])[] = [
  ["grpc-js", grpcJs, grpcJs],
  ["weft", weft, weft],
  ["weft client, grpc-js server", weft, grpcJs],
  ["grpc-js client, weft server", grpcJs, weft],
];

for (const [name, client, server] of pairs)
  transportContract(name, async (router) => {
    const listener = await server.listen(router, {
      host: "127.0.0.1",
      port: 0,
      messageBytesMax: 4_194_304,
      concurrentStreamsMax: 100,
    });
    const transport = client.connect(`127.0.0.1:${listener.port}`, { messageBytesMax: 4_194_304 });
    return {
      transport,
      async close() {
        await transport.close();
        await listener.drain(100);
      },
    };
  });
