import { errors } from "../errors.ts";

/** A value of an attribute. */
export type AttributeScalar = number | bigint | string | boolean | null;

/** Type of a column's values; "empty" where all are null. */
export type AttributeType = "number" | "integer" | "text" | "flag" | "empty";

/** Keeps the items whose attribute equals one of `anyOf` (when there are some) and lies within the bounds. */
export interface AttributeCondition {
  readonly attribute: string;
  readonly anyOf: readonly AttributeScalar[];
  readonly atLeast: number | undefined;
  readonly atMost: number | undefined;
}

/** The type of a value. */
export function attributeType(value: AttributeScalar): AttributeType {
  switch (typeof value) {
    case "number":
      return "number";
    case "bigint":
      return "integer";
    case "string":
      return "text";
    case "boolean":
      return "flag";
    default:
      return "empty";
  }
}

/**
 * One attribute of every item, as codes into a dictionary of its different values: a condition is decided once a
 * value, whatever its type, and then read off the codes.
 */
export class AttributeColumn {
  readonly name: string;
  readonly type: AttributeType;
  /** Different values; the first is null. */
  readonly dictionary: readonly AttributeScalar[];
  /** Position in the dictionary, one an item. */
  readonly codes: Uint32Array;

  constructor(name: string, dictionary: readonly AttributeScalar[], codes: Uint32Array) {
    this.name = name;
    this.dictionary = dictionary;
    this.codes = codes;
    const first = dictionary.find((value) => value !== null);
    this.type = first === undefined ? "empty" : attributeType(first);
  }

  value(row: number): AttributeScalar {
    return this.dictionary[this.codes[row] ?? 0] ?? null;
  }

  /** 1 for each dictionary entry that meets the condition. Throws FILTER_INVALID where the types do not fit. */
  matches(condition: AttributeCondition): Uint8Array {
    const { anyOf, atLeast, atMost, attribute } = condition;
    const bounded = atLeast !== undefined || atMost !== undefined;
    const numeric = this.type === "number" || this.type === "integer";
    const invalid = (problem: string) => errors.FILTER_INVALID({ attribute, problem });
    if (bounded && !numeric && this.type !== "empty") throw invalid(`a ${this.type} attribute has no order`);
    const wanted = new Set<AttributeScalar>();
    for (const value of anyOf) {
      const type = attributeType(value);
      const fits =
        type === this.type ||
        type === "empty" ||
        this.type === "empty" ||
        (numeric && (type === "number" || type === "integer"));
      if (!fits) throw invalid(`a ${this.type} attribute cannot equal a ${type}`);
      wanted.add(canonical(value));
    }
    const matched = new Uint8Array(this.dictionary.length);
    for (const [code, value] of this.dictionary.entries()) {
      if (anyOf.length > 0 && !wanted.has(canonical(value))) continue;
      if (bounded) {
        // A bigint compares with a number exactly; null is in no range.
        if (typeof value !== "number" && typeof value !== "bigint") continue;
        if (atLeast !== undefined && value < atLeast) continue;
        if (atMost !== undefined && value > atMost) continue;
      }
      matched[code] = 1;
    }
    return matched;
  }
}

/** One representation for numbers that are equal whatever their type. */
function canonical(value: AttributeScalar): AttributeScalar {
  return typeof value === "number" && Number.isInteger(value) ? BigInt(value) : value;
}

/** Collects a column value by value. */
export class AttributeColumnBuilder {
  readonly name: string;
  private readonly dictionary: AttributeScalar[] = [null];
  private readonly codeOf = new Map<AttributeScalar, number>([[null, 0]]);
  private readonly codes: number[] = [];
  private type: AttributeType = "empty";

  constructor(name: string) {
    this.name = name;
  }

  /** Adds the next item's value; answers what is wrong with it. */
  add(value: AttributeScalar): string | undefined {
    const type = attributeType(value);
    if (type !== "empty") {
      if (this.type === "empty") this.type = type;
      if (type !== this.type) return `attribute "${this.name}" is ${this.type}, not ${type}`;
      if (typeof value === "number" && !Number.isFinite(value)) return `attribute "${this.name}" is not finite`;
    }
    let code = this.codeOf.get(value);
    if (code === undefined) {
      code = this.dictionary.length;
      this.dictionary.push(value);
      this.codeOf.set(value, code);
    }
    this.codes.push(code);
    return undefined;
  }

  build(): AttributeColumn {
    return new AttributeColumn(this.name, this.dictionary, Uint32Array.from(this.codes));
  }
}
