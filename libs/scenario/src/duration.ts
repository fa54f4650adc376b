const unitsMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** A length of time as a user writes it: an integer and one of ms, s, m, h, d, for example "5m" or "24h". */
export type DurationText = `${number}${keyof typeof unitsMs}`;

/** Milliseconds of a duration, or undefined where the text is not one. */
export function parseDurationMs(text: string): number | undefined {
  const match = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text);
  if (match === null) return undefined;
  return Number(match[1]) * unitsMs[match[2] as keyof typeof unitsMs];
}

/** Milliseconds of a duration that validation has accepted; throws RangeError on any other text. */
export function durationMs(text: string): number {
  const ms = parseDurationMs(text);
  if (ms === undefined) throw new RangeError(`"${text}" is not a duration such as "5m" or "24h"`);
  return ms;
}
