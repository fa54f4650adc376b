import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort, isListening } from "./free-port.ts";
import { ServerProcess } from "./server-process.ts";
import { mavenJars } from "./tools.ts";

/** A Kafka broker on this machine. */
export interface KafkaServer {
  readonly host: string;
  readonly port: number;
  /** Stops, kills, pauses and starts it; `close` ends it for good. */
  readonly server: ServerProcess;
}

const artifact = "org.apache.kafka:kafka_2.13:3.9.1";
const readyTimeoutMs = 60_000;
/** Any 16 bytes in base64: a cluster's name. */
const clusterId = "MkU3OEVBNTcwNTJENDM2Qg";

/** Starts one Kafka broker (jars in the cache, Java 17, KRaft) on free ports; takes about 4 s. Its data are kept over a restart. */
export async function startKafka(): Promise<KafkaServer> {
  const jars = await mavenJars(artifact);
  const port = await freePort();
  const controllerPort = await freePort();
  const java = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=4", "-cp", join(jars, "*")];
  const server = await ServerProcess.start({
    name: "kafka",
    command: "sh",
    args(folder) {
      const data = join(folder, "data");
      const file = join(folder, "server.properties");
      mkdirSync(data, { recursive: true });
      writeFileSync(file, properties(data, port, controllerPort));
      const line = (...words: string[]) => words.map((word) => `'${word}'`).join(" ");
      const run = `exec ${line("java", ...java, "kafka.Kafka", file)}`;
      if (existsSync(join(data, "meta.properties"))) return ["-c", run];
      const format = line("java", ...java, "kafka.tools.StorageTool", "format", "-t", clusterId, "-c", file);
      return ["-c", `${format} && ${run}`];
    },
    isReady: () => isListening(port),
    readyTimeoutMs,
  });
  return { host: "127.0.0.1", port, server };
}

function properties(data: string, port: number, controllerPort: number): string {
  return `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${controllerPort}
listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}
advertised.listeners=PLAINTEXT://127.0.0.1:${port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=${data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
`;
}
