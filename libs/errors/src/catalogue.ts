import type { Code } from "./code.ts";
import { type FieldViolation, WeftError } from "./weft-error.ts";

/** One reason of a catalogue: its code, its text from facts, and when a retry can help. */
export interface ReasonDefinition<Facts> {
  readonly code: Code;
  readonly message: (facts: Facts) => string;
  /** Least time before a retry, in milliseconds; absent where a retry cannot help. */
  readonly retryAfterMs?: number;
}

/** What can be added where the error is raised. */
export interface RaiseOptions {
  readonly cause?: unknown;
  readonly retryAfterMs?: number;
  readonly violations?: readonly FieldViolation[];
}

type Facts = Readonly<Record<string, string | number | bigint | boolean>>;

/** Makes an error of one reason. */
export type Raise<F> = (facts: F, options?: RaiseOptions) => WeftError;

/** A function a reason, under the reason's name. */
export type Catalogue<R> = { readonly [K in keyof R]: R[K] extends ReasonDefinition<infer F> ? Raise<F> : never };

/**
 * The errors that one service may raise, in one place. The facts given to a reason become the text and the metadata of
 * the error.
 *
 *     const errors = createErrors("weft.feature", {
 *       VIEW_NOT_FOUND: { code: Code.NotFound, message: (m: { view: string }) => `no view "${m.view}"` },
 *     });
 *     throw errors.VIEW_NOT_FOUND({ view });
 */
export function createErrors<R extends Record<string, ReasonDefinition<never>>>(
  domain: string,
  reasons: R,
): Catalogue<R> {
  const catalogue: Record<string, Raise<Facts>> = {};
  for (const [reason, definition] of Object.entries(reasons)) {
    const { code, message, retryAfterMs } = definition as ReasonDefinition<Facts>;
    catalogue[reason] = (facts, options = {}) =>
      new WeftError({
        code,
        reason,
        domain,
        message: message(facts),
        metadata: Object.fromEntries(Object.entries(facts).map(([key, value]) => [key, String(value)])),
        retryAfterMs: options.retryAfterMs ?? retryAfterMs,
        violations: options.violations,
        cause: options.cause,
      });
  }
  return catalogue as Catalogue<R>;
}
