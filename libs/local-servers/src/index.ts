/**
 * Starts real servers on this machine without containers, for tests and benches. What they need is installed into the
 * cache on first use: Debian packages, Maven jars, Python environments and Go programs.
 */
export { cacheDirectory } from "./cache-directory.ts";
export { type CassandraServer, startCassandra } from "./cassandra.ts";
export { type CommandOptions, runCommand } from "./command.ts";
export { freePort, isListening } from "./free-port.ts";
export { installOnce } from "./install-once.ts";
export { type KafkaServer, startKafka } from "./kafka.ts";
export { type RedisCluster, type RedisServer, startRedis, startRedisCluster } from "./redis.ts";
export { type ServerOptions, ServerProcess } from "./server-process.ts";
export { type AptPackage, aptPackage, type GoTool, goTool, hasGoTool, mavenJars, pythonEnvironment } from "./tools.ts";
