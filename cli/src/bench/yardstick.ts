import { readFileSync } from "node:fs";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { gateway } from "@weft/contracts";
import { InferenceSession, Tensor } from "onnxruntime-node";

/**
 * The yardstick of `bench score`: a bare grpc-js server that answers `Score` by running one model inline, one batch per
 * event-loop turn. No features are looked up, nothing is logged, measured or checked: what a program costs that does
 * only the wire and the model. Arguments: model file, features a row.
 */
const [modelFile = "", width = "1"] = process.argv.slice(2);

interface Waiting {
  readonly row: number;
  readonly callback: (error: null, response: gateway.ScoreResponse) => void;
}

async function main(): Promise<void> {
  const session = await InferenceSession.create(readFileSync(modelFile), {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  });
  const columns = Number(width);
  const input = session.inputNames[0] ?? "features";
  const output = session.outputNames.find((name) => name === "probability") ?? session.outputNames[0] ?? "";
  let waiting: Waiting[] = [];
  let values = new Float32Array(columns * 1024);
  const flush = async () => {
    const batch = waiting;
    waiting = [];
    const used = values.subarray(0, batch.length * columns);
    values = new Float32Array(columns * 1024);
    const answers = await session.run({ [input]: new Tensor("float32", used, [batch.length, columns]) }, [output]);
    const scores = answers[output]?.data as Float32Array;
    for (const { row, callback } of batch)
      callback(null, create(gateway.ScoreResponseSchema, { score: scores[row] ?? 0, decision: "approve" }));
  };
  const server = new Server({ "grpc.enable_channelz": 0 });
  server.register(
    `/${gateway.GatewayService.typeName}/Score`,
    ({ request }: { request: gateway.ScoreRequest }, callback: Waiting["callback"]) => {
      const row = waiting.length;
      let column = row * columns;
      for (const value of Object.values(request.features))
        if (value.kind.case === "number") values[column++] = value.kind.value;
      waiting.push({ row, callback });
      if (row === 0) setImmediate(() => void flush());
    },
    (message: gateway.ScoreResponse) => {
      const bytes = toBinary(gateway.ScoreResponseSchema, message);
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    },
    (bytes: Buffer) => fromBinary(gateway.ScoreRequestSchema, bytes),
    "unary",
  );
  server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
    if (error !== null) throw error;
    process.stdout.write(`${port}\n`);
  });
}

void main();
