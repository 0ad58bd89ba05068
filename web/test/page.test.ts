import { describe, expect, it } from "vitest";
import { category, rgb, viridis } from "../src/colour";
import { fromBase64, unpack, unzip, values } from "../src/packet";
import { split } from "../src/places";
import { cleaned } from "../src/scatter/selection";
import { edgesOf, evenness, mollweide } from "../src/sections/coverage";
import { nearestIndex, scaleOf, wantsLog } from "../src/sections/curves";
import { Latest, Recent } from "../src/source";
import { robust } from "../src/table";

describe("arrays", () => {
  it("come out of a packet as they went in, whatever the header's length", () => {
    for (const pad of ["", "x", "xy", "xyz"]) {
      const header = { pad, arrays: [
        { name: "a", kind: "uint8", shape: [5] }, { name: "b", kind: "float32", shape: [2, 1] }, { name: "c", kind: "int32", shape: [1] },
      ] };
      const text = new TextEncoder().encode(JSON.stringify(header));
      const up = (size: number) => 4 * Math.ceil(size / 4);
      const bytes = new Uint8Array(up(4 + text.length) + 8 + 8 + 4);
      const view = new DataView(bytes.buffer);
      view.setUint32(0, text.length, true);
      bytes.set(text, 4);
      const at = up(4 + text.length);
      bytes.set([1, 2, 3, 4, 5], at);
      view.setFloat32(at + 8, 1.5, true);
      view.setFloat32(at + 12, -2, true);
      view.setInt32(at + 16, -7, true);
      const { arrays } = unpack<typeof header & { arrays: never }>(bytes.buffer);
      expect([...arrays.get("a")!]).toEqual([1, 2, 3, 4, 5]);
      expect([...arrays.get("b")!]).toEqual([1.5, -2]);
      expect([...arrays.get("c")!]).toEqual([-7]);
    }
  });
  it("of a report are base64 of gzip", async () => {
    const zipped = new Uint8Array(await new Response(
      new Blob([Uint8Array.of(1, 2, 3)]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer());
    const text = btoa(String.fromCharCode(...zipped));
    expect([...(await unzip(fromBase64(text)))]).toEqual([1, 2, 3]);
  });
  it("that are too short are refused", () => {
    expect(() => values(new Uint8Array(3), { name: "a", kind: "float32", shape: [1] })).toThrow("array a has 3 bytes");
  });
});

describe("wishes", () => {
  it("are fulfilled one at a time, and only the latest of those that wait", async () => {
    let under = 0;
    let most = 0;
    const done: number[] = [];
    const latest = new Latest(async (wish: number) => {
      most = Math.max(most, ++under);
      await new Promise((go) => setTimeout(go, 5));
      under--;
      done.push(wish);
      return wish;
    });
    const answers = await Promise.all([1, 2, 3, 4].map((wish) => latest.ask(wish)));
    expect(answers).toEqual([1, null, null, 4]);
    expect(done).toEqual([1, 4]);
    expect(most).toBe(1);
    expect(await latest.ask(5)).toBe(5);
  });
  it("go on after one that failed", async () => {
    const latest = new Latest(async (wish: number) => { if (wish === 1) throw new Error("no"); return wish; });
    await expect(latest.ask(1)).rejects.toThrow("no");
    expect(await latest.ask(2)).toBe(2);
  });
  it("that are kept are forgotten in the order of their last use", () => {
    const gone: number[] = [];
    const recent = new Recent<number>(2, (old) => gone.push(old));
    recent.set("a", 1);
    recent.set("b", 2);
    recent.get("a");
    recent.set("c", 3);
    expect(gone).toEqual([2]);
    expect(recent.get("a")).toBe(1);
  });
});

describe("colours", () => {
  it("of categories stay apart past the eighth", () => {
    const seen = new Set(Array.from({ length: 24 }, (_, i) => category(i).map(Math.round).join()));
    expect(seen.size).toBe(24);
    expect(category(0)).toEqual(rgb("#0072B2"));
  });
  it("of numbers grow lighter all the way", () => {
    const light = ([r, g, b]: number[]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
    for (let i = 1; i <= 20; i++) {
      expect(light(viridis(i / 20, true))).toBeGreaterThan(light(viridis((i - 1) / 20, true)));
    }
  });
});

describe("the sphere of views", () => {
  it("keeps areas: cells of equal solid angle are equally large on paper", () => {
    const area = (low: number, high: number) => {
      let sum = 0;
      for (let k = 0; k < 200; k++) {
        const a = low + ((high - low) * k) / 200;
        const b = low + ((high - low) * (k + 1)) / 200;
        const [xa, ya] = mollweide(a, 1);
        const [xb, yb] = mollweide(b, 1);
        sum += ((xa + xb) / 2) * (yb - ya);
      }
      return sum / (Math.sin(high) - Math.sin(low));
    };
    expect(area(0, 0.5)).toBeCloseTo(area(0.9, 1.4), 3);
  });
  it("calls even coverage 1 everywhere, however the rows are cut", () => {
    const edges = edgesOf({ counts: [[], [], []] });
    const counts = [0, 1, 2].map((i) => [1, 1].map(() => 3000 * (Math.sin(edges[i + 1]) - Math.sin(edges[i]))));
    for (const value of evenness(counts, edges).flat()) expect(value).toBeCloseTo(1, 6);
    const told = edgesOf({ counts: [[5, 5], [5, 5]], latitudes: [-90, 0, 90] });
    expect(evenness([[5, 5], [5, 5]], told).flat()).toEqual([1, 1, 1, 1]);
  });
});

describe("curves", () => {
  it("are logarithmic only where they must be", () => {
    expect(wantsLog([1, 1000])).toBe(true);
    expect(wantsLog([0, 1000])).toBe(false);
    expect(wantsLog([1, 50])).toBe(false);
  });
  it("tell the value nearest to the pointer", () => {
    const scale = scaleOf([0, 10], 0, 100, false);
    expect(nearestIndex([0, 4, 10], 52, scale)).toBe(1);
    expect(scale.place(5)).toBe(50);
  });
});

it("a place between frames is one of few", () => {
  expect(split(2.51, 5)).toEqual({ first: 2, amount: 0.5 });
  expect(split(9, 5)).toEqual({ first: 4, amount: 0 });
});

it("a stray value does not take the scale away", () => {
  const many = Float32Array.from({ length: 10000 }, (_, i) => i / 10000);
  many[0] = 1.2;
  const [low, high] = robust(many, 0.005);
  expect(low).toBeCloseTo(0.005, 2);
  expect(high).toBeCloseTo(0.995, 2);
});

it("a name is safe as a file's", () => {
  expect(cleaned(" ../my set! ")).toBe("_my_set_");
  expect(cleaned("")).toBe("selection");
});
