import { expect, test } from "@jest/globals";
import { seededRandom } from "@weft/testkit";
import { areaUnderRoc, LabelledScoresCollector, quality } from "./quality.ts";

test("AUC and Brier score are those over all pairs and rows, ties included", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = seededRandom(seed);
    const collector = new LabelledScoresCollector();
    const rows: { score: number; label: number }[] = [];
    for (let i = 0; i < 2 + Math.floor(random() * 200); i++) {
      const row = { score: Math.round(random() * 10) / 10, label: random() < 0.3 ? 1 : 0 };
      rows.push(row);
      collector.add(row.score, row.label);
    }
    const positives = rows.filter(({ label }) => label === 1);
    const negatives = rows.filter(({ label }) => label === 0);
    let wins = 0;
    for (const p of positives) {
      for (const n of negatives) {
        wins += p.score > n.score ? 1 : p.score === n.score ? 0.5 : 0;
      }
    }
    const pairs = positives.length * negatives.length;
    const { auc, brierScore, labelledCount } = quality(collector.collected());
    expect({ seed, labelledCount }).toEqual({ seed, labelledCount: rows.length });
    expect(auc ?? -1).toBeCloseTo(pairs === 0 ? -1 : wins / pairs, 12);
    const brier = rows.reduce((sum, { score, label }) => sum + (score - label) ** 2, 0) / rows.length;
    expect(brierScore).toBeCloseTo(brier, 12);
  }
});

test("no AUC for one class or for a regression; -0 and 0 tie", () => {
  const of = (...values: number[]) => Float64Array.from(values);
  expect(areaUnderRoc(of(0.1, 0.2), of(1, 1))).toBeUndefined();
  expect(areaUnderRoc(of(0.1, 0.2), of(0, 3.5))).toBeUndefined();
  expect(areaUnderRoc(of(-0, 0), of(0, 1))).toBe(0.5);
  expect(quality({ scores: of(), labels: of() })).toEqual({ labelledCount: 0 });
  expect(quality({ scores: of(2, 4), labels: of(3, 3.5) })).toEqual({ labelledCount: 2, brierScore: 0.625 });
});
