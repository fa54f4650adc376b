/** A place in a user's file. */
export interface Site {
  /** Absolute path. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

/** The place that called `define`, read from the stack, so that a fault can name its file and line. */
export function callSite(define: (...input: never[]) => unknown): Site {
  const holder: { stack?: string } = {};
  Error.captureStackTrace(holder, define);
  const frame = holder.stack?.split("\n").find((line) => line.startsWith("    at "));
  const match = frame === undefined ? null : /\(?((?:file:\/\/)?\/[^()]*):(\d+):\d+\)?$/.exec(frame);
  if (match === null) return { file: "", line: 0 };
  const file = match[1] ?? "";
  return { file: file.startsWith("file://") ? decodeURIComponent(file.slice(7)) : file, line: Number(match[2]) };
}
