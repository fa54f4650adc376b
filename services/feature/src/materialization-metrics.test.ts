import { expect, test } from "@jest/globals";
import { quietTelemetry } from "@weft/testkit";
import type { Materialization } from "./domain/materialize/materialization-catalog.ts";
import { createMaterializationMetrics } from "./materialization-metrics.ts";

test("materializations are counted by how they ended, with time, rows, generation and when it last went well", async () => {
  const { metrics } = quietTelemetry();
  const observer = createMaterializationMetrics(metrics);
  const one: Materialization = {
    id: 1,
    scenario: "s",
    release: "r1",
    views: ["activity"],
    mode: "incremental",
    state: "succeeded",
    attempt: 1,
    startUs: 1_700_000_000_000_000,
    endedUs: 1_700_000_002_500_000,
    rowsRead: 9,
    rowsTotal: 9,
    entitiesWritten: 4,
    done: [{ view: "activity", outcome: "incremental", generation: 7, rows: 9 }],
    fault: "",
  };
  observer.validated("s", {
    timeUs: 0,
    results: [
      {
        source: "payments",
        expectation: "a",
        policy: "quarantine",
        isMet: false,
        rows: 9,
        violations: 3,
        observed: "",
      },
      { source: "payments", expectation: "b", policy: "warn", isMet: false, rows: 9, violations: 0, observed: "" },
      { source: "payments", expectation: "c", policy: "reject", isMet: true, rows: 9, violations: 0, observed: "" },
    ],
  });
  for (const view of one.done) observer.published("s", view);
  observer.ended(one);
  observer.ended({ ...one, state: "failed", done: [] });
  const { body } = await metrics.expose();
  for (const line of [
    'feature_materializations_total{scenario="s",state="succeeded"} 1',
    'feature_materializations_total{scenario="s",state="failed"} 1',
    'feature_materialize_seconds_sum{scenario="s"} 2.5',
    'feature_materialize_seconds_count{scenario="s"} 1',
    'feature_materialized_rows_total{scenario="s",view="activity"} 9',
    'feature_materialize_success_timestamp_seconds{scenario="s",view="activity"} 1700000000',
    'feature_generation{scenario="s",view="activity"} 7',
    'feature_expectation_violations_total{scenario="s",source="payments",policy="quarantine",at="materialize"} 3',
    'feature_expectation_violations_total{scenario="s",source="payments",policy="warn",at="materialize"} 1',
  ])
    expect(body.split("\n")).toContain(line);
});
