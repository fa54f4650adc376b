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
  let error: unknown;
  try {
    const read =
      shadow.columns === undefined
        ? await readRows(shadow, events, peers, timeoutMs)
        : { ...gatherRows(shadow.columns, events), error: undefined };
    error = read.error;
    if (read.events.length === 0) return { shadow, scores, error };
    const answered = await peers.infer(shadow.model, read.events.length, read.rows, timeoutMs);
    for (const [row, event] of read.events.entries()) scores[event] = answered[row] ?? Number.NaN;
  } catch (failure) {
    error = failure;
  }
  return { shadow, scores, error };
}

/** Rows of a shadow's features, float32[events, width], and the position of each row's event. */
interface ShadowRows {
  readonly rows: Uint8Array;
  readonly events: readonly number[];
}

/** Rows made of columns that the champion has read. */
function gatherRows(columns: Int32Array, events: readonly ShadowEvent[]): ShadowRows {
  const rows = new Uint32Array(events.length * columns.length);
  let cell = 0;
  for (const { matrix } of events) {
    const { values } = matrix;
    // Words, not floats: a copy must not touch the payload of a NaN. A view needs its bytes aligned.
    const aligned = values.byteOffset % 4 === 0 ? values : values.slice();
    const row = new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 2);
    for (let column = 0; column < columns.length; column++) rows[cell++] = row[columns[column] ?? 0] ?? 0;
  }
  return { rows: new Uint8Array(rows.buffer), events: events.map((_, event) => event) };
}

/** Rows that the shadow reads itself; events whose read failed are left out, and the last failure is told. */
async function readRows(
  shadow: ShadowTarget,
  events: readonly ShadowEvent[],
  peers: Peers,
  timeoutMs: number,
): Promise<ShadowRows & { readonly error: unknown }> {
  const width = shadow.model.features;
  let error: unknown;
  const matrices = await Promise.all(
    events.map(async ({ input }) => {
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
  const rows = new Uint8Array(readable.length * width * 4);
  for (const [row, { values }] of readable.entries()) rows.set(values, row * width * 4);
  return { rows, events: readable.map(({ event }) => event), error };
}
