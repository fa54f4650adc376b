import { LmdbOnlineStore } from "./lmdb-online-store.ts";

/**
 * Writes until it is killed: write n sets two keys to n and the offset to n, and then says so. Run by the crash test as a
 * process of its own, with the store's folder as argument.
 */
async function main(path: string): Promise<void> {
  const store = LmdbOnlineStore.open({ path, sizeMaxBytes: 1 << 28, cacheEntriesMax: 10 });
  const view = await store.openView("s/v/1");
  const start = await store.appliedOffset(view);
  const write = async (n: number) => {
    const merge = () => new Uint8Array(new Float64Array([n]).buffer);
    await store.write(
      [
        { view, key: BigInt(n % 50), merge },
        { view, key: "last", merge },
      ],
      [{ view, offset: n }],
    );
    process.stdout.write(`${n}\n`);
  };
  // Several in flight at a time, as pushes are.
  for (let n = start + 1; ; n += 4) await Promise.all([write(n), write(n + 1), write(n + 2), write(n + 3)]);
}

void main(process.argv[2] ?? "");
