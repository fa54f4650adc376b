import type { FeatureMatrix, Peers } from "./peers.ts";
import { checkMatrix, type ScoreInput, type ScorePlan, type ShadowTarget } from "./score-plan.ts";

/** An answered event that shadows are to score. */
export interface ShadowEvent {
  readonly input: ScoreInput;
  /** The champion's features. */
  readonly matrix: FeatureMatrix;
}

/** What one shadow made of a batch of events. */
export interface ShadowScores {
  readonly shadow: ShadowTarget;
  /** One an event; NaN where it could not be scored. */
  readonly scores: Float64Array;
  /** Why, where some could not be scored. */
  readonly error: unknown;
}

/**
 * Scores events of one plan with its shadows, all events of a shadow in one inference. Features that the champion has read
 * are not read again. Never rejects.
 */
export function scoreShadows(
  plan: ScorePlan,
  events: readonly ShadowEvent[],
  peers: Peers,
  timeoutMs: number,
): Promise<readonly ShadowScores[]> {
  return Promise.all(plan.shadows.map((shadow) => scoreShadow(shadow, events, peers, timeoutMs)));
}

async function scoreShadow(
  shadow: ShadowTarget,
  events: readonly ShadowEvent[],
  peers: Peers,
  timeoutMs: number,
): Promise<ShadowScores> {
  const scores = new Float64Array(events.length).fill(Number.NaN);
  const width = shadow.model.features;
  let error: unknown;
  try {
    const matrices = await Promise.all(
      events.map(async ({ input, matrix }) => {
        if (shadow.columns !== undefined) return gatherColumns(matrix.values, shadow.columns);
        try {
          const own = await peers.readMatrix(shadow.read, input.keys, input.fields, input.eventTimeUs, timeoutMs);
          checkMatrix(own, 1, width);
          return own.values;
        } catch (failure) {
          error = failure;
          return undefined;
        }
      }),
    );
    const readable = matrices.flatMap((values, event) => (values === undefined ? [] : [{ values, event }]));
    if (readable.length === 0) return { shadow, scores, error };
    const batch = new Uint8Array(readable.length * width * 4);
    for (const [row, { values }] of readable.entries()) batch.set(values, row * width * 4);
    const answered = await peers.infer(shadow.model, readable.length, batch, timeoutMs);
    for (const [row, { event }] of readable.entries()) scores[event] = answered[row] ?? Number.NaN;
  } catch (failure) {
    error = failure;
  }
  return { shadow, scores, error };
}

/** Columns of a row of float32 by position. */
function gatherColumns(row: Uint8Array, columns: Int32Array): Uint8Array {
  const gathered = new Uint8Array(columns.length * 4);
  for (let column = 0; column < columns.length; column++) {
    const from = (columns[column] ?? 0) * 4;
    for (let byte = 0; byte < 4; byte++) gathered[column * 4 + byte] = row[from + byte] ?? 0;
  }
  return gathered;
}
