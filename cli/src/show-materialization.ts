import { feature } from "@weft/contracts";

const outcomes: Readonly<Record<number, string>> = {
  [feature.MaterializedView_Outcome.FULL]: "full",
  [feature.MaterializedView_Outcome.INCREMENTAL]: "incremental",
  [feature.MaterializedView_Outcome.UNCHANGED]: "unchanged",
};

const states: Readonly<Record<number, string>> = {
  [feature.Materialization_State.RUNNING]: "running",
  [feature.Materialization_State.SUCCEEDED]: "succeeded",
  [feature.Materialization_State.FAILED]: "failed",
  [feature.Materialization_State.CANCELLED]: "cancelled",
  [feature.Materialization_State.INTERRUPTED]: "interrupted",
};

const policies: Readonly<Record<number, string>> = {
  [feature.ExpectationPolicy.WARN]: "warn",
  [feature.ExpectationPolicy.QUARANTINE]: "quarantine",
  [feature.ExpectationPolicy.REJECT]: "reject",
};

/** What readers see of each view after a materialization. */
export function showViews(views: readonly feature.MaterializedView[]): string {
  return table([
    ["view", "how", "rows", "generation"],
    ...views.map(({ view, outcome, rows, generation }) => [view, outcomes[outcome] ?? "", `${rows}`, `${generation}`]),
  ]);
}

/** What became of the views that were asked to go back. */
export function showRollBack(views: readonly feature.RolledBackView[]): string {
  return table([
    ["view", "generation", ""],
    ...views.map(({ view, generation, changed }) => [view, `${generation}`, changed ? "" : "left as it was"]),
  ]);
}

/** What the expectations of the sources found; those that were not met are marked. */
export function showReport(report: feature.GetValidationReportResponse): string {
  const rows = report.results.map(({ source, expectation, policy, met, observed }) => [
    met ? "ok" : policies[policy] === "reject" ? "REJECTED" : "not met",
    source,
    expectation,
    policies[policy] ?? "",
    observed,
  ]);
  const verdict = report.rejected ? "Nothing was published: readers keep what they have.\n" : "";
  return `${table([["", "source", "expected", "policy", "found"], ...rows])}${verdict}`;
}

/** Materializations, the newest first. */
export function showMaterializations(list: readonly feature.Materialization[]): string {
  return table([
    ["id", "state", "mode", "started", "took", "rows", "entities", "views", "why"],
    ...list.map((one) => [
      `${one.id}`,
      one.attempt > 1 ? `${states[one.state]} (attempt ${one.attempt})` : (states[one.state] ?? ""),
      one.mode === feature.MaterializeMode.INCREMENTAL ? "incremental" : "full",
      new Date(milliseconds(one.startTime)).toISOString().slice(0, 19),
      one.endTime === undefined
        ? ""
        : `${((milliseconds(one.endTime) - milliseconds(one.startTime)) / 1e3).toFixed(1)} s`,
      one.rowsRead === one.rowsTotal ? `${one.rowsRead}` : `${one.rowsRead} of ${one.rowsTotal}`,
      `${one.entitiesWritten}`,
      one.views.join(", "),
      one.fault,
    ]),
  ]);
}

function milliseconds(time: { readonly seconds: bigint; readonly nanos: number } | undefined): number {
  return time === undefined ? 0 : Number(time.seconds) * 1e3 + time.nanos / 1e6;
}

/** Columns as wide as their widest cell; the first row is the heading. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}
