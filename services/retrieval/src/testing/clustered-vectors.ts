import { type Metric, normalize } from "../domain/vector-index.ts";

/** Vectors around a few centres, row-major; of unit length for cosine. */
export function clusteredVectors(size: number, dimension: number, metric: Metric, random: () => number): Float32Array {
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const centres = Array.from({ length: Math.max(1, size >> 6) }, () => Array.from({ length: dimension }, normal));
  const vectors = new Float32Array(size * dimension);
  for (let row = 0; row < size; row += 1) {
    const centre = centres[Math.floor(random() * centres.length)] ?? [];
    const vector = vectors.subarray(row * dimension, (row + 1) * dimension);
    for (let i = 0; i < dimension; i += 1) vector[i] = (centre[i] ?? 0) + 0.6 * normal();
    if (metric === "cosine") normalize(vector);
  }
  return vectors;
}
