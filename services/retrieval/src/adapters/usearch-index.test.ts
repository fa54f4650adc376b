import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { seededRandom } from "@weft/testkit";
import { ExactIndex } from "../domain/exact-index.ts";
import { vectorIndexContract } from "../domain/vector-index.contract.ts";
import { clusteredVectors } from "../testing/clustered-vectors.ts";
import { type GraphOptions, UsearchIndex } from "./usearch-index.ts";

const options: GraphOptions = { quantization: "f32", connectivity: 16, buildExpansion: 128, searchExpansion: 128 };

for (const quantization of ["f32", "i8"] as const) {
  vectorIndexContract({
    name: `UsearchIndex ${quantization}`,
    build: (exact, metric) => UsearchIndex.build(exact, metric, { ...options, quantization }, 1),
    recall: 0.97,
  });
}

describe("UsearchIndex", () => {
  test("a saved graph answers the same after loading; another file is refused", () => {
    const folder = mkdtempSync(join(tmpdir(), "weft-graph-"));
    try {
      const random = seededRandom(3);
      const exact = new ExactIndex(clusteredVectors(500, 16, "cosine", random), 16);
      const built = UsearchIndex.build(exact, "cosine", options, 1);
      const path = join(folder, "graph.usearch");
      built.save(path);
      const loaded = UsearchIndex.load(path, exact, "cosine", options);
      for (let i = 0; i < 20; i += 1) {
        const query = clusteredVectors(1, 16, "cosine", random);
        expect(loaded.search(query, 20)).toEqual(built.search(query, 20));
      }
      const other = new ExactIndex(exact.vectors.slice(0, 16 * 16), 16);
      expect(() => UsearchIndex.load(path, other, "cosine", options)).toThrow(
        "the graph has 500 x 16 for vectors of 16 x 16",
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
