import { feature } from "@weft/contracts";
import type { Handlers } from "@weft/rpc";
import type { Source, Value } from "@weft/scenario";
import type { Ingest } from "./domain/ingest/ingest.ts";
import { createJsonEventReader, type EventBounds, EventFault } from "./domain/ingest/json-event.ts";
import type { EventContent, Quarantine, QuarantinedEvent } from "./domain/ingest/quarantine.ts";
import type { FeatureRelease } from "./domain/views/feature-release.ts";
import { type SourceRow, sourceFields } from "./domain/views/view-state.ts";
import { errors } from "./errors.ts";
import { timestamp } from "./timestamps.ts";

type QuarantineHandlers = Pick<Handlers<typeof feature.FeatureService>, "listQuarantine" | "resolveQuarantine">;

/** What the quarantine's handlers work with. */
export interface QuarantineServiceOptions {
  /** A loaded release of a scenario; the champion when `release` is "". */
  resolve(scenario: string, release: string): FeatureRelease;
  readonly quarantine: Quarantine;
  readonly ingest: Ingest;
  readonly bounds: EventBounds;
  /** Microseconds since 1970. */
  nowUs(): number;
}

const pageSizeMax = 1_000;
const pageSizeDefault = 100;
const idsMax = 1_000;
const contentCharactersMax = 4_096;

/** Handlers of `ListQuarantine` and `ResolveQuarantine`. */
export function createQuarantineHandlers(options: QuarantineServiceOptions): QuarantineHandlers {
  const { quarantine, ingest } = options;

  /** Takes events in, those that can be read; answers their numbers. */
  const replay = async (events: readonly QuarantinedEvent[], release: FeatureRelease, source: Source) => {
    const read = readerOf(release, source, options);
    const taken: number[] = [];
    for (const { id, origin, content } of events) {
      const own = content === undefined ? undefined : read(content);
      if (own === undefined) continue;
      await ingest.push({
        scenario: release.scenario.name,
        source: source.name,
        // The same event again is the same push, should this be cut short before it is forgotten here.
        requestId: `quarantine/${origin}`,
        receivedUs: options.nowUs(),
        ...own,
      });
      taken.push(id);
    }
    return taken;
  };

  return {
    async listQuarantine(request, context) {
      const { scenario } = options.resolve(request.scenario, context.release);
      const pageSize = request.pageSize === 0 ? pageSizeDefault : request.pageSize;
      if (pageSize < 1 || pageSize > pageSizeMax)
        throw errors.REQUEST_INVALID({ fault: `page_size must be 1 to ${pageSizeMax}` });
      if (!/^\d{0,15}$/.test(request.pageToken)) throw errors.PAGE_TOKEN_INVALID({});
      const events =
        request.source === ""
          ? []
          : await quarantine.list(
              { scenario: scenario.name, source: request.source, reason: request.reason || undefined },
              Number(request.pageToken),
              pageSize,
            );
      const summaries = await quarantine.summarize(scenario.name);
      return {
        summaries: summaries.map(({ source, reason, count, kept, firstTimeUs, lastTimeUs }) => ({
          source,
          reason,
          count: BigInt(count),
          keptCount: BigInt(kept),
          firstTime: timestamp(firstTimeUs),
          lastTime: timestamp(lastTimeUs),
        })),
        events: events.map(({ id, reason, detail, origin, timeUs, content }) => ({
          id: BigInt(id),
          reason,
          detail,
          origin,
          time: timestamp(timeUs),
          content: content === undefined ? "" : contentText(content).slice(0, contentCharactersMax),
        })),
        nextPageToken: events.length < pageSize ? "" : String(events.at(-1)?.id ?? ""),
      };
    },

    async resolveQuarantine(request, context) {
      const release = options.resolve(request.scenario, context.release);
      const source = release.sources.get(request.source);
      if (source === undefined)
        throw errors.SOURCE_UNKNOWN({ source: request.source, scenario: release.scenario.name });
      const { REPLAY, DROP } = feature.ResolveQuarantineRequest_Action;
      if (request.action !== REPLAY && request.action !== DROP)
        throw errors.REQUEST_INVALID({ fault: "action must be REPLAY or DROP" });
      if (request.ids.length > idsMax)
        throw errors.REQUEST_INVALID({ fault: `${request.ids.length} ids; at most ${idsMax} a request` });
      const wanted = new Set(request.ids.map(Number));
      const filter = {
        scenario: release.scenario.name,
        source: source.name,
        reason: request.reason || undefined,
      };
      let after = 0;
      let resolved = 0;
      let kept = 0;
      while (true) {
        const page = await quarantine.list(filter, after, pageSizeMax);
        const last = page.at(-1);
        if (last === undefined) break;
        after = last.id;
        const events = page.filter(({ id }) => wanted.size === 0 || wanted.has(id));
        const done = request.action === DROP ? events.map(({ id }) => id) : await replay(events, release, source);
        await quarantine.remove(done);
        resolved += done.length;
        kept += events.length - done.length;
      }
      return { resolvedCount: BigInt(resolved), keptCount: BigInt(kept) };
    },
  };
}

/** Reads an event by the source as it is defined now; undefined where that cannot be done. */
function readerOf(release: FeatureRelease, source: Source, { bounds, nowUs }: QuarantineServiceOptions) {
  const views = [...release.views.values()].filter(({ compiled }) => compiled.view.source.name === source.name);
  const keyFields = new Set(views.flatMap(({ compiled }) => compiled.view.entities.map(({ field }) => field)));
  const read = createJsonEventReader(source, keyFields, bounds);
  const fields = sourceFields(source).map(({ name }) => name);
  return (content: EventContent): { fields: readonly string[]; rows: readonly SourceRow[] } | undefined => {
    if (content.kind === "row") return { fields: content.fields, rows: [content.row] };
    try {
      return { fields, rows: [read(content.bytes, nowUs(), nowUs())] };
    } catch (fault) {
      if (fault instanceof EventFault) return undefined;
      throw fault;
    }
  };
}

function contentText(content: EventContent): string {
  if (content.kind === "message") return new TextDecoder().decode(content.bytes.subarray(0, 4 * contentCharactersMax));
  const { fields, row } = content;
  return JSON.stringify({
    event_time_us: row.eventTimeUs,
    ...Object.fromEntries(fields.map((name, index) => [name, shown(row.values[index] ?? null)])),
  });
}

function shown(value: Value): unknown {
  if (typeof value === "bigint") return String(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (value instanceof Float32Array) return [...value];
  return typeof value === "object" && value !== null ? value.map(String) : value;
}
