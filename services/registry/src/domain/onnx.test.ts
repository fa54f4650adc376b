import { describe, expect, test } from "@jest/globals";
import { isWeftError } from "@weft/errors";
import { walkOnnx } from "./onnx.ts";
import { field, message, node, onnxFile, scoringGraph, scoringNode, tensorInfo } from "./onnx-fixture.ts";

const bounds = { bytesMax: 100_000, nodesMax: 10 };
const walk = (bytes: Uint8Array) => walkOnnx(bytes, "d1", bounds);

function refusal(bytes: Uint8Array): string {
  try {
    walk(bytes);
  } catch (error) {
    if (isWeftError(error)) return `${error.reason}: ${error.message}`;
    throw error;
  }
  return "accepted";
}

describe("walkOnnx", () => {
  test("reads inputs and outputs with their types and shapes", () => {
    expect(walk(onnxFile(scoringGraph(3)))).toEqual({
      inputs: [{ name: "features", datatype: "FP32", shape: [-1, 3] }],
      outputs: [{ name: "probability", datatype: "FP32", shape: [-1] }],
      nodeCount: 1,
    });
  });

  test("an input with a stored value is not asked of the caller", () => {
    const graph = scoringGraph(
      3,
      field(11, tensorInfo("bias", 1, [3])),
      field(5, message(field(2, 1), field(8, "bias"))),
    );
    expect(walk(onnxFile(graph)).inputs.map((input) => input.name)).toEqual(["features"]);
  });

  test("keeps an open rank, a scalar and an output that is no tensor apart", () => {
    const sequence = message(field(1, "maps"), field(2, field(4, message())));
    const graph = scoringGraph(
      1,
      field(12, tensorInfo("open", 7, undefined)),
      field(12, tensorInfo("scalar", 11, [])),
      field(12, sequence),
    );
    expect(walk(onnxFile(graph)).outputs.slice(1)).toEqual([
      { name: "open", datatype: "INT64", shape: undefined },
      { name: "scalar", datatype: "FP64", shape: [] },
      { name: "maps", datatype: "", shape: undefined },
    ]);
  });

  test("takes the domains of ONNX and refuses any other, in subgraphs and functions too", () => {
    const tree = node("TreeEnsembleRegressor", "ai.onnx.ml");
    expect(walk(onnxFile(scoringGraph(1, field(1, tree), field(1, node("Add", "ai.onnx"))))).nodeCount).toBe(3);
    const foreign = node("Gelu", "com.microsoft");
    const branch = node("If", "", field(5, message(field(1, "then_branch"), field(6, field(1, foreign)))));
    const branches = node("If", "", field(5, message(field(1, "many"), field(11, field(1, foreign)))));
    for (const file of [
      onnxFile(scoringGraph(1, field(1, foreign))),
      onnxFile(scoringGraph(1, field(1, branch))),
      onnxFile(scoringGraph(1, field(1, branches))),
      onnxFile(scoringGraph(1), field(25, field(7, foreign))),
      onnxFile(scoringGraph(1), field(20, field(2, field(1, foreign)))),
      onnxFile(scoringGraph(1), field(7, field(1, foreign))),
      onnxFile(scoringGraph(1, field(1, message(foreign, field(7, ""))))),
    ]) {
      expect(refusal(file)).toMatch(/^ONNX_DOMAIN_UNKNOWN: .*"Gelu".*"com.microsoft"/);
    }
  });

  test("refuses data outside the file wherever a tensor can be", () => {
    const external = message(field(8, "weights"), field(14, 1));
    const location = message(field(8, "weights"), field(13, message(field(1, "location"), field(2, "/etc/passwd"))));
    const masked = message(field(8, "weights"), field(14, 1), field(14, 0));
    for (const tensor of [external, location, masked]) {
      for (const file of [
        onnxFile(scoringGraph(1, field(5, tensor))),
        onnxFile(scoringGraph(1, field(15, field(1, tensor)))),
        onnxFile(scoringGraph(1, field(15, field(2, tensor)))),
        onnxFile(
          scoringGraph(1, field(1, node("Constant", "", field(5, message(field(1, "value"), field(5, tensor)))))),
        ),
        onnxFile(scoringGraph(1, field(1, node("Constant", "", field(5, field(10, tensor)))))),
        onnxFile(scoringGraph(1, field(1, node("Constant", "", field(5, field(22, field(1, tensor))))))),
      ]) {
        expect(refusal(file)).toMatch(/^ONNX_EXTERNAL_DATA: .*"weights"/);
      }
    }
  });

  test("bounds the nodes, those of subgraphs included, the depth and the size", () => {
    const nine = Array.from({ length: 9 }, () => field(1, scoringNode()));
    expect(walk(onnxFile(scoringGraph(1, ...nine))).nodeCount).toBe(10);
    const inside = node("Loop", "", field(5, field(6, message(...nine))));
    expect(refusal(onnxFile(scoringGraph(1, field(1, inside))))).toMatch(/^ONNX_TOO_MANY_NODES/);
    let deep = scoringNode();
    for (let depth = 0; depth < 40; depth++) deep = node("If", "", field(5, field(6, field(1, deep))));
    const deepFile = onnxFile(scoringGraph(1, field(1, deep)));
    expect(() => walkOnnx(deepFile, "d1", { ...bounds, nodesMax: 1_000 })).toThrow(/nested deeper/);
    expect(refusal(new Uint8Array(100_001))).toMatch(/^ONNX_TOO_LARGE/);
  });

  test("refuses what is not ONNX", () => {
    const whole = onnxFile(scoringGraph(3));
    for (const [bytes, why] of [
      [new Uint8Array(), /IR version 0/],
      [Buffer.from('{"model": "no"}'), /wire type 3/],
      [Buffer.from("event_time,amount\n1,2\n"), /./],
      [field(1, 8), /no operator set/],
      [message(field(1, 8), field(8, field(2, 13))), /no graph/],
      [message(field(1, 8), field(8, field(2, 13)), field(7, field(2, "g"))), /no output/],
      [onnxFile(scoringGraph(1, field(12, tensorInfo("x", 99, [])))), /element type 99/],
      [onnxFile(scoringGraph(1, field(1, message(field(1, "x"))))), /without an operator/],
      [onnxFile(scoringGraph(1, field(12, field(1, Uint8Array.of(0xff, 0xfe))))), /not UTF-8/],
      [Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), /more than 10 bytes/],
    ] as const) {
      const text = refusal(bytes);
      expect(text).toMatch(/^ONNX_INVALID/);
      expect(text).toMatch(why);
    }
    for (let length = 0; length < whole.length; length++) {
      expect(refusal(whole.subarray(0, length))).toMatch(/^ONNX_INVALID/);
    }
  });

  test("random bytes and random damage are answered, never a crash", () => {
    const seed = Number(process.env.WEFT_TEST_SEED ?? Date.now() % 1_000_000);
    let state = seed;
    const random = (below: number) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const whole = onnxFile(scoringGraph(3, field(5, message(field(2, 1), field(8, "bias")))));
    for (let round = 0; round < 5_000; round++) {
      const bytes =
        round % 2 === 0 ? Uint8Array.from({ length: random(60) }, () => random(256)) : Uint8Array.from(whole);
      for (let hit = random(3); hit >= 0 && bytes.length > 0; hit--) bytes[random(bytes.length)] = random(256);
      const text = refusal(bytes);
      if (!/^(ONNX_|accepted)/.test(text)) throw new Error(`seed ${seed}: ${text}`);
    }
  });
});
