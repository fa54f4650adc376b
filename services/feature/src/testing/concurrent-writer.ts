import { openShared, type SharedEngine } from "./shared-stores.ts";

/**
 * A process that adds to counters of a shared store beside others: arguments are the engine as JSON, the process's name,
 * how many writes, and how many counters each write adds one to. Each write brings its offset.
 */
const [engineText = "", logId = "", writesText = "0", keysText = "0"] = process.argv.slice(2);

async function main(): Promise<void> {
  const engine: SharedEngine = JSON.parse(engineText);
  const store = openShared(engine, logId);
  const view = await store.openView("s/counters/1");
  for (let offset = 1; offset <= Number(writesText); offset++)
    await store.write(
      Array.from({ length: Number(keysText) }, (_, key) => ({
        view,
        key: BigInt(key),
        merge(current: Uint8Array | undefined) {
          const count = current === undefined ? 0 : Buffer.from(current).readDoubleLE(0);
          const next = Buffer.alloc(8);
          next.writeDoubleLE(count + 1);
          return next;
        },
      })),
      [{ view, offset }],
    );
  await store.close();
}

void main();
