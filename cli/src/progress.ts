/** Shows how far a long step is: a bar on a terminal, else one line when it starts and one when it ends. */
export interface Progress {
  /** `total` 0 while it is unknown. */
  update(done: number, total: number): void;
  end(summary?: string): void;
}

const width = 28;
const redrawMs = 80;

/** Begins a step. Everything goes to `stream` (default stderr), so that stdout stays for results. */
export function startProgress(label: string, stream: NodeJS.WriteStream = process.stderr): Progress {
  const start = performance.now();
  const seconds = () => ((performance.now() - start) / 1000).toFixed(1);
  if (!stream.isTTY) {
    stream.write(`${label} …\n`);
    return {
      update() {},
      end: (summary = "done") => void stream.write(`${label}: ${summary} (${seconds()} s)\n`),
    };
  }
  let last = 0;
  const draw = (done: number, total: number) => {
    const share = total > 0 ? Math.min(1, done / total) : 0;
    const filled = Math.round(share * width);
    const bar =
      total > 0
        ? `${"█".repeat(filled)}${"░".repeat(width - filled)} ${Math.round(share * 100)}%`
        : `${done.toLocaleString("en")}`;
    stream.write(`\r\u001b[K${label} ${bar}`);
  };
  draw(0, 0);
  return {
    update(done, total) {
      const now = performance.now();
      if (now - last < redrawMs) return;
      last = now;
      draw(done, total);
    },
    end: (summary = "done") => void stream.write(`\r\u001b[K${label}: ${summary} (${seconds()} s)\n`),
  };
}
