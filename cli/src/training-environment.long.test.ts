import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describe, expect, test } from "@jest/globals";
import { trainingDirectory, trainingPython } from "./training-environment.ts";

describe("the training environment", () => {
  test("installs from its lock and passes the trainers' own tests", async () => {
    const python = await trainingPython();
    const { stdout } = await promisify(execFile)(python, ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"], {
      cwd: trainingDirectory,
      timeout: 500_000,
    });
    expect(stdout).toMatch(/\d+ passed/);
    expect(stdout).not.toMatch(/failed|error/);
  });
});
