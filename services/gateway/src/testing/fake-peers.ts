import { Code, createErrors, type WeftError } from "@weft/errors";
import type { FakeClock } from "@weft/testkit";
import {
  type FeatureColumn,
  type FeatureMatrix,
  type FeatureRead,
  FeatureStatus,
  type IndexTarget,
  type ItemFilter,
  type Key,
  type ModelTarget,
  type Neighbors,
  type Peers,
} from "../domain/peers.ts";

const errors = createErrors("weft.fake", {
  DEADLINE_EXCEEDED: { code: Code.DeadlineExceeded, message: (_: Record<never, never>) => "late" },
  PEER_DOWN: { code: Code.Unavailable, message: (_: Record<never, never>) => "down" },
  QUEUE_FULL: { code: Code.ResourceExhausted, message: (_: Record<never, never>) => "full", retryAfterMs: 20 },
  RELEASE_NOT_LOADED: { code: Code.Unavailable, message: (_: Record<never, never>) => "not yet", retryAfterMs: 20 },
  MODEL_BROKEN: { code: Code.Internal, message: (_: Record<never, never>) => "broken" },
});

/** Ways in which a fake peer fails. */
export type Failure = keyof typeof errors;

/** What a fake peer does. */
export interface Behaviour {
  /** Time that it takes on the fake clock. */
  delayMs: number;
  failure: Failure | undefined;
}

/** One call that was made. */
export interface PeerCall {
  readonly peer: "matrix" | "columns" | "infer" | "search";
  readonly subject: string;
  readonly timeoutMs: number;
  readonly rows: number;
}

/** Peers on a fake clock: each call answers after its delay, fails as told, or is late by its own timeout. */
export class FakePeers implements Peers {
  readonly calls: PeerCall[] = [];
  readonly searches: { readonly filters: readonly ItemFilter[]; readonly excluded: readonly Key[] }[] = [];
  /** By peer ("matrix"), or peer and subject ("infer ranker"). */
  readonly behaviour = new Map<string, Partial<Behaviour>>();
  cancelled = false;
  /** Value of a feature in a row. */
  value: (reference: string, row: number) => number = () => 1;
  status: (reference: string, row: number) => number = () => FeatureStatus.Present;
  /** A column of a reference; undefined: numbers by `value`. */
  column: (reference: string, rows: number) => FeatureColumn | undefined = () => undefined;
  /** Output of a model for a row of features. */
  output: (model: string, row: readonly number[]) => readonly number[] = () => [0.25];
  found: (index: string) => Neighbors = () => ({ keys: [], similarities: [] });
  readonly #clock: FakeClock;

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  readMatrix(
    read: FeatureRead,
    keys: readonly (readonly Key[])[],
    _fields: readonly unknown[],
    _eventTimeUs: number,
    timeoutMs: number,
  ): Promise<FeatureMatrix> {
    const rows = Math.max(1, ...read.entities.map(({ position }) => keys[position]?.length ?? 0));
    return this.#answer("matrix", read.featureService, timeoutMs, rows, () => {
      const width = read.references.length;
      const values = new Uint8Array(rows * width * 4);
      const view = new DataView(values.buffer);
      const statuses = new Uint8Array(rows * width);
      for (let row = 0; row < rows; row++)
        for (const [column, reference] of read.references.entries()) {
          view.setFloat32((row * width + column) * 4, this.value(reference, row), true);
          statuses[row * width + column] = this.status(reference, row);
        }
      return { rows, values, statuses };
    });
  }

  readColumns(
    read: FeatureRead,
    keys: readonly (readonly Key[])[],
    _fields: readonly unknown[],
    _eventTimeUs: number,
    timeoutMs: number,
  ): Promise<readonly FeatureColumn[]> {
    const rows = Math.max(1, ...read.entities.map(({ position }) => keys[position]?.length ?? 0));
    return this.#answer("columns", read.references.join(" "), timeoutMs, rows, () =>
      read.references.map(
        (reference) =>
          this.column(reference, rows) ?? {
            values: Array.from({ length: rows }, (_, row) => this.value(reference, row)),
            statuses: Array.from({ length: rows }, (_, row) => this.status(reference, row)),
          },
      ),
    );
  }

  infer(model: ModelTarget, rows: number, features: Uint8Array, timeoutMs: number): Promise<Float32Array> {
    return this.#answer("infer", model.name, timeoutMs, rows, () => {
      const view = new DataView(features.buffer, features.byteOffset, features.byteLength);
      const output: number[] = [];
      for (let row = 0; row < rows; row++)
        output.push(
          ...this.output(
            model.name,
            Array.from({ length: model.features }, (_, column) =>
              view.getFloat32((row * model.features + column) * 4, true),
            ),
          ),
        );
      return Float32Array.from(output);
    });
  }

  search(
    target: IndexTarget,
    _embedding: Float32Array,
    count: number,
    filters: readonly ItemFilter[],
    excluded: readonly Key[],
    timeoutMs: number,
  ): Promise<Neighbors> {
    this.searches.push({ filters, excluded });
    return this.#answer("search", target.index, timeoutMs, count, () => {
      const { keys, similarities } = this.found(target.index);
      return { keys: keys.slice(0, count), similarities: similarities.slice(0, count) };
    });
  }

  #answer<T>(peer: PeerCall["peer"], subject: string, timeoutMs: number, rows: number, make: () => T): Promise<T> {
    this.calls.push({ peer, subject, timeoutMs, rows });
    const behaviour = { ...this.behaviour.get(peer), ...this.behaviour.get(`${peer} ${subject}`) };
    const { delayMs = 0, failure } = behaviour;
    const fail = (reason: Failure): WeftError => errors[reason]({});
    return new Promise((resolve, reject) => {
      const finish = () => (failure === undefined ? resolve(make()) : reject(fail(failure)));
      if (delayMs > timeoutMs) this.#clock.setTimer(timeoutMs, () => reject(fail("DEADLINE_EXCEEDED")));
      else if (delayMs > 0) this.#clock.setTimer(delayMs, finish);
      else finish();
    });
  }
}
