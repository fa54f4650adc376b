import type { Consumer } from "@platformatic/kafka";
import type { StreamBatch, StreamLog, StreamMessage, StreamPartition } from "../domain/ingest/stream-log.ts";

/** Where the brokers are and what a read may bring. */
export interface KafkaLogOptions {
  /** `host:port` of some brokers; they name the others. */
  readonly brokers: readonly string[];
  /** Processes of one group share the partitions. */
  readonly group: string;
  /** Bytes of one read, over all partitions. */
  readonly readMaxBytes: number;
  /** How long a read waits for the first message. */
  readonly waitMs: number;
  /** A process that is not heard of for this long loses its partitions. */
  readonly sessionTimeoutMs: number;
}

type Position = StreamPartition & { readonly after: number };
type Fetched = Awaited<ReturnType<Consumer["fetch"]>>;
type Records = NonNullable<Fetched["responses"][number]["partitions"][number]["records"]>;

/** Asks for a partition's first offset instead of the one at a time. */
const earliest = -2n;
const controlBatch = 0x20;
const requestTimeoutMs = 5_000;
/** Time between two looks for topics that are not there yet. */
const missingTopicMs = 5_000;

/**
 * Topics of a Kafka cluster, followed as a consumer group. The group only says who reads which partition: where to read
 * on is asked for with each read. After any failure the connection is given up and made anew by the next read, so that a
 * broker that was away, or a session that was lost, needs no other care.
 */
export class KafkaLog implements StreamLog {
  readonly #options: KafkaLogOptions;
  #topics: readonly string[] = [];
  #consumer: Consumer | undefined;
  /** Topics that were asked for when the group was joined, and those of them that there are. */
  #asked: readonly string[] = [];
  #joined: readonly string[] = [];
  #askAgainAtMs = 0;
  /** First offset of each topic's partitions when the group was joined. */
  #starts: ReadonlyMap<string, readonly bigint[]> = new Map();
  #isClosed = false;

  constructor(options: KafkaLogOptions) {
    this.#options = options;
  }

  async follow(topics: readonly string[]): Promise<void> {
    this.#topics = topics;
    if (topics.length === 0) return this.#disconnect();
    await this.#orDisconnect(() => this.#connected());
  }

  assigned(): readonly StreamPartition[] {
    const assignments = this.#consumer?.assignments ?? [];
    return assignments.flatMap(({ topic, partitions }) => partitions.map((partition) => ({ topic, partition })));
  }

  read(positions: readonly Position[]): Promise<readonly StreamBatch[]> {
    return this.#orDisconnect(async () => this.#fetch(await this.#connected(), positions));
  }

  async report(positions: readonly Position[]): Promise<void> {
    if (positions.length === 0) return;
    const offsets = positions.map(({ topic, partition, after }) => ({
      topic,
      partition,
      offset: BigInt(after),
      leaderEpoch: -1,
    }));
    // Only for those who watch the group: the states know better.
    await this.#consumer?.commit({ offsets }).catch(() => undefined);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#disconnect();
  }

  async #orDisconnect<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (cause) {
      await this.#disconnect();
      throw cause;
    }
  }

  /** A consumer that is in the group for the topics followed. */
  async #connected(): Promise<Consumer> {
    if (this.#isClosed) throw new Error("the log is closed");
    let consumer = this.#consumer;
    if (consumer === undefined) {
      const { brokers, group, sessionTimeoutMs } = this.#options;
      // Loaded only where Kafka is used.
      const client = await import("@platformatic/kafka");
      consumer = new client.Consumer({
        clientId: "weft-feature",
        groupId: group,
        bootstrapBrokers: [...brokers],
        sessionTimeout: sessionTimeoutMs,
        rebalanceTimeout: sessionTimeoutMs,
        heartbeatInterval: Math.max(100, Math.floor(sessionTimeoutMs / 10)),
        connectTimeout: requestTimeoutMs,
        timeout: Math.max(requestTimeoutMs, 2 * sessionTimeoutMs),
        retries: 0,
        autocommit: false,
      });
      const lose = () => {
        if (this.#consumer === consumer) void this.#disconnect();
      };
      consumer.on("error", lose);
      consumer.on("consumer:heartbeat:error", lose);
      consumer.on("consumer:heartbeat:stalled", lose);
      this.#consumer = consumer;
      this.#asked = [];
      this.#joined = [];
    }
    const isNew = !sameNames(this.#topics, this.#asked);
    if (isNew || (this.#joined.length < this.#asked.length && performance.now() >= this.#askAgainAtMs)) {
      const asked = [...this.#topics];
      const topics = await existing(consumer, asked);
      if (isNew || !sameNames(topics, this.#joined)) {
        for (const topic of this.#joined) consumer.topics.untrack(topic);
        for (const topic of topics) consumer.topics.track(topic);
        await consumer.joinGroup();
        this.#starts = new Map();
        if (topics.length > 0) this.#starts = await consumer.listOffsets({ topics, timestamp: earliest });
      }
      this.#joined = topics;
      this.#asked = asked;
      this.#askAgainAtMs = performance.now() + missingTopicMs;
    }
    return consumer;
  }

  async #disconnect(): Promise<void> {
    const consumer = this.#consumer;
    this.#consumer = undefined;
    this.#asked = [];
    this.#joined = [];
    if (consumer === undefined) return;
    consumer.removeAllListeners("consumer:heartbeat:error");
    consumer.removeAllListeners("consumer:heartbeat:stalled");
    // What goes wrong while it is given up concerns nobody.
    await consumer.close(true).catch(() => undefined);
  }

  async #fetch(consumer: Consumer, positions: readonly Position[]): Promise<readonly StreamBatch[]> {
    const metadata = await consumer.metadata({ topics: [...this.#joined] });
    const names = new Map<string, string>();
    const requests = new Map<number, Map<string, Position[]>>();
    for (const position of positions) {
      const topic = metadata.topics.get(position.topic);
      const leader = topic?.partitions[position.partition]?.leader;
      if (topic === undefined || leader === undefined || leader < 0) continue;
      names.set(topic.id, position.topic);
      const ofLeader = requests.get(leader) ?? new Map<string, Position[]>();
      requests.set(leader, ofLeader);
      const ofTopic = ofLeader.get(topic.id) ?? [];
      ofLeader.set(topic.id, ofTopic);
      ofTopic.push(position);
    }
    const { readMaxBytes, waitMs } = this.#options;
    const perPartition = Math.max(65_536, Math.floor(readMaxBytes / Math.max(1, positions.length)));
    const answers = await Promise.all(
      [...requests].map(([node, topics]) =>
        consumer.fetch({
          node,
          maxWaitTime: waitMs,
          minBytes: 1,
          maxBytes: readMaxBytes,
          topics: [...topics].map(([topicId, own]) => ({
            topicId,
            partitions: own.map((position) => ({
              partition: position.partition,
              currentLeaderEpoch: -1,
              // Kafka counts from 0: the message after the first `after` ones.
              fetchOffset: BigInt(this.#from(position)),
              lastFetchedEpoch: -1,
              partitionMaxBytes: perPartition,
            })),
          })),
        }),
      ),
    );
    const batches: StreamBatch[] = [];
    for (const answer of answers)
      for (const { topicId, partitions } of answer.responses)
        for (const { partitionIndex, records, highWatermark, errorCode } of partitions) {
          const topic = names.get(topicId);
          const position = positions.find((own) => own.topic === topic && own.partition === partitionIndex);
          if (topic === undefined || position === undefined) continue;
          const from = this.#from(position);
          if (errorCode !== 0) throw new Error(`Kafka answered error ${errorCode} for a partition of topic ${topic}`);
          const { messages, until } = readRecords(records ?? [], from);
          batches.push({
            topic,
            partition: partitionIndex,
            messages,
            until,
            end: Math.max(until, Number(highWatermark)),
            lost: from - position.after,
          });
        }
    return batches;
  }

  /** Where reading goes on: behind the position, or where the log begins now, if that is later. */
  #from({ topic, partition, after }: Position): number {
    return Math.max(after, Number(this.#starts.get(topic)?.[partition] ?? 0n));
  }
}

/** Those topics that there are: one that is missing must not keep the others from being followed. */
async function existing(consumer: Consumer, topics: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const topic of topics) {
    try {
      await consumer.metadata({ topics: [topic], forceUpdate: true });
      found.push(topic);
    } catch (cause) {
      // The client says it in words only.
      if (!(cause instanceof Error) || cause.message !== `Unknown topic ${topic}.`) throw cause;
    }
  }
  return found;
}

function sameNames(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((name, index) => name === other[index]);
}

/** Messages from a Kafka offset on; a broker answers whole batches, which may begin before it. */
function readRecords(batches: Records, from: number): { readonly messages: StreamMessage[]; readonly until: number } {
  const messages: StreamMessage[] = [];
  let until = from;
  for (const { firstOffset, lastOffsetDelta, firstTimestamp, attributes, records } of batches) {
    const first = Number(firstOffset);
    until = Math.max(until, first + lastOffsetDelta + 1);
    if ((attributes & controlBatch) !== 0) continue;
    for (const { offsetDelta, timestampDelta, value } of records) {
      const offset = first + offsetDelta + 1;
      if (offset <= from) continue;
      // A copy: what the broker sent is one buffer for all.
      const own = value === null ? undefined : new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
      messages.push({ offset, value: own, timeUs: Number(firstTimestamp + timestampDelta) * 1_000 });
    }
  }
  return { messages, until };
}
