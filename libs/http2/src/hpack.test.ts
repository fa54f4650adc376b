import { describe, expect, test } from "@jest/globals";
import { seededBelow } from "@weft/repeatable";
import type { HeaderBlock } from "./header-block.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { HeaderTemplate, HpackEncoder } from "./hpack-encoder.ts";
import { decodeHuffman, encodeHuffman, huffmanLength } from "./huffman.ts";

const decoder = (tableBytesMax = 4_096, cachedBlocksMax = 64) =>
  new HpackDecoder({ tableBytesMax, listBytesMax: 65_536, cachedBlocksMax });

function decode(from: HpackDecoder, hex: string | Buffer): HeaderBlock {
  const bytes = typeof hex === "string" ? Buffer.from(hex, "hex") : hex;
  return from.decode(bytes, 0, bytes.length);
}

/** The fields of a block, pseudo-header fields first. */
function fieldsOf(block: HeaderBlock): [string, string][] {
  const pseudo: [string, string][] = [
    [":status", block.status],
    [":method", block.method],
    [":scheme", block.scheme],
    [":path", block.path],
    [":authority", block.authority],
  ];
  const regular = Array.from({ length: block.fields.length / 2 }, (_, index): [string, string] => [
    block.fields[index * 2] ?? "",
    block.fields[index * 2 + 1] ?? "",
  ]);
  return [...pseudo.filter(([, value]) => value !== ""), ...regular];
}

describe("examples of RFC 7541, appendix C", () => {
  test.each([
    ["C.2.1", "400a637573746f6d2d6b65790d637573746f6d2d686561646572", [["custom-key", "custom-header"]], 55],
    ["C.2.2", "040c2f73616d706c652f70617468", [[":path", "/sample/path"]], 0],
    ["C.2.3", "100870617373776f726406736563726574", [["password", "secret"]], 0],
    ["C.2.4", "82", [[":method", "GET"]], 0],
  ])("%s", (_name, hex, fields, tableBytes) => {
    const one = decoder();
    expect(fieldsOf(decode(one, hex))).toEqual(fields);
    expect(one.tableBytes).toBe(tableBytes);
  });

  const requests = [
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "www.example.com"],
    ],
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "www.example.com"],
      ["cache-control", "no-cache"],
    ],
    [
      [":method", "GET"],
      [":scheme", "https"],
      [":path", "/index.html"],
      [":authority", "www.example.com"],
      ["custom-key", "custom-value"],
    ],
  ];
  const requestTable = [
    ["custom-key", "custom-value"],
    ["cache-control", "no-cache"],
    [":authority", "www.example.com"],
  ];

  test.each([
    [
      "C.3",
      [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
      ],
    ],
    [
      "C.4, Huffman",
      [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
      ],
    ],
  ])("%s", (_name, blocks) => {
    const one = decoder();
    expect(blocks.map((hex) => fieldsOf(decode(one, hex)))).toEqual(requests);
    expect(one.entries()).toEqual(requestTable);
    expect(one.tableBytes).toBe(164);
  });

  const date = "Mon, 21 Oct 2013 20:13:21 GMT";
  const laterDate = "Mon, 21 Oct 2013 20:13:22 GMT";
  const location = "https://www.example.com";
  const cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";

  test.each([
    [
      "C.5",
      [
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
      ],
    ],
    [
      "C.6, Huffman",
      [
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
      ],
    ],
  ])("%s, with a table of 256 bytes", (_name, blocks) => {
    const one = decoder(256);
    expect(blocks.map((hex) => fieldsOf(decode(one, hex)))).toEqual([
      [
        [":status", "302"],
        ["cache-control", "private"],
        ["date", date],
        ["location", location],
      ],
      [
        [":status", "307"],
        ["cache-control", "private"],
        ["date", date],
        ["location", location],
      ],
      [
        [":status", "200"],
        ["cache-control", "private"],
        ["date", laterDate],
        ["location", location],
        ["content-encoding", "gzip"],
        ["set-cookie", cookie],
      ],
    ]);
    expect(one.entries()).toEqual([
      ["set-cookie", cookie],
      ["content-encoding", "gzip"],
      ["date", laterDate],
    ]);
    expect(one.tableBytes).toBe(215);
  });
});

describe("Huffman's code", () => {
  test("what is encoded decodes to itself", () => {
    const seed = Date.now();
    const random = seededBelow(seed);
    for (let round = 0; round < 2_000; round++) {
      const text = String.fromCharCode(...Array.from({ length: random(60) }, () => random(256)));
      const target = Buffer.alloc(huffmanLength(text));
      const end = encodeHuffman(text, target, 0);
      if (end !== target.length || decodeHuffman(target, 0, end) !== text)
        throw new Error(`seed ${seed}: ${JSON.stringify(text)}`);
    }
  });

  test("wrong padding and EOS are refused", () => {
    const wrong = ["00", "ff", "1fff", "ffffffff", "fffffffc", "ffff"];
    for (const hex of wrong) {
      const bytes = Buffer.from(hex, "hex");
      expect([hex, decodeHuffman(bytes, 0, bytes.length)]).toEqual([hex, undefined]);
    }
  });
});

describe("decoder", () => {
  test("a block that comes again is the same object until the table changes", () => {
    const one = decoder();
    decode(one, "400161016240016301644001650166");
    const first = decode(one, "be");
    decode(one, "be");
    expect(decode(one, "be")).toBe(decode(one, "be"));
    expect(decode(one, "be")).not.toBe(first);
    decode(one, "4001670168");
    expect(fieldsOf(decode(one, "be"))).toEqual([["g", "h"]]);
    expect(fieldsOf(decode(one, "bf"))).toEqual([["e", "f"]]);
  });

  test.each([
    ["an index of 0", "80"],
    ["an index beyond the table", "be"],
    ["an integer without end", "7fffffffffffffffff"],
    ["a string that breaks off", "400a6375"],
    ["a block that breaks off", "40"],
    ["a table larger than its limit", "3fe2ff03"],
    ["a change of size after a field", "8220"],
  ])("refuses %s", (_name, hex) => {
    expect(() => decode(decoder(), hex)).toThrow(expect.objectContaining({ code: 9 }));
  });

  test("a list beyond its limit is not kept, and the table stays in step", () => {
    const one = new HpackDecoder({ tableBytesMax: 4_096, listBytesMax: 1_000, cachedBlocksMax: 8 });
    const value = Buffer.alloc(900, 0x61);
    const block = Buffer.concat([Buffer.from("40016b7f8506", "hex"), value, Buffer.alloc(10_000, 0xbe)]);
    const decoded = decode(one, block);
    expect(decoded.oversized).toBe(true);
    expect(decoded.fields.length).toBe(2);
    expect(decode(one, "be").get("k")).toBe(value.toString());
  });
});

test("what the encoder writes the decoder reads, whatever happens to the table", () => {
  const seed = Date.now();
  const random = seededBelow(seed);
  for (let round = 0; round < 50; round++) {
    const encoder = new HpackEncoder(4_096);
    const reader = decoder(8_192, 16);
    const templates = Array.from(
      { length: 30 },
      () =>
        new HeaderTemplate(
          Array.from(
            { length: random(6) },
            () => [`name-${random(20)}`, "v".repeat(random(300)) + random(50)] as const,
          ),
        ),
    );
    for (let step = 0; step < 200; step++) {
      if (random(20) === 0) encoder.setPeerTableSize(random(3) === 0 ? 0 : random(6_000));
      const template = templates[random(templates.length)];
      if (template === undefined) continue;
      const fixed = Buffer.from(encoder.block(template));
      const target = Buffer.alloc(2_000);
      const extra = [`x-${random(5)}`, `${random(1_000_000)}`] as const;
      const end = encoder.writeLiteral(extra[0], extra[1], target, 0);
      const block = decode(reader, Buffer.concat([fixed, target.subarray(0, end)]));
      const expected = [...template.fields, extra].flat();
      if (JSON.stringify(block.fields) !== JSON.stringify(expected)) throw new Error(`seed ${seed} differs at ${step}`);
    }
  }
});
