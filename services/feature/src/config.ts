import { choice, defineConfig, flag, integer, type SettingsOf, secret, text } from "@weft/config";

/** Settings of the feature service. */
export const config = defineConfig("feature", {
  offlineDirectory: text({
    default: "",
    doc: "Folder of the offline store, with one folder a scenario; empty: `offline` in the service's data folder.",
  }),
  feastScenario: text({
    default: "",
    doc: "Scenario that calls of Feast's contract read where they do not name one with the metadata `x-weft-scenario`; empty: the only one served.",
  }),
  rowsMax: integer({ default: 1_000, min: 1, max: 10_000, doc: "Rows in one read." }),
  featuresMax: integer({ default: 2_000, min: 1, max: 10_000, doc: "Feature references in one read." }),
  plansMax: integer({
    default: 256,
    min: 1,
    max: 10_000,
    doc: "Read plans kept for lists of references, a release; the oldest goes first.",
  }),
  pushRowsMax: integer({ default: 10_000, min: 1, max: 100_000, doc: "Rows in one push." }),
  pushQueueRowsMax: integer({
    default: 50_000,
    min: 1,
    max: 10_000_000,
    doc: "Rows that may wait to be written; further pushes are refused with RESOURCE_EXHAUSTED.",
  }),
  valueBytesMax: integer({ default: 65_536, min: 64, max: 16_777_216, doc: "Size of one text, byte string or list." }),
  futureToleranceMs: integer({
    default: 300_000,
    min: 0,
    max: 86_400_000,
    doc: "How far ahead of this machine's clock an event time may be, in milliseconds.",
  }),
  onlineStore: choice({
    default: "lmdb",
    values: ["lmdb", "memory", "redis", "cassandra"],
    doc: "Where online states are kept: embedded on disk, in memory (gone with the process), or in an engine that several processes share.",
  }),
  redisAddresses: text({
    default: "127.0.0.1:6379",
    doc: "Redis as host:port; of a cluster some nodes, after commas.",
  }),
  redisCluster: flag({ default: false, doc: "The addresses are nodes of a Redis Cluster." }),
  redisUsername: text({ default: "", doc: "User of Redis; empty: the default user." }),
  redisPassword: secret({ doc: "Password of Redis." }),
  redisTls: flag({ default: false, doc: "Speak TLS with Redis, its certificate checked." }),
  redisDatabase: integer({ default: 0, min: 0, max: 1_000_000, doc: "Database number of a single Redis server." }),
  redisKeyPrefix: text({ default: "weft:", doc: "Begins every key in Redis; no braces." }),
  cassandraAddresses: text({
    default: "127.0.0.1:9042",
    doc: "Some nodes of Cassandra as host:port, after commas, all on one port.",
  }),
  cassandraDatacenter: text({ default: "datacenter1", doc: "Datacenter of Cassandra that is asked; others are not." }),
  cassandraKeyspace: text({ default: "weft", doc: "Keyspace of Cassandra; its tables are made where there are none." }),
  cassandraReplication: text({
    default: "",
    doc: "Replication of the keyspace in CQL, to make it where there is none; empty: it must be there.",
  }),
  cassandraUsername: text({ default: "", doc: "User of Cassandra; empty: none." }),
  cassandraPassword: secret({ doc: "Password of Cassandra." }),
  cassandraTls: flag({ default: false, doc: "Speak TLS with Cassandra, its certificate checked." }),
  cassandraConnections: integer({ default: 2, min: 1, max: 64, doc: "Connections to each node of Cassandra." }),
  storeReadTimeoutMs: integer({
    default: 50,
    min: 1,
    max: 10_000,
    doc: "Time that a read of a shared store may take before views go down their ladders, in milliseconds.",
  }),
  storeWriteTimeoutMs: integer({
    default: 5_000,
    min: 10,
    max: 600_000,
    doc: "Time that a write of a shared store may take, in milliseconds; what is written stays in the event log.",
  }),
  storeConnectTimeoutMs: integer({
    default: 2_000,
    min: 10,
    max: 60_000,
    doc: "Time that a connection to a shared store may take to be made, in milliseconds.",
  }),
  storeRetryMs: integer({
    default: 100,
    min: 1,
    max: 60_000,
    doc: "Once a shared store has failed for this many milliseconds: one read in as many tries it, the others answer without it.",
  }),
  storeWatchMs: integer({
    default: 250,
    min: 10,
    max: 60_000,
    doc: "How often a shared store is asked what other processes have published, in milliseconds.",
  }),
  cacheTtlMs: integer({
    default: 1_000,
    min: 1,
    max: 3_600_000,
    doc: "How long a value of a shared store answers from memory, in milliseconds: how late another process's write may be seen.",
  }),
  cacheEntriesMax: integer({
    default: 200_000,
    min: 0,
    max: 100_000_000,
    doc: "Values of the online store kept in memory, each 512 bytes of a value counting as one more; 0 keeps none.",
  }),
  storeSizeMaxMib: integer({
    default: 65_536,
    min: 16,
    max: 16_777_216,
    doc: "Address space that the online store may grow into, in MiB.",
  }),
  offlineMemoryMaxMib: integer({
    default: 1_024,
    min: 256,
    max: 1_048_576,
    doc: "Memory of one materialization or training set build for its tables; what is above goes to disk.",
  }),
  offlineThreads: integer({ default: 2, min: 1, max: 256, doc: "Threads of one such job." }),
  offlineJobsMax: integer({
    default: 16,
    min: 0,
    max: 1_000,
    doc: "Jobs that may wait for the one that runs; further ones are refused with RESOURCE_EXHAUSTED.",
  }),
  quarantineRowsMax: integer({
    default: 100_000,
    min: 0,
    max: 100_000_000,
    doc: "Events kept that could not be taken in; further ones push the oldest out.",
  }),
  quarantineSizeMaxMib: integer({ default: 256, min: 1, max: 1_048_576, doc: "Size of such events, in MiB." }),
  refreshEveryMs: integer({
    default: 3_600_000,
    min: 0,
    max: 2_147_483_647,
    doc: "Time between two looks at the file of a source that declares no `refresh`, in milliseconds; 0: never. Of several processes over one shared online store, one is enough.",
  }),
  kafkaBrokers: text({
    default: "",
    doc: "`host:port` of Kafka brokers, with commas between; empty: topics that sources name are not followed.",
  }),
  kafkaGroup: text({
    default: "weft-feature",
    doc: "Consumer group; processes of one group share a topic's partitions, and must share the online store.",
  }),
  kafkaReadMaxKib: integer({
    default: 1_024,
    min: 64,
    max: 65_536,
    doc: "Messages taken from Kafka and applied at a time, in KiB.",
  }),
  kafkaSessionTimeoutMs: integer({
    default: 30_000,
    min: 1_000,
    max: 1_800_000,
    doc: "A process that Kafka does not hear of for this long loses its partitions to the others of its group.",
  }),
  eventLogRetentionHours: integer({
    default: 0,
    min: 0,
    max: 1_000_000,
    doc: "Pushes older than this that every view holds are forgotten; what training sets and full materializations need of them must be in the source's file by then. 0: never.",
  }),
  eventLogSizeMaxMib: integer({ default: 16_384, min: 1, max: 16_777_216, doc: "Size of the event log, in MiB." }),
});

/** The parsed settings. */
export type Settings = SettingsOf<typeof config>;
