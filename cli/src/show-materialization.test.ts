import { create } from "@bufbuild/protobuf";
import { expect, test } from "@jest/globals";
import { feature } from "@weft/contracts";
import { showMaterializations, showReport, showViews } from "./show-materialization.ts";

test("a validation report is a table that marks what was not met", () => {
  const { REJECT, WARN } = feature.ExpectationPolicy;
  const report = create(feature.GetValidationReportResponseSchema, {
    materializationId: 3n,
    rejected: true,
    results: [
      {
        source: "payments",
        expectation: "card not null",
        policy: REJECT,
        met: true,
        rows: 4n,
        observed: "0 of 4 rows do not (0.00 %)",
      },
      {
        source: "payments",
        expectation: "amount at least 0",
        policy: REJECT,
        rows: 4n,
        violations: 1n,
        observed: "1 of 4 rows do not (25.00 %)",
      },
      { source: "shops", expectation: "row count at least 9", policy: WARN, rows: 4n, observed: "4 rows" },
    ],
  });
  expect(showReport(report)).toBe(`          source    expected              policy  found
ok        payments  card not null         reject  0 of 4 rows do not (0.00 %)
REJECTED  payments  amount at least 0     reject  1 of 4 rows do not (25.00 %)
not met   shops     row count at least 9  warn    4 rows
Nothing was published: readers keep what they have.
`);
});

test("views and materializations are tables", () => {
  const { INCREMENTAL, UNCHANGED } = feature.MaterializedView_Outcome;
  const views = create(feature.MaterializeResponseSchema, {
    views: [
      { view: "activity", outcome: INCREMENTAL, generation: 12n, rows: 31n },
      { view: "last", outcome: UNCHANGED, generation: 2n },
    ],
  }).views;
  expect(showViews(views)).toBe(`view      how          rows  generation
activity  incremental  31    12
last      unchanged    0     2
`);
  const list = create(feature.ListMaterializationsResponseSchema, {
    materializations: [
      {
        id: 2n,
        state: feature.Materialization_State.FAILED,
        attempt: 2,
        startTime: { seconds: 1_700_000_000n, nanos: 0 },
        endTime: { seconds: 1_700_000_001n, nanos: 500_000_000 },
        rowsRead: 5n,
        rowsTotal: 9n,
        views: ["activity", "last"],
        fault: "no room",
      },
    ],
  }).materializations;
  expect(
    showMaterializations(list),
  ).toBe(`id  state               mode  started              took   rows    entities  views           why
2   failed (attempt 2)  full  2023-11-14T22:13:20  1.5 s  5 of 9  0         activity, last  no room
`);
});
