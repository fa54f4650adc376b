import { create, type Message } from "@bufbuild/protobuf";
import { describe, expect, test } from "@jest/globals";
import { health } from "@weft/contracts";
import { Pipe, pipe, type Ready, type Stage } from "./pipe.ts";

const { HealthCheckRequestSchema: Part } = health;
type Part = health.HealthCheckRequest;
const part = (service: string): Part => create(Part, { service });

/** A stage that writes down its end, and lengthens every message. */
function stage(mark: string, log: string[]): Stage {
  return {
    map: ({ service }: Part) => part(service + mark),
    failed: (error) => new Error(`${(error as Error).message}${mark}`),
    ended: (how, error) => log.push(`${mark} ${how}${how === "failed" ? ` ${(error as Error).message}` : ""}`),
  };
}

async function read(stream: AsyncIterable<Message>): Promise<string[]> {
  const services: string[] = [];
  for await (const message of stream) services.push((message as Part).service);
  return services;
}

describe("a pipe", () => {
  const source = async function* (fails: boolean, log: string[]) {
    try {
      yield part("a");
      yield part("b");
      if (fails) throw new Error("why");
    } finally {
      log.push("source");
    }
  };

  test("runs every stage over every message, the innermost first, and tells each of the end once", async () => {
    const log: string[] = [];
    const stream = pipe(pipe(source(false, log), stage("1", log)), stage("2", log));
    expect(await read(stream)).toEqual(["a12", "b12"]);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    expect(log).toEqual(["source", "1 finished", "2 finished"]);
  });

  test("hands a failure through every stage", async () => {
    const log: string[] = [];
    const stream = pipe(pipe(source(true, log), stage("1", log)), stage("2", log));
    await expect(read(stream)).rejects.toThrow("why12");
    expect(log).toEqual(["source", "1 failed why1", "2 failed why12"]);
  });

  test("a reader that leaves ends the source, and each stage once", async () => {
    const log: string[] = [];
    const stream = pipe(source(false, log), stage("1", log));
    for await (const _message of stream) break;
    expect(log).toEqual(["1 left", "source"]);
    expect(await read(stream)).toEqual([]);
  });

  test("a stage that throws ends the source", async () => {
    const log: string[] = [];
    const stage: Stage = {
      map() {
        throw new Error("no");
      },
    };
    await expect(read(pipe(source(false, log), stage))).rejects.toThrow("no");
    expect(log).toEqual(["source"]);
  });

  test("does not touch its source before it is read", async () => {
    let opened = 0;
    const origin = {
      [Symbol.asyncIterator]() {
        opened++;
        return source(false, []);
      },
    };
    const stream = new Pipe(origin, []);
    expect(opened).toBe(0);
    await stream.return();
    expect(opened).toBe(0);
    expect(await read(new Pipe(origin, []))).toEqual(["a", "b"]);
    expect(opened).toBe(1);
  });

  test("takes what is ready without waiting, in order with what is not", async () => {
    const queued = ["a", "b"];
    const later = ["c", "d"];
    const origin: AsyncIterableIterator<Part> & Ready<Part> = {
      ready() {
        const service = queued.shift();
        return service === undefined ? undefined : part(service);
      },
      async next() {
        const service = later.shift();
        return service === undefined ? { done: true, value: undefined } : { done: false, value: part(service) };
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
    const log: string[] = [];
    const stream = pipe(origin, stage("1", log));
    expect((stream.ready() as Part).service).toBe("a1");
    expect(await read(stream)).toEqual(["b1", "c1", "d1"]);
    expect(stream.ready()).toBeUndefined();
    expect(log).toEqual(["1 finished"]);
  });

  test("takes iterators that answer no promises, or throw", async () => {
    const plain = {
      [Symbol.asyncIterator]: () => ({ next: () => ({ done: true, value: undefined }) as never }),
    };
    expect(await read(new Pipe(plain, []))).toEqual([]);
    const broken = {
      [Symbol.asyncIterator]: () => ({
        next() {
          throw new Error("at once");
        },
      }),
    };
    const log: string[] = [];
    await expect(read(new Pipe(broken, [stage("1", log)]))).rejects.toThrow("at once1");
    expect(log).toEqual(["1 failed at once1"]);
  });
});
