/** Something that must be over by a time. */
export interface Timed {
  /** Epoch milliseconds. */
  readonly deadlineMs: number;
  /** The slot it waits in, -1 while it does not, and its place there. The wheel's to set. */
  wheelSlot: number;
  wheelPlace: number;
  /** Its time has come. */
  expired(): void;
}

/** Distance of slots in milliseconds: how late a deadline is noticed at most. */
const slotMs = 4;
/** A power of two. */
const slotCount = 512;

/**
 * Deadlines of many calls on one timer. Slots are arrays from which entries are taken out by putting the last in their
 * place: sets leave tables behind whose dead entries keep young calls alive until the next full collection.
 */
export class DeadlineWheel {
  readonly #slots: Timed[][] = Array.from({ length: slotCount }, () => []);
  #size = 0;
  #timer: NodeJS.Timeout | undefined = undefined;
  #turned = 0;
  readonly #turn = () => this.#advance();

  /** Deadlines that are waited for. */
  get size(): number {
    return this.#size;
  }

  /** Waits for a deadline; one that is never costs nothing. */
  add(timed: Timed): void {
    if (timed.deadlineMs === Number.POSITIVE_INFINITY) return;
    if (this.#timer === undefined) {
      this.#turned = Math.floor(Date.now() / slotMs);
      this.#timer = setTimeout(this.#turn, slotMs);
    }
    // Never a slot that has been passed.
    const slot = Math.max(Math.ceil(timed.deadlineMs / slotMs), this.#turned + 1) & (slotCount - 1);
    const entries = this.#slots[slot] as Timed[];
    timed.wheelSlot = slot;
    timed.wheelPlace = entries.length;
    entries.push(timed);
    this.#size++;
  }

  /** Waits no more. */
  remove(timed: Timed): void {
    if (timed.wheelSlot === -1) return;
    const entries = this.#slots[timed.wheelSlot] as Timed[];
    const last = entries.pop();
    if (last !== undefined && last !== timed) {
      entries[timed.wheelPlace] = last;
      last.wheelPlace = timed.wheelPlace;
    }
    timed.wheelSlot = -1;
    this.#size--;
  }

  #advance(): void {
    const nowMs = Date.now();
    const until = Math.floor(nowMs / slotMs);
    // After a long pause each slot is looked at once.
    if (until - this.#turned > slotCount) this.#turned = until - slotCount;
    while (this.#turned < until) {
      this.#turned++;
      const slot = this.#slots[this.#turned & (slotCount - 1)];
      if (slot === undefined || slot.length === 0) continue;
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
