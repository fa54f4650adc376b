import type { FieldViolation } from "@weft/errors";

/** Violations of one request that are named; further ones are counted only. */
const namedMax = 32;

/** Collects what is wrong with a request, so that all of it is said at once. */
export class Faults {
  #violations: FieldViolation[] | undefined;
  #count = 0;

  /** `field`: path in the request, for example "entities.card". */
  add(field: string, description: string): void {
    this.#count += 1;
    if (this.#count > namedMax) return;
    this.#violations ??= [];
    this.#violations.push({ field, description });
  }

  get none(): boolean {
    return this.#count === 0;
  }

  get violations(): readonly FieldViolation[] {
    return this.#violations ?? [];
  }

  /** One line for a person. */
  toString(): string {
    const named = this.violations.map(({ field, description }) => `${field} ${description}`).join("; ");
    return this.#count > namedMax ? `${named}; and ${this.#count - namedMax} more` : named;
  }
}
