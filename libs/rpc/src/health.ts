import { health } from "@weft/contracts";
import { Code, createErrors } from "@weft/errors";
import type { Handlers } from "./handlers.ts";

const errors = createErrors("weft.health", {
  SERVICE_UNKNOWN: {
    code: Code.NotFound,
    message: (m: { service: string }) => `this server has no service "${m.service}"`,
  },
});

const Status = health.HealthCheckResponse_ServingStatus;

/** Whether each service of a server can answer now. "" stands for the whole server: serving when all are. */
export class HealthState {
  readonly #serving = new Map<string, boolean>();
  readonly #watchers = new Set<() => void>();
  #ended = false;

  /** Whether the server is going: watches end once they have sent their last status. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Ends every watch, so that a draining server does not wait for them. */
  end(): void {
    this.#ended = true;
    for (const notify of [...this.#watchers]) notify();
  }

  /** Sets a service's health. */
  set(service: string, serving: boolean): void {
    if (this.#serving.get(service) === serving) return;
    this.#serving.set(service, serving);
    for (const notify of [...this.#watchers]) notify();
  }

  /** The health of a service; undefined where the server has no such service. */
  get(service: string): boolean | undefined {
    if (service !== "") return this.#serving.get(service);
    return this.#serving.size > 0 && [...this.#serving.values()].every((serving) => serving);
  }

  /** Every service with its health. */
  entries(): readonly (readonly [string, boolean])[] {
    return [["", this.get("") ?? false], ...this.#serving];
  }

  /** Calls back after each change; answers how to stop. */
  watch(notify: () => void): () => void {
    this.#watchers.add(notify);
    return () => this.#watchers.delete(notify);
  }
}

function statusOf(serving: boolean | undefined) {
  if (serving === undefined) return { status: Status.SERVICE_UNKNOWN };
  return { status: serving ? Status.SERVING : Status.NOT_SERVING };
}

/** The standard health service over a state. */
export function createHealthHandlers(state: HealthState): Handlers<typeof health.Health> {
  return {
    check({ service }) {
      const serving = state.get(service);
      if (serving === undefined) throw errors.SERVICE_UNKNOWN({ service });
      return statusOf(serving);
    },
    list() {
      return {
        statuses: Object.fromEntries(state.entries().map(([service, serving]) => [service, statusOf(serving)])),
      };
    },
    async *watch({ service }, context) {
      let last: number | undefined;
      let wake = () => {};
      const unwatch = state.watch(() => wake());
      const unsubscribe = context.onCancel(() => wake());
      try {
        while (context.cancelled === undefined) {
          const changed = new Promise<void>((resolve) => {
            wake = resolve;
          });
          const now = statusOf(state.get(service));
          if (now.status !== last) {
            last = now.status;
            yield now;
          } else if (state.ended) return;
          else await changed;
        }
      } finally {
        unwatch();
        unsubscribe();
      }
    },
  };
}
