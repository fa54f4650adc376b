import { type Code, codeName } from "./code.ts";

/** A faulty field of a request. */
export interface FieldViolation {
  /** Path, for example "entities.card". */
  readonly field: string;
  /** What is wrong with it. */
  readonly description: string;
}

/** What a WeftError is made of. */
export interface WeftErrorInit {
  readonly code: Code;
  /** Stable, UPPER_SNAKE_CASE. */
  readonly reason: string;
  /** The service that raised it, for example "weft.ranking". */
  readonly domain: string;
  readonly message: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly retryAfterMs?: number | undefined;
  readonly violations?: readonly FieldViolation[] | undefined;
  readonly cause?: unknown;
}

/** The one error of Weft: a gRPC code, a stable reason in a domain, and facts. Its cause is logged and never sent. */
export class WeftError extends Error {
  override readonly name = "WeftError";
  readonly code: Code;
  readonly reason: string;
  readonly domain: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** Set where a retry can succeed: the least time to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  readonly violations: readonly FieldViolation[];

  constructor(init: WeftErrorInit) {
    super(init.message, init.cause === undefined ? undefined : { cause: init.cause });
    this.code = init.code;
    this.reason = init.reason;
    this.domain = init.domain;
    this.metadata = init.metadata ?? {};
    this.retryAfterMs = init.retryAfterMs;
    this.violations = init.violations ?? [];
  }

  override toString(): string {
    return `${codeName(this.code)} ${this.domain} ${this.reason}: ${this.message}`;
  }
}

/** Whether a value is a WeftError, whichever realm or copy of this module made it. */
export function isWeftError(value: unknown): value is WeftError {
  return (
    typeof value === "object" && value !== null && "name" in value && value.name === "WeftError" && "reason" in value
  );
}
