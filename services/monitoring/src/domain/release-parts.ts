import type { Reference } from "./reference.ts";

/** A model version of a release, as far as monitoring needs it. */
export interface ModelParts {
  readonly name: string;
  readonly version: string;
  /** Feature references in the order of a row's columns. */
  readonly features: readonly string[];
  /** What the model saw in training; absent where it was registered without. */
  readonly reference?: Reference;
  /** Why the registered reference cannot be used, where it cannot. */
  readonly referenceFault?: string;
}

/** An immutable release, as far as monitoring needs it. */
export interface ReleaseParts {
  readonly releaseId: string;
  readonly scenario: string;
  readonly models: readonly ModelParts[];
}
