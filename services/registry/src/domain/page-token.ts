import { errors } from "../errors.ts";

/**
 * Tokens that name a position in a list. A token goes on with the list and the scenario it was made for, and with no
 * other; callers see text without meaning.
 */
export function encodePageToken(list: string, scenario: string, before: number): string {
  return Buffer.from(JSON.stringify([1, list, scenario, before])).toString("base64url");
}

/** The position of a token; undefined for "". Throws PAGE_TOKEN_INVALID. */
export function decodePageToken(list: string, scenario: string, token: string): number | undefined {
  if (token === "") return undefined;
  if (token.length <= 512) {
    const before = position(token, list, scenario);
    if (before !== undefined && encodePageToken(list, scenario, before) === token) return before;
  }
  throw errors.PAGE_TOKEN_INVALID({ list });
}

function position(token: string, list: string, scenario: string): number | undefined {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(token, "base64url").toString());
    if (!Array.isArray(parsed) || parsed[0] !== 1 || parsed[1] !== list || parsed[2] !== scenario) return undefined;
    const before: unknown = parsed[3];
    return typeof before === "number" && Number.isSafeInteger(before) && before > 0 ? before : undefined;
  } catch {
    return undefined;
  }
}
