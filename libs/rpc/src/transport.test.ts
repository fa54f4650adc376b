import { createMemoryTransport, grpcJs } from "./index.ts";
import { transportContract } from "./transport.contract.ts";

transportContract("memory", async (router) => ({
  transport: createMemoryTransport(() => router),
  close: async () => {},
}));

transportContract("grpc-js", async (router) => {
  const listener = await grpcJs.listen(router, {
    host: "127.0.0.1",
    port: 0,
    messageBytesMax: 4_194_304,
    concurrentStreamsMax: 100,
  });
  const transport = grpcJs.connect(`127.0.0.1:${listener.port}`, { messageBytesMax: 4_194_304 });
  return {
    transport,
    async close() {
      await transport.close();
      await listener.drain(100);
    },
  };
});
