import { describe, expect, test } from "@jest/globals";
import { settle } from "@weft/testkit";
import { orderedMap } from "./ordered-map.ts";

/** A promise that the test settles. */
function deferred<T>() {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

async function* numbers(count: number, taken: number[], ended?: () => void): AsyncGenerator<number> {
  try {
    for (let value = 0; value < count; value++) {
      taken.push(value);
      yield value;
    }
  } finally {
    ended?.();
  }
}

describe("ordered map", () => {
  test("answers come in the order of the input, whichever is done first", async () => {
    const works = Array.from({ length: 3 }, () => deferred<string>());
    const answers: string[] = [];
    const reading = (async () => {
      for await (const answer of orderedMap(numbers(3, []), 8, (n) => works[n]?.promise ?? Promise.resolve("")))
        answers.push(answer);
    })();
    works[2]?.resolve("c");
    await settle();
    expect(answers).toEqual([]);
    works[0]?.resolve("a");
    await settle();
    expect(answers).toEqual(["a"]);
    works[1]?.resolve("b");
    await reading;
    expect(answers).toEqual(["a", "b", "c"]);
  });

  test("an answer leaves while the input is quiet", async () => {
    const quiet = deferred<void>();
    async function* input() {
      yield 1;
      await quiet.promise;
    }
    const stream = orderedMap(input(), 4, async (n) => n);
    expect((await stream.next()).value).toBe(1);
    quiet.resolve();
    expect((await stream.next()).done).toBe(true);
  });

  test("never more than the bound are under way, and a slow reader holds the input back", async () => {
    const taken: number[] = [];
    let underway = 0;
    let most = 0;
    const stream = orderedMap(numbers(50, taken), 4, async (n) => {
      underway += 1;
      most = Math.max(most, underway);
      await settle();
      underway -= 1;
      return n;
    });
    expect((await stream.next()).value).toBe(0);
    await settle();
    expect(taken.length).toBeLessThanOrEqual(5);
    const rest: number[] = [];
    for await (const n of stream) rest.push(n);
    expect(rest).toEqual(Array.from({ length: 49 }, (_, n) => n + 1));
    expect(most).toBeLessThanOrEqual(4);
  });

  test("a reader that leaves ends the input; an input that fails ends the answers", async () => {
    let ended = false;
    const stream = orderedMap(
      numbers(10, [], () => {
        ended = true;
      }),
      2,
      async (n) => n,
    );
    await stream.next();
    await stream.return();
    expect(ended).toBe(true);

    async function* failing(): AsyncGenerator<number> {
      yield 1;
      throw new Error("gone");
    }
    const failed = orderedMap(failing(), 2, async (n) => n);
    await expect(
      (async () => {
        for await (const _ of failed);
      })(),
    ).rejects.toThrow("gone");
  });
});
