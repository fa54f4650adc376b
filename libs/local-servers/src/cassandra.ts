import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort, isListening } from "./free-port.ts";
import { ServerProcess } from "./server-process.ts";
import { mavenJars } from "./tools.ts";

/** A Cassandra node on this machine. */
export interface CassandraServer {
  readonly host: string;
  readonly port: number;
  /** Name that drivers ask for to balance loads. */
  readonly datacenter: string;
  /** Stops, kills, pauses and starts it; `close` ends it for good. */
  readonly server: ServerProcess;
}

const artifact = "org.apache.cassandra:cassandra-all:5.0.5";
const readyTimeoutMs = 180_000;

/** What Cassandra reaches into on Java 17. */
const moduleArguments = [
  ...[
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.base/java.lang.ref",
    "jdk.unsupported/sun.misc",
  ].map((name) => `--add-exports=${name}=ALL-UNNAMED`),
  ...[
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
  ].map((name) => `--add-opens=${name}=ALL-UNNAMED`),
];

/** Starts one Cassandra node (jars in the cache, Java 17) on free ports; takes about 20 s. Its data are kept over a restart. */
export async function startCassandra(): Promise<CassandraServer> {
  const jars = await mavenJars(artifact);
  const port = await freePort();
  const storagePort = await freePort();
  const server = await ServerProcess.start({
    name: "cassandra",
    command: "java",
    args(folder) {
      mkdirSync(join(folder, "data"), { recursive: true });
      const file = join(folder, "cassandra.yaml");
      writeFileSync(file, settings(join(folder, "data"), port, storagePort));
      return [
        ...["-Xms768m", "-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=4", ...moduleArguments],
        `-Dcassandra.storagedir=${join(folder, "data")}`,
        `-Dcassandra.config=file://${file}`,
        "-Dcassandra-foreground=yes",
        "-Dcassandra.ring_delay_ms=0",
        "-Dcassandra.superuser_setup_delay_ms=0",
        "-Dcassandra.skip_wait_for_gossip_to_settle=0",
        ...["-cp", join(jars, "*"), "org.apache.cassandra.service.CassandraDaemon"],
      ];
    },
    isReady: () => isListening(port),
    readyTimeoutMs,
  });
  return { host: "127.0.0.1", port, datacenter: "datacenter1", server };
}

function settings(data: string, port: number, storagePort: number): string {
  return `cluster_name: weft
num_tokens: 4
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
commitlog_sync: periodic
commitlog_sync_period: 1s
data_file_directories: [${data}/tables]
commitlog_directory: ${data}/commitlog
saved_caches_directory: ${data}/caches
hints_directory: ${data}/hints
cdc_raw_directory: ${data}/cdc
endpoint_snitch: SimpleSnitch
seed_provider: [{class_name: org.apache.cassandra.locator.SimpleSeedProvider, parameters: [{seeds: "127.0.0.1:${storagePort}"}]}]
listen_address: 127.0.0.1
storage_port: ${storagePort}
rpc_address: 127.0.0.1
native_transport_port: ${port}
start_native_transport: true
`;
}
