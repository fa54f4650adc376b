import { describe, expect, test } from "@jest/globals";
import { Code, createErrors } from "@weft/errors";
import { whileUnavailable } from "./retry.ts";

const release = createErrors("weft.release", {
  SCENARIO_UNKNOWN: { code: Code.NotFound, message: (_: Record<never, never>) => "not deployed" },
  RELEASE_NOT_LOADED: { code: Code.Unavailable, message: (_: Record<never, never>) => "not loaded yet" },
});
const feature = createErrors("weft.feature", {
  VIEW_UNKNOWN: { code: Code.NotFound, message: (_: Record<never, never>) => "no such view" },
});

/** Work that fails with each of the errors in turn, then answers how often it was tried. */
function failing(...errors: readonly Error[]): () => Promise<number> {
  let tries = 0;
  return async () => {
    const error = errors[tries++];
    if (error !== undefined) throw error;
    return tries;
  };
}

describe("whileUnavailable", () => {
  test("waits for a release that the peer's watch has not brought, or that it still loads", async () => {
    const work = failing(release.SCENARIO_UNKNOWN({}), release.RELEASE_NOT_LOADED({}));
    expect(await whileUnavailable(5_000, work)).toBe(3);
  });

  test("gives up at the end of its time", async () => {
    const work = () => Promise.reject(release.SCENARIO_UNKNOWN({}));
    await expect(whileUnavailable(150, work)).rejects.toMatchObject({ reason: "SCENARIO_UNKNOWN" });
  });

  test("what else is not found, or is no error of a service, stands at once", async () => {
    await expect(whileUnavailable(5_000, failing(feature.VIEW_UNKNOWN({})))).rejects.toMatchObject({
      reason: "VIEW_UNKNOWN",
    });
    await expect(whileUnavailable(5_000, failing(new TypeError("broken")))).rejects.toThrow("broken");
  });
});
