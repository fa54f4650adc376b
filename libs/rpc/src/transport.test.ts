import { createMemoryTransport, grpcJs, weft } from "./index.ts";
import { transportContract } from "./transport.contract.ts";
import type { WireTransport } from "./transport.ts";
import type { CompressionOptions } from "./weft/compression.ts";

transportContract("memory", async (router) => ({
  transport: createMemoryTransport(() => router),
  close: async () => {},
}));

/** Every pair: what one transport sends, the other must understand; as it is, and compressed. */
const pairs: readonly (readonly [string, WireTransport, WireTransport, CompressionOptions?])[] = [
  ["grpc-js", grpcJs, grpcJs],
  ["weft", weft, weft],
  ["weft client, grpc-js server", weft, grpcJs],
  ["grpc-js client, weft server", grpcJs, weft],
  ["weft, compressed", weft, weft, { bytesMin: 0 }],
  ["weft client, grpc-js server, compressed", weft, grpcJs, { bytesMin: 0 }],
  ["grpc-js client, weft server, compressed", grpcJs, weft, { bytesMin: 0 }],
];

for (const [name, client, server, given] of pairs)
  transportContract(name, async (router) => {
    const compression = given === undefined ? {} : { compression: given };
    const listener = await server.listen(router, {
      host: "127.0.0.1",
      port: 0,
      messageBytesMax: 4_194_304,
      concurrentStreamsMax: 100,
      ...compression,
    });
    const transport = client.connect(`127.0.0.1:${listener.port}`, { messageBytesMax: 4_194_304, ...compression });
    return {
      transport,
      async close() {
        await transport.close();
        await listener.drain(100);
      },
    };
  });
