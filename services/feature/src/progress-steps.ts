/** Thins progress out to a message a half percent. */
export class ProgressSteps {
  #last = -1;
  #subject = "";

  /** Whether a message is due at this much of a total; a new subject always is. */
  due(done: number, total: number, subject: string): boolean {
    const share = total === 0 ? 0 : Math.floor((done / total) * 200);
    if (share === this.#last && subject === this.#subject) return false;
    this.#last = share;
    this.#subject = subject;
    return true;
  }
}
