const name = /^[a-z][a-z0-9_-]{0,62}$/;
const digest = /^[0-9a-f]{64}$/;
const version = /^[1-9][0-9]{0,8}$/;

/** The one rule of names (scenarios, models, views, indexes), as an error shows it. */
export const nameRule = "a lower-case letter, then at most 62 lower-case letters, digits, _ and -";

/** Whether a text names a scenario, model, view or index. */
export function isName(text: string): boolean {
  return name.test(text);
}

/** Whether a text is a sha256: 64 lower-case hex digits. */
export function isDigest(text: string): boolean {
  return digest.test(text);
}

/** Whether a text is a version: a whole number from 1 to 999,999,999 without leading zeros. */
export function isVersion(text: string): boolean {
  return version.test(text);
}
