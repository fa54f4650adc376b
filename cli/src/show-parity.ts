import { feature } from "@weft/contracts";

/** How the vectors of one release and model compare. */
export interface ModelParity {
  readonly release: string;
  readonly model: string;
  readonly report: feature.CheckParityResponse;
}

/** Vectors that were listed and not compared. */
export interface Unchecked {
  /** Predictions without features, because the read had failed. */
  withoutFeatures: number;
  /** By release: vectors of releases that the feature service no longer holds. */
  readonly notLoaded: Record<string, number>;
}

const differencesShown = 10;
const number = (value: number | bigint) => value.toLocaleString("en");
const plural = (count: number, noun: string) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

/** How served vectors compare, for a person to read: a table a model, then the first values that disagree. */
export function showParity(results: readonly ModelParity[], unchecked: Unchecked): string {
  const parts = results.map(modelText);
  if (unchecked.withoutFeatures > 0)
    parts.push(`${plural(unchecked.withoutFeatures, "prediction")} without features: not compared\n`);
  for (const [release, count] of Object.entries(unchecked.notLoaded))
    parts.push(`${plural(count, "vector")} of ${release}, which the feature service no longer holds: not compared\n`);
  return parts.join("\n");
}

/** Values of a report that disagree for no reason that is known; with `strict` the others too. */
export function disagreements({ features }: feature.CheckParityResponse, strict = false): number {
  return features.reduce(
    (sum, { missing, extra, different, inFlight, hindsight, unavailable }) =>
      sum + Number(missing + extra + different + (strict ? inFlight + hindsight + unavailable : 0n)),
    0,
  );
}

function modelText({ release, model, report }: ModelParity): string {
  const { features, comparedCount, incompleteCount, differences } = report;
  const rows = [
    [
      "feature",
      "type",
      "match",
      "missing",
      "extra",
      "differ",
      "in flight",
      "hindsight",
      "unavailable",
      "max abs error",
      "max rel error",
    ],
    ...features.map((one) => [
      one.reference,
      one.type,
      ...[one.matching, one.missing, one.extra, one.different, one.inFlight, one.hindsight, one.unavailable].map(
        number,
      ),
      errorText(one.absoluteErrorMax),
      errorText(one.relativeErrorMax),
    ]),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const table = rows
    .map((row) => row.map((cell, column) => pad(cell, widths[column] ?? 0, column < 2)).join("  "))
    .map((line) => `${line.trimEnd()}\n`)
    .join("");
  const count = disagreements(report);
  const hindsight = features.reduce((sum, one) => sum + Number(one.hindsight), 0);
  const past =
    hindsight === 0
      ? ""
      : `${plural(hindsight, "value")} in hindsight: asked for as of a time before rows that the online store held already\n`;
  const values = Number(comparedCount) * features.length;
  const verdict = count === 0 ? "all agree" : `${plural(count, "value")} disagree${count === 1 ? "s" : ""}`;
  const incomplete =
    incompleteCount > 0n ? `${plural(Number(incompleteCount), "vector")} without all keys and request fields\n` : "";
  return `${model}, release ${release}\n${table}${incomplete}${plural(Number(comparedCount), "vector")}, ${plural(values, "value")}: ${verdict}\n${past}${differencesText(differences)}`;
}

function differencesText(differences: readonly feature.ParityDifference[]): string {
  const shown = differences
    .filter(({ inFlight, hindsight, unavailable }) => !inFlight && !hindsight && !unavailable)
    .slice(0, differencesShown);
  return shown
    .map(({ id, reference, served, recomputed, status }) => {
      const named = status === feature.FeatureStatus.UNSPECIFIED ? "" : ` (${feature.FeatureStatus[status]})`;
      return `  ${id}: ${reference} was served as ${served ?? "absent"}${named}, offline it is ${recomputed ?? "absent"}\n`;
    })
    .join("");
}

function errorText(error: number): string {
  return error === 0 ? "0" : error.toExponential(1);
}

function pad(text: string, width: number, isLeft: boolean): string {
  return isLeft ? text.padEnd(width) : text.padStart(width);
}
