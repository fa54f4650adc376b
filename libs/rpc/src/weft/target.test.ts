import { describe, expect, test } from "@jest/globals";
import { parseTarget } from "./target.ts";

const roundRobin = { name: "round_robin" };

describe("a target", () => {
  test.each<[string, string, number]>([
    ["127.0.0.1:80", "127.0.0.1", 80],
    ["dns:///ranking:7000", "ranking", 7000],
    ["dns:ranking.prod:7000", "ranking.prod", 7000],
    ["ipv4:10.0.0.1:5", "10.0.0.1", 5],
    ["ipv6:[::1]:5", "::1", 5],
    ["[::1]:5", "::1", 5],
    ["name", "name", 443],
  ])("%s", (text, host, port) =>
    expect(parseTarget(text)).toEqual({
      addresses: [{ host, port, weight: 1 }],
      authority: text.replace(/^(dns:(\/\/\/)?|ipv[46]:)/, ""),
      policy: roundRobin,
      connections: undefined,
    }),
  );

  test("lists addresses with weights, a policy and connections", () => {
    expect(parseTarget("ipv4:10.0.0.1:5*3,10.0.0.2:6?policy=weighted&connections=4")).toEqual({
      addresses: [
        { host: "10.0.0.1", port: 5, weight: 3 },
        { host: "10.0.0.2", port: 6, weight: 1 },
      ],
      authority: "10.0.0.1:5",
      policy: { name: "weighted" },
      connections: 4,
    });
    expect(parseTarget("a:1?policy=least_request").policy).toEqual({ name: "least_request" });
    expect(parseTarget("a:1?policy=consistent_hash").policy).toEqual({
      name: "consistent_hash",
      key: "x-weft-request-id",
      loadFactor: undefined,
    });
    expect(parseTarget("a:1?policy=consistent_hash&key=x-weft-tenant&load=1.25").policy).toEqual({
      name: "consistent_hash",
      key: "x-weft-tenant",
      loadFactor: 1.25,
    });
  });

  test.each<[string, string]>([
    ["", "host:port is wanted"],
    ["a:b", "host:port is wanted"],
    ["a:1:2", "host:port is wanted"],
    ["a:1,,b:2", "host:port is wanted"],
    ["a:1,", "host:port is wanted"],
    ["http://x", "host:port is wanted"],
    ["a b:1", "host:port is wanted"],
    ["a:99999", "port 99999 is above 65535"],
    ["[1.2.3.4]:5", "[1.2.3.4] is no IPv6 address"],
    ["ipv4:name:5", "name is no IPv4 address"],
    ["ipv4:[::1]:5", "::1 is no IPv4 address"],
    ["ipv6:10.0.0.1:5", "10.0.0.1 is no IPv6 address"],
    ["dns://1.1.1.1/a:1", "a DNS server cannot be named"],
    ["a:1*0?policy=weighted", "a weight must be a whole number, 1 to 100"],
    ["a:1*1.5?policy=weighted", "a weight must be a whole number, 1 to 100"],
    ["a:1*2", "weights need policy=weighted"],
    [
      "a:1?policy=fastest",
      'policy "fastest" is unknown; there are round_robin, least_request, weighted, consistent_hash',
    ],
    ["a:1?colour=red", '"colour" is no parameter'],
    ["a:1?policy=weighted&policy=weighted", "policy is given twice"],
    ["a:1?key=x", "key and load go with policy=consistent_hash"],
    ["a:1?policy=consistent_hash&key=X y", '"X y" is no metadata key'],
    ["a:1?policy=consistent_hash&load=1", "load must be above 1"],
    ["a:1?connections=0", "connections must be a whole number, 1 to 64"],
    ["a:1?a?b", "only one ?"],
    [new Array(257).fill("a:1").join(","), "more than 256 addresses"],
  ])("is refused: %s", (text, why) => {
    expect(() => parseTarget(text)).toThrow(TypeError);
    expect(() => parseTarget(text)).toThrow(why);
  });
});
