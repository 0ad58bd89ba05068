import { describe, expect, it } from "vitest";
import { angstrom, count, logTicks, number, roundLength, roundStep, share, ticks } from "../src/format";

describe("ticks", () => {
  it("are round, within the range, and print without tails", () => {
    expect(ticks(0, 1, 5)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
    expect(ticks(-0.31, 0.31, 7)).toEqual([-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3]);
    expect(ticks(9000, 31000, 4)).toEqual([10000, 20000, 30000]);
  });
  it("are none where the range is empty or not a number", () => {
    expect(ticks(1, 1, 5)).toEqual([]);
    expect(ticks(NaN, 2, 5)).toEqual([]);
  });
  it("of a logarithmic axis lie within it", () => {
    expect(logTicks(0.5, 30)).toEqual([0.5, 1, 2, 5, 10, 20]);
    expect(logTicks(1, 1e6)).toEqual([1, 10, 100, 1000, 1e4, 1e5, 1e6]);
  });
});

describe("round numbers", () => {
  it("are 1, 2 or 5 times a power of ten", () => {
    expect([0.3, 1, 1.1, 2.5, 7].map(roundStep)).toEqual([0.5, 1, 2, 5, 10]);
    expect([0.3, 1, 1.9, 49, 50.00001].map(roundLength)).toEqual([0.2, 1, 1, 20, 50]);
  });
});

describe("words", () => {
  it("keep significant digits and drop idle ones", () => {
    expect([0, 1, -1.5, 0.12345, 12345, 1e-7, NaN].map((value) => number(value))).toEqual(
      ["0", "1", "−1.5", "0.123", "12345", "1e−7", "–"]);
  });
  it("group thousands", () => expect(count(1234567)).toBe("1\u202f234\u202f567"));
  it("tell a small share from none", () => {
    expect(share(0)).toBe("0\u202f%");
    expect(share(0.0001)).toBe("<0.1\u202f%");
    expect(share(0.256)).toBe("25.6\u202f%");
  });
  it("say what was not measured", () => expect(angstrom(null)).toBe("–"));
});
