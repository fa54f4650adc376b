import { createHash } from "node:crypto";
import type { Value } from "@weft/scenario";
import type { ColumnSpec, ColumnType } from "./offline-store.ts";

/**
 * sha256 of a table's content: the columns' names and types, then row after row each value in little-endian bytes, led
 * by 1, or a single 0 where it is null. Texts, byte strings and lists are led by their length (uint32). NaN has one
 * pattern of bits, and -0 is 0. It does not depend on how a file encodes the table.
 */
export class ContentHash {
  private readonly hash = createHash("sha256");
  private readonly columns: readonly ColumnSpec[];
  private view: DataView<ArrayBuffer>;
  private used = 0;

  constructor(columns: readonly ColumnSpec[]) {
    this.columns = columns;
    this.view = new DataView(new ArrayBuffer(1 << 16));
    this.hash.update(`${JSON.stringify(columns.map(({ name, type }) => [name, type]))}\n`);
  }

  /** Adds rows, one list of values a column. */
  update(count: number, values: readonly ArrayLike<Value>[]): void {
    for (let row = 0; row < count; row++) {
      for (let index = 0; index < this.columns.length; index++) {
        this.add(this.columns[index]?.type ?? "float64", values[index]?.[row] ?? null);
      }
    }
    this.flush();
  }

  /** 64 hex digits; nothing can be added any more. */
  digest(): string {
    return this.hash.digest("hex");
  }

  private add(type: ColumnType, value: Value): void {
    this.room(16);
    if (value === null) {
      this.view.setUint8(this.used++, 0);
      return;
    }
    this.view.setUint8(this.used++, 1);
    if (type === "float32") {
      this.view.setFloat32(this.used, canonical(value as number), true);
      this.used += 4;
    } else if (type === "float64") {
      this.view.setFloat64(this.used, canonical(value as number), true);
      this.used += 8;
    } else if (type === "int64" || type === "count") {
      this.view.setBigInt64(this.used, BigInt(value as number | bigint), true);
      this.used += 8;
    } else if (type === "bool") {
      this.view.setUint8(this.used++, value === true ? 1 : 0);
    } else if (type === "string") {
      this.bytes(Buffer.from(value as string, "utf8"));
    } else if (type === "bytes") {
      this.bytes(value as Uint8Array);
    } else if ("vector" in type) {
      const vector = value as Float32Array;
      this.length(vector.length);
      for (const element of vector) this.add("float32", element);
    } else {
      const list = value as readonly (bigint | string)[];
      this.length(list.length);
      for (const element of list) this.add(type.keys, element);
    }
  }

  private length(count: number): void {
    this.room(4);
    this.view.setUint32(this.used, count, true);
    this.used += 4;
  }

  private bytes(bytes: Uint8Array): void {
    this.length(bytes.length);
    this.flush();
    this.hash.update(bytes);
  }

  private room(bytes: number): void {
    if (this.used + bytes > this.view.byteLength) this.flush();
  }

  private flush(): void {
    this.hash.update(new Uint8Array(this.view.buffer, 0, this.used));
    this.used = 0;
  }
}

function canonical(value: number): number {
  return value === 0 || Number.isNaN(value) ? (value === 0 ? 0 : Number.NaN) : value;
}
