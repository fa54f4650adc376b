import { Code, isWeftError } from "@weft/errors";

const pauseMs = 100;

/** Repeats work while a peer is not there yet or does not hold the release yet, up to `timeoutMs`. */
export async function whileUnavailable<T>(timeoutMs: number, work: () => Promise<T>): Promise<T> {
  const endMs = Date.now() + timeoutMs;
  while (true) {
    try {
      return await work();
    } catch (error) {
      if (!isWeftError(error) || error.code !== Code.Unavailable || Date.now() >= endMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
}
