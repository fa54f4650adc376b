import { describe, expect, test } from "@jest/globals";
import { ModelCatalog } from "./model-catalog.ts";

const model = (scenario: string, name: string, version: string) => ({ scenario, name, version });

describe("ModelCatalog", () => {
  const catalog = new ModelCatalog();
  catalog.update([
    {
      id: "fraud-1",
      scenario: "fraud",
      champion: true,
      models: [model("fraud", "tree", "1"), model("fraud", "ranker", "1")],
    },
    { id: "fraud-2", scenario: "fraud", champion: false, models: [model("fraud", "tree", "2")] },
    { id: "films-1", scenario: "films", champion: true, models: [model("films", "ranker", "4")] },
  ]);

  test.each([
    ["tree", "", "", "fraud 1"],
    ["tree", "", "fraud-2", "fraud 2"],
    ["tree", "2", "", "fraud 2"],
    ["tree", "1", "fraud-2", "fraud 1"],
    ["ranker", "", "films-1", "films 4"],
    ["ranker", "4", "", "films 4"],
    ["films/ranker", "", "", "films 4"],
    ["fraud/ranker", "1", "", "fraud 1"],
  ])("%s version %j of release %j is %s", (name, version, release, expected) => {
    const found = catalog.find(name, version, release);
    expect(`${found.scenario} ${found.version}`).toBe(expected);
  });

  test.each([
    ["ranker", "", "", "MODEL_AMBIGUOUS"],
    ["tree", "3", "", "MODEL_VERSION_NOT_FOUND"],
    ["tree", "1", "films-1", "MODEL_VERSION_NOT_FOUND"],
    ["tree", "", "films-1", "MODEL_NOT_FOUND"],
    ["tree", "", "fraud-9", "RELEASE_NOT_LOADED"],
    ["films/tree", "", "", "MODEL_NOT_FOUND"],
  ])("%s version %j of release %j raises %s", (name, version, release, reason) => {
    expect(() => catalog.find(name, version, release)).toThrow(expect.objectContaining({ reason }));
  });
});
