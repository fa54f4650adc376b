import type { monitoring } from "@weft/contracts";
import { Code, isWeftError } from "@weft/errors";
import type { Handlers } from "@weft/rpc";
import type { Clock } from "@weft/service";
import { KeySample } from "./domain/key-sample.ts";
import type { DriftAnswer, DriftQuery, MonitoringLog } from "./domain/log-engine.ts";
import { limits, packPredictions } from "./domain/packer.ts";
import { decodePayload } from "./domain/payload.ts";
import type { LabelRecord, StoredPrediction } from "./domain/prediction.ts";
import type { ReleaseCatalog, Resolution } from "./domain/release-catalog.ts";
import type { ReleaseParts } from "./domain/release-parts.ts";
import { errors } from "./errors.ts";
import type { MonitoringMetrics } from "./metrics.ts";

/** Rows of one request. */
export const batchMax = 10_000;
const DEFAULT_WINDOW_US = 86_400_000_000;
const STORE = { store: "prediction log" } as const;

const pageSizeDefault = 500;
const pageSizeMax = 1_000;
/** A page ends once it has this many bytes of features. */
const pageBytesMax = 1_048_576;
/** Rows read from the log at a time, and at most for one page. */
const scanRows = 1_000;
const scanRowsMax = 50_000;

/** What the handlers work with. */
export interface MonitoringParts {
  readonly log: MonitoringLog;
  readonly catalog: ReleaseCatalog;
  readonly metrics: MonitoringMetrics;
  readonly clock: Clock;
  /** How far after now an event time is believed, microseconds. */
  readonly eventTimeAheadUs: number;
  /** Longest window, microseconds. */
  readonly windowMaxUs: number;
}

/** Handlers of weft.monitoring.v1.MonitoringService. */
export function createMonitoringService(parts: MonitoringParts): Handlers<typeof monitoring.MonitoringService> {
  const { log, catalog, metrics, clock, eventTimeAheadUs, windowMaxUs } = parts;

  /** Looks a release up, and makes it known to the log where it is new. */
  const findRelease = async (releaseId: string): Promise<Resolution<ReleaseParts>> => {
    const isKnown = catalog.peek(releaseId) !== undefined;
    const resolution = await catalog.findRelease(releaseId, clock.nowMs());
    if (resolution.outcome === "found" && !isKnown) {
      await logged(log.putRelease(resolution.value));
    }
    return resolution;
  };

  const drift = async (query: DriftQuery): Promise<DriftAnswer> => {
    const answer = await logged(log.drift(query));
    if (answer.outcome !== "release not put") {
      return answer;
    }
    const { releaseId } = answer;
    const resolution = await catalog.findRelease(releaseId, clock.nowMs());
    if (resolution.outcome === "unavailable") {
      throw unavailable(`release "${releaseId}"`, resolution.cause);
    }
    if (resolution.outcome === "unknown" || resolution.value.scenario !== query.scenario) {
      throw errors.RELEASE_UNKNOWN({ scenario: query.scenario, release: releaseId });
    }
    await logged(log.putRelease(resolution.value));
    return logged(log.drift({ ...query, releaseId }));
  };

  return {
    async logPredictions({ predictions }) {
      checkCount(predictions.length);
      let release = "";
      let unchecked: Set<string> | undefined;
      for (const { releaseId, scenario } of predictions) {
        if (releaseId === release || releaseId === "" || catalog.peek(releaseId) !== undefined) {
          release = releaseId;
          continue;
        }
        release = releaseId;
        const resolution = await findRelease(releaseId);
        if (resolution.outcome === "unknown") {
          throw errors.RELEASE_UNKNOWN({ scenario, release: releaseId });
        }
        if (resolution.outcome === "unavailable") {
          unchecked ??= new Set();
          unchecked.add(releaseId);
        }
      }
      const nowMs = clock.nowMs();
      const { packed, faults } = packPredictions(predictions, {
        release: (releaseId) => catalog.peek(releaseId),
        eventTimeMaxUs: nowMs * 1000 + eventTimeAheadUs,
      });
      const [fault] = faults;
      if (fault !== undefined) {
        throw errors.REQUEST_INVALID({ fault: `${fault.field} ${fault.description}` }, { violations: faults });
      }
      if (unchecked !== undefined) {
        metrics.unchecked.add(predictions.filter(({ releaseId }) => unchecked.has(releaseId)).length);
      }
      if (packed.count === 0) {
        return { acceptedCount: 0 };
      }
      const count = packed.count;
      const report = await logged(log.append(packed, nowMs));
      metrics.predictionWrite.observe((clock.nowMs() - nowMs) / 1000);
      metrics.newPredictions.add(report.newCount);
      metrics.repeatedPredictions.add(count - report.newCount);
      metrics.joinedLabels.add(report.joinedCount);
      metrics.mismatched.add(report.mismatchedCount);
      metrics.maintained(report);
      return { acceptedCount: count };
    },

    async logLabels({ scenario, labels }) {
      checkCount(labels.length);
      const nowMs = clock.nowMs();
      const records = readLabels(labels, nowMs * 1000, nowMs * 1000 + eventTimeAheadUs);
      if (scenario === "" || scenario.length > limits.textLength) {
        const description = `is not 1 to ${limits.textLength} characters`;
        throw errors.REQUEST_INVALID(
          { fault: `scenario ${description}` },
          { violations: [{ field: "scenario", description }] },
        );
      }
      // Where the registry cannot be asked labels are taken: they may not be had again.
      if ((await catalog.findScenario(scenario, nowMs)).outcome === "unknown") {
        throw errors.SCENARIO_UNKNOWN({ scenario });
      }
      if (records.length === 0) {
        return { acceptedCount: 0, joinedCount: 0 };
      }
      const report = await logged(log.appendLabels(scenario, records, nowMs));
      metrics.labelWrite.observe((clock.nowMs() - nowMs) / 1000);
      metrics.changedLabels.add(report.changedCount);
      metrics.repeatedLabels.add(records.length - report.changedCount);
      metrics.joinedLabels.add(report.joinedCount);
      metrics.maintained(report);
      return { acceptedCount: records.length, joinedCount: report.joinedCount };
    },

    async listPredictions({ scenario, releaseId, keyShare, pageSize, pageToken }) {
      if (scenario === "") throw invalid("scenario", "is empty");
      const share = keyShare ?? 1;
      if (!(share > 0 && share <= 1)) throw invalid("key_share", "is not over 0 and at most 1");
      if (pageSize < 0 || pageSize > pageSizeMax) throw invalid("page_size", `is not 1 to ${pageSizeMax}`);
      const size = pageSize === 0 ? pageSizeDefault : pageSize;
      const sample = new KeySample(share);
      const predictions: ReturnType<typeof loggedPrediction>[] = [];
      let before = pageToken === "" ? Number.MAX_SAFE_INTEGER : readPageToken(pageToken);
      let bytes = 0;
      for (let scanned = 0; scanned < scanRowsMax; scanned += scanRows) {
        const rows = await logged(log.scanBack(before, scanRows));
        for (const row of rows) {
          before = row.sequence;
          const { layout } = row;
          if (layout.scenario !== scenario || (releaseId !== "" && layout.releaseId !== releaseId)) continue;
          const prediction = loggedPrediction(row);
          if (!sample.has(prediction.entities)) continue;
          predictions.push(prediction);
          bytes += row.payload.length;
          if (predictions.length === size || bytes >= pageBytesMax) return { predictions, nextPageToken: `${before}` };
        }
        if (rows.length < scanRows) return { predictions, nextPageToken: "" };
      }
      return { predictions, nextPageToken: `${before}` };
    },

    async getDrift({ scenario, releaseId, window }) {
      if (scenario === "") {
        throw invalid("scenario", "is empty");
      }
      const windowUs =
        window === undefined ? DEFAULT_WINDOW_US : Number(window.seconds) * 1e6 + Math.floor(window.nanos / 1000);
      if (!(windowUs > 0)) {
        throw invalid("window", "is not longer than zero");
      }
      if (windowUs > windowMaxUs) {
        throw errors.WINDOW_TOO_LONG({ maxHours: Math.floor(windowMaxUs / 3.6e9) });
      }
      if (releaseId !== "") {
        const resolution = await findRelease(releaseId);
        const isOther = resolution.outcome === "found" && resolution.value.scenario !== scenario;
        if (resolution.outcome === "unknown" || isOther) {
          throw errors.RELEASE_UNKNOWN({ scenario, release: releaseId });
        }
      }
      const answer = await drift({ scenario, releaseId, windowUs });
      if (answer.outcome === "no predictions") {
        if (releaseId === "" && (await catalog.findScenario(scenario, clock.nowMs())).outcome === "unknown") {
          throw errors.SCENARIO_UNKNOWN({ scenario });
        }
        throw errors.NO_PREDICTIONS({ scenario, release: releaseId });
      }
      if (answer.outcome !== "compared") {
        const release = answer.releaseId;
        const faulty = catalog.peek(release)?.models.find(({ referenceFault }) => referenceFault !== undefined);
        throw faulty === undefined
          ? errors.REFERENCE_MISSING({ release })
          : errors.REFERENCE_INVALID({ release, model: faulty.name, fault: faulty.referenceFault ?? "" });
      }
      if (releaseId === "") {
        for (const { model, name, psi } of answer.distributions) {
          metrics.psi.set(psi, { scenario, model, feature: name });
        }
      }
      return driftResponse(answer);
    },
  };
}

/** A stored prediction as a message. */
function loggedPrediction({ layout, requestId, item, eventTimeUs, payload }: StoredPrediction) {
  const { scores, ...rest } = decodePayload(payload);
  return {
    ...rest,
    entities: { ...rest.entities },
    request: { ...rest.request },
    requestId,
    item,
    scenario: layout.scenario,
    releaseId: layout.releaseId,
    featureModel: layout.featureModel,
    eventTimeUs: BigInt(eventTimeUs),
    scores: layout.models.map((model, index) => ({ ...model, score: scores[index] ?? 0 })),
  };
}

function readPageToken(token: string): number {
  const before = /^[1-9]\d{0,15}$/.test(token) ? Number(token) : Number.NaN;
  if (!Number.isSafeInteger(before)) throw errors.PAGE_TOKEN_INVALID({});
  return before;
}

function driftResponse(answer: Extract<DriftAnswer, { outcome: "compared" }>) {
  return {
    releaseId: answer.releaseId,
    windowStart: timestamp(answer.fromUs),
    windowEnd: timestamp(answer.toUs),
    predictionCount: BigInt(answer.predictionCount),
    statistics: answer.distributions.map((distribution) => ({
      name: distribution.name,
      model: distribution.model,
      psi: distribution.psi,
      currentCount: BigInt(distribution.currentCount),
      referenceCount: BigInt(distribution.referenceCount),
      missingRatio: distribution.missingRatio,
      threshold: distribution.threshold,
      drifted: distribution.drifted,
      edges: [...distribution.edges],
      referenceShares: [...distribution.referenceShares],
      currentShares: [...distribution.currentShares],
    })),
    quality: answer.quality.map(({ model, version, labelledCount, auc, brierScore }) => ({
      model,
      version,
      labelledCount: BigInt(labelledCount),
      ...(auc === undefined ? {} : { auc }),
      ...(brierScore === undefined ? {} : { brierScore }),
    })),
  };
}

function readLabels(labels: readonly monitoring.Label[], nowUs: number, maxUs: number): LabelRecord[] {
  const violations: { field: string; description: string }[] = [];
  const records: LabelRecord[] = [];
  for (const [i, { requestId, item, value, labelTime }] of labels.entries()) {
    const labelTimeUs =
      labelTime === undefined ? nowUs : Number(labelTime.seconds) * 1e6 + Math.floor(labelTime.nanos / 1000);
    if (requestId === "" || requestId.length > limits.keyLength) {
      violations.push({ field: `labels[${i}].request_id`, description: `is not 1 to ${limits.keyLength} characters` });
    } else if (item.length > limits.keyLength) {
      violations.push({ field: `labels[${i}].item`, description: `is longer than ${limits.keyLength} characters` });
    } else if (!Number.isFinite(value)) {
      violations.push({ field: `labels[${i}].value`, description: `${value} is not a finite number` });
    } else if (!(labelTimeUs > 0 && labelTimeUs <= maxUs)) {
      violations.push({ field: `labels[${i}].label_time`, description: "is before 1970 or in the future" });
    }
    if (violations.length === limits.faults) {
      break;
    }
    records.push({ requestId, item, value, labelTimeUs });
  }
  const [first] = violations;
  if (first !== undefined) {
    throw errors.REQUEST_INVALID({ fault: `${first.field} ${first.description}` }, { violations });
  }
  return records;
}

function checkCount(count: number): void {
  if (count > batchMax) {
    throw errors.BATCH_TOO_LARGE({ count, max: batchMax });
  }
}

function invalid(field: string, description: string) {
  return errors.REQUEST_INVALID({ fault: `${field} ${description}` }, { violations: [{ field, description }] });
}

function timestamp(us: number): { seconds: bigint; nanos: number } {
  const seconds = Math.floor(us / 1e6);
  return { seconds: BigInt(seconds), nanos: (us - seconds * 1e6) * 1000 };
}

/** What is wrong with the reference is told as it is; anything else means that the registry cannot be asked now. */
function unavailable(what: string, cause: unknown) {
  const isOwn = isWeftError(cause) && (cause.domain === "weft.monitoring" || cause.code === Code.DataLoss);
  return isOwn ? cause : errors.REGISTRY_UNAVAILABLE({ what }, { cause });
}

/** Tells a failure of the log in the service's own reasons. */
async function logged<T>(result: Promise<T>): Promise<T> {
  try {
    return await result;
  } catch (cause) {
    const fault = cause instanceof Error && "fault" in cause ? cause.fault : "failed";
    switch (fault) {
      case "full":
        throw errors.DISK_FULL(STORE, { cause });
      case "layouts":
        throw errors.LAYOUTS_FULL(STORE, { cause });
      case "busy":
        throw errors.QUEUE_FULL(STORE, { cause });
      case "down":
      case "closed":
        throw errors.LOG_UNAVAILABLE(STORE, { cause });
      default:
        throw errors.LOG_FAILED(STORE, { cause });
    }
  }
}
