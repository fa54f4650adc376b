/** Something that looks at the clock now and then. */
export interface Ticking {
  tick(nowMs: number): void;
}

/** Distance of ticks: how late a timeout of a connection can be. */
export const tickMs = 100;

const ticking = new Set<Ticking>();
let timer: NodeJS.Timeout | undefined;

/** Ticks every connection of the process from one timer, which does not keep the process alive. */
export function startTicking(one: Ticking): void {
  ticking.add(one);
  timer ??= setInterval(() => {
    const nowMs = performance.now();
    for (const each of ticking) each.tick(nowMs);
  }, tickMs).unref();
}

/** Ends the ticks of a connection. */
export function stopTicking(one: Ticking): void {
  ticking.delete(one);
  if (ticking.size > 0 || timer === undefined) return;
  clearInterval(timer);
  timer = undefined;
}
