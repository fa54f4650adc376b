import type { Signature, Tensor } from "./signature.ts";

/**
 * A loaded model. `run` may answer at once (a light model, inline) or later (a heavy one, on another thread); the caller
 * starts no second run before the first has answered, and leaves the inputs alone until then.
 */
export interface ModelSession {
  readonly signature: Signature;
  /** Runs the model on one tensor an input, in the signature's order; answers one an output, in its order. */
  run(inputs: readonly Tensor[]): readonly Tensor[] | Promise<readonly Tensor[]>;
  close(): void | Promise<void>;
}
