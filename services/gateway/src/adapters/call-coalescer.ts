import { Code, isWeftError } from "@weft/errors";
import { errors } from "../errors.ts";
import type { PeerScope } from "./peer-scope.ts";

/** How calls of one kind are made together. */
export interface CoalescerOptions<Target, Item, Answer> {
  /** What is called, for errors. */
  readonly method: string;
  /** Items of one call. */
  readonly itemsMax: number;
  /** Calls back when the items that belong together are in. */
  readonly schedule: (flush: () => void) => void;
  /** Milliseconds on a clock that never goes back. */
  readonly nowMs: () => number;
  /** One call for all items of a target: one answer an item, in order. */
  readonly call: (
    target: Target,
    items: readonly Item[],
    scope: PeerScope,
    timeoutMs: number,
  ) => Promise<readonly Answer[]>;
}

interface Member<Item, Answer> {
  readonly item: Item;
  readonly scope: PeerScope;
  readonly timeoutMs: number;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

interface Group<Target, Item, Answer> {
  readonly target: Target;
  readonly members: Member<Item, Answer>[];
  /** Of the member with the least. */
  timeoutMs: number;
}

/** Members' timeouts differ by this factor at most: what the one with the least costs the others. */
const timeoutSpread = 1.25;

/** Failures that are the peer's, so that each of the members would meet them alone too. */
const shared: ReadonlySet<Code> = new Set([
  Code.Unavailable,
  Code.DeadlineExceeded,
  Code.ResourceExhausted,
  Code.Cancelled,
  Code.Aborted,
]);

/**
 * Makes one call of what the requests of one turn of the event loop ask of a peer: under load a hop is paid once for many
 * requests, and a request that is alone is sent as it is. Requests share a call only where tenant, priority, arm and
 * release are the same and their timeouts are close. A traced request goes alone, so that its trace has its own hops. A
 * call that fails for what one of its items may be is repeated item by item; a peer that is down or sheds fails all.
 */
export class CallCoalescer<Target extends object, Item, Answer> {
  readonly #options: CoalescerOptions<Target, Item, Answer>;
  /** Groups that still take members, at most one a target and identity. */
  #open: Group<Target, Item, Answer>[] = [];
  #scheduled = false;
  readonly #flush = () => {
    this.#scheduled = false;
    const groups = this.#open;
    this.#open = [];
    for (const group of groups) this.#send(group);
  };

  constructor(options: CoalescerOptions<Target, Item, Answer>) {
    this.#options = options;
  }

  /** Asks for one item. Rejects as the call does, or with CANCELLED where its request has ended before the call. */
  submit(target: Target, item: Item, scope: PeerScope, timeoutMs: number): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const member = { item, scope, timeoutMs, resolve, reject };
      if (this.#options.itemsMax === 1 || scope.parent?.trace.sampled === true) {
        this.#alone(target, member, timeoutMs);
        return;
      }
      const group = this.#groupOf(target, member);
      group.members.push(member);
      if (timeoutMs < group.timeoutMs) group.timeoutMs = timeoutMs;
      if (group.members.length >= this.#options.itemsMax) {
        this.#open = this.#open.filter((open) => open !== group);
        this.#send(group);
      }
      if (this.#scheduled) return;
      this.#scheduled = true;
      this.#options.schedule(this.#flush);
    });
  }

  #groupOf(target: Target, { scope, timeoutMs }: Member<Item, Answer>): Group<Target, Item, Answer> {
    for (const group of this.#open) {
      const [first] = group.members;
      if (group.target !== target || first === undefined || !sameIdentity(first.scope, scope)) continue;
      if (timeoutMs <= first.timeoutMs * timeoutSpread && first.timeoutMs <= timeoutMs * timeoutSpread) return group;
    }
    const group = { target, members: [], timeoutMs };
    this.#open.push(group);
    return group;
  }

  #alone(target: Target, { item, scope, resolve, reject }: Member<Item, Answer>, timeoutMs: number): void {
    this.#options.call(target, [item], scope, timeoutMs).then(([answer]) => resolve(answer as Answer), reject);
  }

  #send(group: Group<Target, Item, Answer>): void {
    const { call, nowMs, method } = this.#options;
    const { target, timeoutMs } = group;
    const members = group.members.filter(({ scope, reject }) => {
      if (scope.parent?.cancelled === undefined) return true;
      reject(errors.CANCELLED({ method }));
      return false;
    });
    const [first] = members;
    if (first === undefined) return;
    if (members.length === 1) {
      this.#alone(target, first, first.timeoutMs);
      return;
    }
    const startMs = nowMs();
    const items = members.map(({ item }) => item);
    call(target, items, jointScope(first.scope), timeoutMs).then(
      (answers) => {
        for (let i = 0; i < members.length; i++) members[i]?.resolve(answers[i] as Answer);
      },
      (error: unknown) => {
        const elapsedMs = nowMs() - startMs;
        const isShared = isWeftError(error) && shared.has(error.code);
        for (const member of members) {
          const leftMs = member.timeoutMs - elapsedMs;
          if (isShared || leftMs <= 0) member.reject(error);
          else this.#alone(target, member, leftMs);
        }
      },
    );
  }
}

function sameIdentity(a: PeerScope, b: PeerScope): boolean {
  return (
    a.release === b.release &&
    (a.priority ?? a.parent?.priority ?? 0) === (b.priority ?? b.parent?.priority ?? 0) &&
    (a.parent?.tenant ?? "") === (b.parent?.tenant ?? "") &&
    (a.parent?.arm ?? "") === (b.parent?.arm ?? "")
  );
}

/** On behalf of many requests: what they share of their identity, and the first one's id. No one's end ends it. */
function jointScope({ parent, release, requestId, priority }: PeerScope): PeerScope {
  return {
    parent: undefined,
    release,
    requestId,
    priority: priority ?? parent?.priority ?? 0,
    tenant: parent?.tenant ?? "",
    arm: parent?.arm ?? "",
  };
}
