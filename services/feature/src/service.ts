import { createHash } from "node:crypto";
import { serialize } from "node:v8";
import { feature } from "@weft/contracts";
import { isWeftError } from "@weft/errors";
import type { CallContext, Handlers } from "@weft/rpc";
import type { Source } from "@weft/scenario";
import { columnFault, columnLength, columnTarget, fieldFault, filledColumn, readColumn } from "./columns.ts";
import { definitionsOf } from "./definitions.ts";
import type { PushedEvents } from "./domain/ingest/event-log.ts";
import type { Ingest } from "./domain/ingest/ingest.ts";
import type { OnlineStore } from "./domain/online/online-store.ts";
import { decodeKey, type EntityKey, encodeKey, keyBytesMax } from "./domain/views/entity-key.ts";
import type { FeatureRelease } from "./domain/views/feature-release.ts";
import type { PlanEntity, PlanRun, ReadPlan, ViewSummary } from "./domain/views/read-plan.ts";
import { type SourceRow, Status, sourceFields } from "./domain/views/view-state.ts";
import { errors } from "./errors.ts";
import type { FeatureMetrics, ViewMetrics } from "./metrics.ts";
import type { PushExpectations } from "./push-expectations.ts";
import { microseconds } from "./timestamps.ts";

type OnlineHandlers = Pick<
  Handlers<typeof feature.FeatureService>,
  "getOnlineFeatures" | "getDefinitions" | "push" | "listEntityKeys"
>;

/** What the online handlers work with. */
export interface OnlineServiceOptions {
  /** A loaded release of a scenario; the champion when `release` is "". */
  resolve(scenario: string, release: string): FeatureRelease;
  readonly store: OnlineStore;
  readonly ingest: Ingest;
  readonly metrics: FeatureMetrics;
  readonly expectations: PushExpectations;
  /** Microseconds since 1970. */
  nowUs(): number;
  readonly limits: {
    readonly rowsMax: number;
    readonly featuresMax: number;
    readonly pushRowsMax: number;
    readonly valueBytesMax: number;
    readonly futureToleranceMs: number;
  };
}

/** Share of the reads whose store time and freshness are measured: one in this many. */
const sampleEvery = 16;
const requestIdBytesMax = 128;
/** Most values of a matrix: 20 MB with their statuses. */
const matrixValuesMax = 4_000_000;
const pageSizeMax = 10_000;
const pageSizeDefault = 1_000;

/** Handlers of the online half: `GetOnlineFeatures`, `GetDefinitions`, `Push` and `ListEntityKeys`. */
export function createOnlineHandlers(options: OnlineServiceOptions): OnlineHandlers {
  const { store, ingest, metrics, limits } = options;
  const viewMetrics = new Map<string, ViewMetrics>();
  let reads = 0;

  const metricsOf = (scenario: string, view: string): ViewMetrics => {
    const key = `${scenario}/${view}`;
    let found = viewMetrics.get(key);
    if (found === undefined) {
      found = metrics.view(scenario, view);
      viewMetrics.set(key, found);
    }
    return found;
  };

  /** Counts a read's rows, what its views lacked and, for a sample, how old their answers were. */
  const count = (release: FeatureRelease, summaries: readonly ViewSummary[], rows: number, sampled: boolean) => {
    metrics.readRows.add(rows);
    for (const { view, missingCount, defaultedCount, outsideMaxAgeCount, maxAgeUs } of summaries) {
      if (missingCount === 0 && !sampled) continue;
      const own = metricsOf(release.scenario.name, view);
      if (missingCount > 0) own.missing.add(missingCount);
      if (defaultedCount > 0) own.defaulted.add(defaultedCount);
      if (outsideMaxAgeCount > 0) own.outsideMaxAge.add(outsideMaxAgeCount);
      if (sampled && maxAgeUs >= 0) own.freshness.observe(maxAgeUs / 1e6);
    }
  };

  const answer = (
    request: feature.GetOnlineFeaturesRequest,
    release: FeatureRelease,
    plan: ReadPlan,
    run: PlanRun,
    sampled: boolean,
  ) => {
    const asOfUs = request.asOf === undefined ? options.nowUs() : timeUs("as_of", request.asOf);
    if (request.layout === feature.GetOnlineFeaturesRequest_Layout.MATRIX) {
      const size = run.rows * plan.matrixNames.length;
      if (size > matrixValuesMax)
        throw errors.REQUEST_INVALID({ fault: `a matrix of ${size} values; at most ${matrixValuesMax}` });
      const buffer = new ArrayBuffer(5 * size);
      const values = new Float32Array(buffer, 0, size);
      const statuses = new Uint8Array(buffer, 4 * size, size);
      const summaries = plan.toMatrix(run, asOfUs, values, statuses);
      count(release, summaries, run.rows, sampled);
      countStatuses(metrics, statuses);
      return {
        releaseId: release.id,
        matrix: {
          names: plan.matrixNames as string[],
          rows: run.rows,
          // Machines that run Node are little-endian, as the message is.
          values: new Uint8Array(buffer, 0, 4 * size),
          statuses,
        },
        views: summaries.map(viewRead),
      };
    }
    const targets = plan.columns.map(({ type }) => columnTarget(type, run.rows, request.includeEventTimes));
    const summaries = plan.toColumns(run, asOfUs, targets);
    count(release, summaries, run.rows, sampled);
    for (const { statuses } of targets) countStatuses(metrics, statuses);
    return {
      releaseId: release.id,
      columns: plan.columns.map(({ reference, type }, index) =>
        filledColumn(reference, type, targets[index] ?? columnTarget(type, 0, false)),
      ),
      views: summaries.map(viewRead),
    };
  };

  const push = async (request: feature.PushRequest, context: CallContext) => {
    const release = options.resolve(request.scenario, context.release);
    const source = release.sources.get(request.source);
    if (source === undefined) throw errors.SOURCE_UNKNOWN({ source: request.source, scenario: release.scenario.name });
    const startMs = performance.now();
    const all = readEvents(request, release, source, options);
    const { events, quarantinedCount } = await options.expectations.apply(all, source);
    if (events.rows.length === 0) return { acceptedCount: 0, duplicate: false, quarantinedCount };
    const pushed = ingest.push(events);
    metrics.queuedRows(ingest.queuedRows);
    const duplicate = await pushed.finally(() => metrics.queuedRows(ingest.queuedRows));
    metrics.pushSeconds.observe((performance.now() - startMs) / 1e3);
    return { acceptedCount: events.rows.length, duplicate, quarantinedCount };
  };

  return {
    getOnlineFeatures(request, context) {
      const release = options.resolve(request.scenario, context.release);
      const plan = planOf(request, release, limits.featuresMax);
      const run = plan.acquire();
      fillRun(run, request, release, plan, limits);
      run.asOfsUs = asOfsOf(request, run.rows);
      run.maxAgesUs = maxAgesOf(request, release, plan);
      const sampled = reads++ % sampleEvery === 0;
      const startMs = sampled ? performance.now() : 0;
      const finish = () => {
        if (sampled) metrics.storeSeconds.observe((performance.now() - startMs) / 1e3);
        if (plan.isUnanswered(run)) throw errors.STORE_UNAVAILABLE({});
        const answered = answer(request, release, plan, run, sampled);
        // A run that failed is not given back: it may be half filled.
        plan.release(run);
        return answered;
      };
      const pending = fetch(plan, run, store);
      if (pending === undefined) return finish();
      return pending.then(finish, (cause: unknown) => {
        throw errors.STORE_UNAVAILABLE({}, { cause });
      });
    },

    getDefinitions(request, context) {
      return definitionsOf(options.resolve(request.scenario, context.release));
    },

    async push(request, context) {
      try {
        return await push(request, context);
      } catch (error) {
        if (isWeftError(error)) metrics.refusedPushes.add(1, { reason: error.reason });
        throw error;
      }
    },

    async listEntityKeys(request, context: CallContext) {
      const release = options.resolve(request.scenario, context.release);
      const { compiled, handle } = release.view(request.view);
      const entity = compiled.view.entities[0]?.entity;
      if (entity === undefined || compiled.view.entities.length !== 1)
        throw errors.REQUEST_INVALID({ fault: `view "${request.view}" must have a single entity` });
      const pageSize = request.pageSize === 0 ? pageSizeDefault : request.pageSize;
      if (pageSize < 1 || pageSize > pageSizeMax)
        throw errors.REQUEST_INVALID({ fault: `page_size must be 1 to ${pageSizeMax}` });
      const after = request.pageToken === "" ? undefined : readPageToken(request.pageToken, entity.key);
      const keys = await store.listKeys(handle, after, pageSize).catch((cause: unknown) => {
        throw errors.STORE_UNAVAILABLE({}, { cause });
      });
      const last = keys.at(-1);
      return {
        keys:
          entity.key === "int64"
            ? { integers: keys.filter((key) => typeof key === "bigint") }
            : { texts: keys.filter((key) => typeof key === "string") },
        nextPageToken:
          last === undefined || keys.length < pageSize ? "" : Buffer.from(encodeKey(last)).toString("base64url"),
      };
    },
  };
}

function fetch(plan: ReadPlan, run: PlanRun, store: OnlineStore): undefined | Promise<void> {
  try {
    return plan.fetch(run, store);
  } catch (cause) {
    throw errors.STORE_UNAVAILABLE({}, { cause });
  }
}

/** Microseconds that a double holds exactly reach from 1684 to 2255. */
const secondsMax = BigInt(Math.floor(Number.MAX_SAFE_INTEGER / 1e6));

/** A time of a request, before 1970 too; REQUEST_INVALID where it is none, or cannot be held to the microsecond. */
function timeUs(field: string, { seconds, nanos }: { readonly seconds: bigint; readonly nanos: number }): number {
  const isSound = seconds > -secondsMax && seconds < secondsMax && nanos >= 0 && nanos < 1e9;
  if (!isSound) throw errors.REQUEST_INVALID({ fault: `${field} must be a time from the year 1685 to 2254` });
  return microseconds({ seconds, nanos });
}

const oneTime: readonly number[] = [];

/** The times of the rows; none where all rows are read as of one time. */
function asOfsOf({ asOf, rowsAsOfUs }: feature.GetOnlineFeaturesRequest, rows: number): readonly number[] {
  if (rowsAsOfUs.length === 0) return oneTime;
  if (asOf !== undefined) throw errors.REQUEST_INVALID({ fault: "set as_of or rows_as_of_us, not both" });
  if (rowsAsOfUs.length !== rows)
    throw errors.REQUEST_INVALID({ fault: `${rowsAsOfUs.length} rows_as_of_us for ${rows} rows` });
  return rowsAsOfUs.map((time) => {
    const us = Number(time);
    if (!Number.isSafeInteger(us))
      throw errors.REQUEST_INVALID({ fault: "rows_as_of_us must be times from the year 1685 to 2254" });
    return us;
  });
}

function maxAgeUs(field: string, age: { readonly seconds: bigint; readonly nanos: number } | undefined): number {
  if (age === undefined) return Number.POSITIVE_INFINITY;
  const us = microseconds(age);
  const isSound = us > 0 && age.seconds < secondsMax && age.nanos >= 0 && age.nanos < 1e9;
  if (!isSound) throw errors.REQUEST_INVALID({ fault: `${field} must be above 0` });
  return us;
}

const noBudget: readonly number[] = [];

/** Greatest age of a row by view of the plan, as the request's freshness budget says. */
function maxAgesOf(request: feature.GetOnlineFeaturesRequest, release: FeatureRelease, plan: ReadPlan) {
  const { maxAge, viewMaxAges } = request;
  if (maxAge === undefined && viewMaxAges.length === 0) return noBudget;
  const general = maxAgeUs("max_age", maxAge);
  const own = new Map<string, number>();
  for (const { view, maxAge: age } of viewMaxAges) {
    if (release.view(view).compiled.kind === "windows")
      throw errors.REQUEST_INVALID({
        fault: `view_max_ages: view "${view}" is of windows, which bound the age of what they count`,
      });
    if (own.has(view)) throw errors.REQUEST_INVALID({ fault: `view_max_ages names view "${view}" twice` });
    if (age === undefined) throw errors.REQUEST_INVALID({ fault: `view_max_ages: view "${view}" has no max_age` });
    own.set(view, maxAgeUs("view_max_ages.max_age", age));
  }
  return plan.views.map(({ compiled }) => own.get(compiled.name) ?? general);
}

function viewRead({ maxAgeUs, ...counts }: ViewSummary) {
  return { ...counts, maxAgeMs: BigInt(maxAgeUs < 0 ? -1 : Math.floor(maxAgeUs / 1_000)) };
}

function countStatuses(metrics: FeatureMetrics, statuses: ArrayLike<number>): void {
  let present = 0;
  for (let i = 0; i < statuses.length; i++) {
    const status = statuses[i] ?? 0;
    if (status === Status.Present) present++;
    else metrics.statuses[status]?.add(1);
  }
  metrics.statuses[Status.Present]?.add(present);
}

function planOf(request: feature.GetOnlineFeaturesRequest, release: FeatureRelease, featuresMax: number): ReadPlan {
  const isService = request.featureService !== "";
  if (isService === request.features.length > 0)
    throw errors.REQUEST_INVALID({ fault: "name either a feature service or features" });
  if (request.features.length > featuresMax)
    throw errors.REQUEST_INVALID({ fault: `${request.features.length} features; at most ${featuresMax} a request` });
  const plan = isService ? release.service(request.featureService) : release.plan(request.features);
  if (request.layout === feature.GetOnlineFeaturesRequest_Layout.MATRIX && plan.notNumeric !== undefined)
    throw errors.FEATURE_NOT_NUMERIC({ feature: plan.notNumeric });
  return plan;
}

/** Checks keys and request features, and puts them where the plan reads them. */
function fillRun(
  run: PlanRun,
  request: feature.GetOnlineFeaturesRequest,
  release: FeatureRelease,
  plan: ReadPlan,
  limits: OnlineServiceOptions["limits"],
): void {
  let rows = Math.max(1, request.rowsAsOfUs.length);
  const { entities, requestFeatures } = request;
  for (let i = 0; i < entities.length; i++) {
    const given = entities[i];
    if (given !== undefined && !release.entities.has(given.entity))
      throw errors.ENTITY_UNKNOWN({ entity: given.entity, scenario: release.scenario.name });
  }
  for (let i = 0; i < plan.entities.length; i++) {
    const entity = plan.entities[i];
    if (entity === undefined) continue;
    const keys = keysOf(entities, entity);
    run.keys[i] = keys;
    if (keys.length > rows) rows = keys.length;
  }
  for (let i = 0; i < requestFeatures.length; i++) {
    const name = requestFeatures[i]?.name ?? "";
    if (!Object.hasOwn(release.scenario.request, name))
      throw fieldFault(name)("the scenario has no such request field");
  }
  for (let i = 0; i < plan.fields.length; i++) {
    const field = plan.fields[i];
    if (field === undefined) continue;
    const fault = fieldFault(field.name);
    const column = requestFeatures.find(({ name }) => name === field.name);
    if (column === undefined) throw fault("is needed and was not sent");
    const length = columnLength(column);
    if (length === 0) throw fault("has no values");
    if (length > limits.rowsMax) throw errors.ROWS_TOO_MANY({ rows: length, rowsMax: limits.rowsMax });
    run.fields[i] = readColumn(column, field.type, limits, fault);
    if (length > rows) rows = length;
  }
  if (rows > limits.rowsMax) throw errors.ROWS_TOO_MANY({ rows, rowsMax: limits.rowsMax });
  run.rows = rows;
  if (rows === 1) return;
  for (let i = 0; i < plan.entities.length; i++) {
    const count = run.keys[i]?.length ?? 0;
    if (count !== 1 && count !== rows)
      throw errors.KEY_INVALID({ entity: plan.entities[i]?.name ?? "", fault: `${count} keys for ${rows} rows` });
  }
  for (let i = 0; i < plan.fields.length; i++) {
    const count = run.fields[i]?.length ?? 0;
    if (count !== 1 && count !== rows) throw fieldFault(plan.fields[i]?.name ?? "")(`${count} values for ${rows} rows`);
  }
}

function keysOf(given: readonly feature.EntityKeys[], { name, key }: PlanEntity): readonly EntityKey[] {
  let found: feature.EntityKeys | undefined;
  for (let i = 0; i < given.length; i++)
    if (given[i]?.entity === name) {
      if (found !== undefined) throw errors.KEY_INVALID({ entity: name, fault: "named twice" });
      found = given[i];
    }
  if (found === undefined) throw errors.ENTITY_MISSING({ entity: name });
  if (key === "int64") {
    if (found.texts.length > 0) throw errors.KEY_INVALID({ entity: name, fault: "are int64, and texts were sent" });
    if (found.integers.length === 0) throw errors.ENTITY_MISSING({ entity: name });
    return found.integers;
  }
  if (found.integers.length > 0) throw errors.KEY_INVALID({ entity: name, fault: "are texts, and integers were sent" });
  if (found.texts.length === 0) throw errors.ENTITY_MISSING({ entity: name });
  for (let i = 0; i < found.texts.length; i++) {
    const fault = textKeyFault(found.texts[i] ?? "");
    if (fault !== undefined) throw errors.KEY_INVALID({ entity: name, fault });
  }
  return found.texts;
}

function textKeyFault(text: string): string | undefined {
  if (text === "") return "a key is empty";
  const isLong = text.length * 3 > keyBytesMax && Buffer.byteLength(text) > keyBytesMax;
  return isLong ? `a key is longer than ${keyBytesMax} bytes` : undefined;
}

/** Checks the columns of a push, and turns them into rows. */
function readEvents(
  request: feature.PushRequest,
  release: FeatureRelease,
  source: Source,
  { limits, nowUs }: OnlineServiceOptions,
): PushedEvents {
  if (Buffer.byteLength(request.requestId) > requestIdBytesMax)
    throw errors.REQUEST_INVALID({ fault: `request_id must be at most ${requestIdBytesMax} bytes` });
  const fields = sourceFields(source);
  const known = new Set([...fields.map(({ name }) => name), source.eventTime, source.createdTime]);
  const columns = new Map<string, feature.Column>();
  for (const column of request.columns) {
    if (!known.has(column.name)) throw columnFault(column.name)(`source "${source.name}" has no such field`);
    if (columns.has(column.name)) throw columnFault(column.name)("was sent twice");
    columns.set(column.name, column);
  }
  const times = columns.get(source.eventTime);
  if (times === undefined) throw columnFault(source.eventTime)("is the event time, and was not sent");
  const rows = columnLength(times);
  if (rows === 0) throw columnFault(source.eventTime)("has no rows");
  if (rows > limits.pushRowsMax) throw errors.ROWS_TOO_MANY({ rows, rowsMax: limits.pushRowsMax });
  for (const [name, column] of columns)
    if (columnLength(column) !== rows) throw columnFault(name)(`${columnLength(column)} rows, not ${rows}`);

  const receivedUs = nowUs();
  const latestUs = receivedUs + limits.futureToleranceMs * 1_000;
  const readTimes = (name: string, column: feature.Column) =>
    readColumn(column, "int64", limits, columnFault(name)).map((value, row) => {
      const us = Number(value);
      if (value === null || !Number.isSafeInteger(us))
        throw errors.EVENT_TIME_OUT_OF_RANGE({ row, fault: "is no time" });
      if (us > latestUs)
        throw errors.EVENT_TIME_OUT_OF_RANGE({
          row,
          fault: `is ${Math.ceil((us - receivedUs) / 1e6)} s ahead of the clock, more than ${limits.futureToleranceMs / 1e3} s`,
        });
      return us;
    });
  const eventTimes = readTimes(source.eventTime, times);
  const created = source.createdTime === undefined ? undefined : columns.get(source.createdTime);
  const createdTimes = created === undefined ? undefined : readTimes(source.createdTime ?? "", created);
  // A source with created times that were not sent: known from now on.
  const createdAt = (row: number) =>
    source.createdTime === undefined ? eventTimes[row] : (createdTimes?.[row] ?? receivedUs);
  const keyFields = new Set(
    [...release.views.values()]
      .filter(({ compiled }) => compiled.view.source.name === source.name)
      .flatMap(({ compiled }) => compiled.view.entities.map(({ field }) => field)),
  );
  const values = fields.map(({ name, type }) => {
    const column = columns.get(name);
    if (column === undefined) throw columnFault(name)("was not sent");
    const read = readColumn(column, type, limits, columnFault(name));
    if (keyFields.has(name))
      for (const key of read) {
        const fault = typeof key === "string" ? textKeyFault(key) : undefined;
        if (fault !== undefined) throw columnFault(name)(fault);
      }
    return read;
  });
  const events = eventTimes.map(
    (eventTimeUs, row): SourceRow => ({
      eventTimeUs,
      createdTimeUs: createdAt(row) ?? eventTimeUs,
      values: values.map((column) => column[row] ?? null),
    }),
  );
  return {
    scenario: release.scenario.name,
    source: source.name,
    receivedUs,
    requestId: request.requestId === "" ? contentId(eventTimes, createdTimes, values) : request.requestId,
    fields: fields.map(({ name }) => name),
    rows: events,
  };
}

/** Names a push by its content, so that a repeat of it changes nothing. */
function contentId(...content: unknown[]): string {
  return `sha256:${createHash("sha256").update(serialize(content)).digest("hex")}`;
}

function readPageToken(token: string, type: "string" | "int64"): EntityKey {
  const bytes = Buffer.from(token, "base64url");
  const isCanonical = bytes.length > 0 && bytes.toString("base64url") === token;
  try {
    const key = decodeKey(bytes);
    if (isCanonical && typeof key === (type === "int64" ? "bigint" : "string")) return key;
  } catch {
    // Told below.
  }
  throw errors.PAGE_TOKEN_INVALID({});
}
