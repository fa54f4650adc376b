import type { ReferenceDistribution } from "@weft/statistics";

/** What a model saw in training, read from the `reference.json` artifact. */
export interface Reference {
  /** Rows of the training split. */
  readonly rows: number;
  /** By feature reference. */
  readonly features: Readonly<Record<string, ReferenceDistribution>>;
  /** Of the model's own score; absent where the model has none, such as an embedding. */
  readonly scores?: ReferenceDistribution;
}

/** Either what was read, or every fault found. */
export type ReferenceReading =
  | { readonly reference: Reference; readonly faults: readonly [] }
  | { readonly reference?: undefined; readonly faults: readonly string[] };

const EDGES_MAX = 255;
const FEATURES_MAX = 10_000;
const SHARE_TOLERANCE = 1e-3;

/**
 * Reads the text of a `reference.json`:
 * `{"rows": n, "features": {"<reference>": {"edges", "shares", "missing_ratio"}}, "scores": {"edges", "shares"}}`.
 * Shares may be of the values present (sum 1) or of all rows (sum 1 - missing_ratio); they are kept as the former.
 */
export function readReference(text: string): ReferenceReading {
  const faults: string[] = [];
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return { faults: ["not JSON"] };
  }
  if (!isRecord(document)) {
    return { faults: ["not an object"] };
  }
  const rows = document.rows;
  if (typeof rows !== "number" || !Number.isSafeInteger(rows) || rows < 1) {
    faults.push("rows: not a positive integer");
  }
  const features: Record<string, ReferenceDistribution> = {};
  const entries = isRecord(document.features) ? Object.entries(document.features) : [];
  if (!isRecord(document.features)) {
    faults.push("features: not an object");
  }
  if (entries.length > FEATURES_MAX) {
    return { faults: [`features: more than ${FEATURES_MAX}`] };
  }
  for (const [name, entry] of entries) {
    const distribution = readDistribution(entry, `features["${name}"]`, faults);
    if (distribution !== undefined) {
      features[name] = distribution;
    }
  }
  const rawScores = document.scores;
  const hasScores = rawScores !== undefined && rawScores !== null && !(isRecord(rawScores) && !("edges" in rawScores));
  const scores = hasScores ? readDistribution(rawScores, "scores", faults) : undefined;
  if (faults.length > 0 || typeof rows !== "number") {
    return { faults };
  }
  return { reference: scores === undefined ? { rows, features } : { rows, features, scores }, faults: [] };
}

function readDistribution(entry: unknown, at: string, faults: string[]): ReferenceDistribution | undefined {
  if (!isRecord(entry)) {
    faults.push(`${at}: not an object`);
    return undefined;
  }
  const edges = numbers(entry.edges);
  const shares = numbers(entry.shares);
  const missingRatio = entry.missing_ratio ?? 0;
  if (edges === undefined || edges.length > EDGES_MAX) {
    faults.push(`${at}.edges: not a list of at most ${EDGES_MAX} finite numbers`);
    return undefined;
  }
  if (edges.some((edge, i) => i > 0 && edge <= (edges[i - 1] ?? edge))) {
    faults.push(`${at}.edges: not strictly ascending`);
    return undefined;
  }
  if (shares === undefined || shares.length !== edges.length + 1 || shares.some((share) => share < 0)) {
    faults.push(`${at}.shares: not ${edges.length + 1} numbers >= 0`);
    return undefined;
  }
  if (typeof missingRatio !== "number" || !(missingRatio >= 0 && missingRatio <= 1)) {
    faults.push(`${at}.missing_ratio: not between 0 and 1`);
    return undefined;
  }
  const total = shares.reduce((sum, share) => sum + share, 0);
  const present = 1 - missingRatio;
  if (Math.abs(total - 1) > SHARE_TOLERANCE && Math.abs(total - present) > SHARE_TOLERANCE) {
    faults.push(`${at}.shares: sum to ${total}, not to 1`);
    return undefined;
  }
  return { edges, shares: total > 0 ? shares.map((share) => share / total) : shares, missingRatio };
}

function numbers(value: unknown): number[] | undefined {
  const isNumbers = Array.isArray(value) && value.every((item) => typeof item === "number" && Number.isFinite(item));
  return isNumbers ? (value as number[]) : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
