/** Writes small ONNX files for tests, field by field, so that wrong ones can be written too. */

/** One field of a message: text, bytes or message by length; a number as varint. */
export function field(number: number, value: string | Uint8Array | number): Uint8Array {
  if (typeof value === "number") return Buffer.concat([varint(number * 8), varint(value)]);
  const bytes = Buffer.from(value);
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

/** A message of these fields. */
export function message(...fields: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(fields);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest >= 128n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

/** A graph input or output; an open rank when the shape is undefined, a varying dimension at -1. */
export function tensorInfo(name: string, elementType: number, shape: readonly number[] | undefined): Uint8Array {
  const dimensions = shape?.map((size) => field(1, size === -1 ? field(2, "rows") : field(1, size)));
  const type = message(field(1, elementType), ...(dimensions === undefined ? [] : [field(2, message(...dimensions))]));
  return message(field(1, name), field(2, field(1, type)));
}

/** A node. */
export function node(operator: string, domain: string, ...fields: readonly Uint8Array[]): Uint8Array {
  return message(
    field(1, "features"),
    field(2, "probability"),
    field(4, operator),
    ...(domain === "" ? [] : [field(7, domain)]),
    ...fields,
  );
}

/** A node of `ReduceMean` over the columns, as `probability` float32[rows] needs. */
export function scoringNode(): Uint8Array {
  const axes = message(field(1, "axes"), field(8, 1), field(20, 7));
  const keep = message(field(1, "keepdims"), field(3, 0), field(20, 2));
  return node("ReduceMean", "", field(5, axes), field(5, keep));
}

/** The graph `probability[rows] = mean(features[rows, columns])`, with further fields. */
export function scoringGraph(columns: number, ...fields: readonly Uint8Array[]): Uint8Array {
  return message(
    field(1, scoringNode()),
    field(2, "scoring"),
    field(11, tensorInfo("features", 1, [-1, columns])),
    field(12, tensorInfo("probability", 1, [-1])),
    ...fields,
  );
}

/** A file with this graph: IR version 8, operator set 13. */
export function onnxFile(graph: Uint8Array, ...fields: readonly Uint8Array[]): Uint8Array {
  return message(field(1, 8), field(2, "weft"), field(8, field(2, 13)), field(7, graph), ...fields);
}
