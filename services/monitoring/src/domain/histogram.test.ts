import { expect, test } from "@jest/globals";
import { seededRandom } from "@weft/testkit";
import { BucketedHistogram } from "./histogram.ts";

test("a sum over buckets is the count by hand, whatever was added and taken back", () => {
  const seed = 7;
  const random = seededRandom(seed);
  const columns = [[0, 1, 2], [], [0.5]];
  const histogram = new BucketedHistogram(columns, 100);
  let rows: { bucket: number; values: number[] }[] = [];
  const special = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 1, 0.5, -0];
  const value = () => (random() < 0.4 ? (special[Math.floor(random() * special.length)] ?? 0) : random() * 4 - 1);
  for (let step = 0; step < 3000; step++) {
    if (random() < 0.7 || rows.length === 0) {
      const row = { bucket: Math.floor(random() * 20), values: [9, value(), value(), value()] };
      rows.push(row);
      histogram.count(row.bucket, row.values, 1, 1);
    } else {
      const at = Math.floor(random() * rows.length);
      const row = rows[at];
      rows = rows.filter((_, i) => i !== at);
      if (row !== undefined) {
        histogram.count(row.bucket, row.values, 1, -1);
      }
    }
  }
  for (const [first, last] of [
    [0, 19],
    [5, 9],
    [3, 3],
    [50, 60],
  ] as const) {
    const sum = histogram.sum(first, last);
    const chosen = rows.filter(({ bucket }) => bucket >= first && bucket <= last);
    expect(sum.rows).toBe(chosen.length);
    columns.forEach((edges, column) => {
      const expected = new Array<number>(edges.length + 2).fill(0);
      for (const { values } of chosen) {
        const v = values[column + 1] ?? 0;
        const found = edges.findIndex((edge) => v <= edge);
        const bin = Number.isNaN(v) ? edges.length + 1 : found === -1 ? edges.length : found;
        expected[bin] = (expected[bin] ?? 0) + 1;
      }
      expect({ seed, column, counts: [...sum.column(column)] }).toEqual({ seed, column, counts: expected });
    });
  }
});

test("keeps the newest buckets, whatever the order in which they come", () => {
  const histogram = new BucketedHistogram([[0]], 3);
  for (const bucket of [5, 1, 3, 9, 2, 4, 1]) {
    histogram.count(bucket, [0], 0, 1);
  }
  // 1 went when 9 came, 2 was too old by then, and 3 went when 4 came.
  expect([1, 2, 3, 4, 5, 9].map((bucket) => histogram.sum(bucket, bucket).rows)).toEqual([0, 0, 0, 1, 1, 1]);
  histogram.count(3, [0], 0, -1);
  expect(histogram.sum(0, 10).rows).toBe(3);
});
