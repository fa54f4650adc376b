/** Something that must be over by a time. */
export interface Timed {
  /** Epoch milliseconds. */
  readonly deadlineMs: number;
  /** The slot it waits in; -1 while it does not. The wheel's to set. */
  wheelSlot: number;
  /** Its time has come. */
  expired(): void;
}

/** Distance of slots in milliseconds: how late a deadline is noticed at most. */
const slotMs = 4;
/** A power of two. */
const slotCount = 512;

/** Deadlines of many calls on one timer: a call that ends in time costs two operations on a set. */
export class DeadlineWheel {
  readonly #slots = Array.from({ length: slotCount }, () => new Set<Timed>());
  #size = 0;
  #timer: NodeJS.Timeout | undefined = undefined;
  #turned = 0;
  readonly #turn = () => this.#advance();

  /** Waits for a deadline; one that is never costs nothing. */
  add(timed: Timed): void {
    if (timed.deadlineMs === Number.POSITIVE_INFINITY) return;
    if (this.#timer === undefined) {
      this.#turned = Math.floor(Date.now() / slotMs);
      this.#timer = setTimeout(this.#turn, slotMs);
    }
    // Never a slot that has been passed.
    const slot = Math.max(Math.ceil(timed.deadlineMs / slotMs), this.#turned + 1) & (slotCount - 1);
    timed.wheelSlot = slot;
    this.#slots[slot]?.add(timed);
    this.#size++;
  }

  /** Waits no more. */
  remove(timed: Timed): void {
    if (timed.wheelSlot === -1) return;
    if (this.#slots[timed.wheelSlot]?.delete(timed) === true) this.#size--;
    timed.wheelSlot = -1;
  }

  #advance(): void {
    const nowMs = Date.now();
    const until = Math.floor(nowMs / slotMs);
    // After a long pause each slot is looked at once.
    if (until - this.#turned > slotCount) this.#turned = until - slotCount;
    while (this.#turned < until) {
      this.#turned++;
      const slot = this.#slots[this.#turned & (slotCount - 1)];
      if (slot === undefined || slot.size === 0) continue;
      for (const timed of [...slot]) {
        if (timed.deadlineMs > nowMs) continue;
        this.remove(timed);
        timed.expired();
      }
    }
    this.#timer = this.#size > 0 ? setTimeout(this.#turn, slotMs) : undefined;
  }
}

/** The deadlines of this process's calls. */
export const deadlines = new DeadlineWheel();
