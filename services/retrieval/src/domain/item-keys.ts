/** Keys of a request, all of one type. int64 keys are bigint and lose no bit. */
export type KeyList =
  | { readonly type: "text"; readonly values: readonly string[] }
  | { readonly type: "integer"; readonly values: readonly bigint[] };

/** Type of the keys of an index. */
export type KeyType = KeyList["type"];

/** The key of every row, and the row of every key. */
export class ItemKeyColumn {
  readonly type: KeyType;
  private readonly keys: readonly string[] | BigInt64Array;
  /** Made when first asked: searches without excluded keys never need it. */
  private rows: ReadonlyMap<string | bigint, number> | undefined;

  constructor(keys: readonly string[] | BigInt64Array) {
    this.type = keys instanceof BigInt64Array ? "integer" : "text";
    this.keys = keys;
  }

  get size(): number {
    return this.keys.length;
  }

  /** Keys of rows, in their order. */
  at(rows: Uint32Array): KeyList {
    const { keys } = this;
    if (keys instanceof BigInt64Array) {
      const values: bigint[] = new Array(rows.length);
      for (let i = 0; i < rows.length; i += 1) values[i] = keys[rows[i] as number] as bigint;
      return { type: "integer", values };
    }
    const values: string[] = new Array(rows.length);
    for (let i = 0; i < rows.length; i += 1) values[i] = keys[rows[i] as number] as string;
    return { type: "text", values };
  }

  /** Rows of those keys that the index has. */
  rowsOf(list: KeyList): ReadonlySet<number> {
    this.rows ??= new Map<string | bigint, number>(
      this.keys instanceof BigInt64Array
        ? Array.from(this.keys, (key, row) => [key, row] as const)
        : this.keys.map((key, row) => [key, row] as const),
    );
    const found = new Set<number>();
    for (const key of list.values) {
      const row = this.rows.get(key);
      if (row !== undefined) found.add(row);
    }
    return found;
  }
}
