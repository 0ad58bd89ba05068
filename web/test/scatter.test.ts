import { describe, expect, it } from "vitest";
import { cells, nearest } from "../src/scatter/nearest";
import { meanLatent, project, resample, support } from "../src/scatter/path";
import { inside, lasso, type Point } from "../src/scatter/polygon";
import { linearFit } from "../src/scatter/projector";
import { Canvas, disc, radius, splat } from "../src/scatter/splat";

/** Numbers between 0 and 1 that are the same in every run. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 0x100000000;
  };
}

function cloud(count: number, seed = 1): [Float32Array, Float32Array] {
  const next = random(seed);
  return [Float32Array.from({ length: count }, () => 4 * next() - 2), Float32Array.from({ length: count }, () => next())];
}

const STAR: Point[] = Array.from({ length: 22 }, (_, k) => {
  const r = k % 2 ? 0.45 : 1.7;
  return [r * Math.cos((k * Math.PI) / 11), 0.5 + 0.3 * r * Math.sin((k * Math.PI) / 11)];
});

describe("lasso", () => {
  it("finds the same points as looking at each by itself, in any polygon", () => {
    const [xs, ys] = cloud(40000);
    const bow: Point[] = [[-1, 0.1], [1, 0.9], [1, 0.1], [-1, 0.9]];
    for (const polygon of [STAR, bow, [[-9, -9], [9, -9], [0, 9]] as Point[]]) {
      const slow = [...xs.keys()].filter((i) => inside(xs[i], ys[i], polygon));
      expect([...lasso(xs, ys, polygon)]).toEqual(slow);
      expect(slow.length).toBeGreaterThan(1000);
    }
  });
  it("finds nothing in a line, and no point that is not a number", () => {
    const xs = Float32Array.of(0, NaN, 0.5);
    const ys = Float32Array.of(0, 0, NaN);
    expect([...lasso(xs, ys, [[-1, -1], [1, 1]])]).toEqual([]);
    expect([...lasso(xs, ys, [[-1, -1], [1, -1], [1, 1], [-1, 1]])]).toEqual([0]);
  });
  it("takes less than a second for a million points", () => {
    const [xs, ys] = cloud(1_000_000, 3);
    // time of this process: what else the machine does is no fault of the lasso
    const { process } = globalThis as unknown as { process: { cpuUsage(): { user: number } } };
    const begun = process.cpuUsage().user;
    lasso(xs, ys, STAR);
    expect((process.cpuUsage().user - begun) / 1000).toBeLessThan(1000);
  });
});

describe("nearest", () => {
  it("finds the same point as looking at all, also from outside and with unequal scales", () => {
    const [xs, ys] = cloud(5000, 7);
    const grid = cells(xs, ys);
    const next = random(11);
    for (let k = 0; k < 60; k++) {
      const place: Point = [10 * next() - 5, 3 * next() - 1];
      const scale: Point = [40, 900];
      const away = (i: number) => ((xs[i] - place[0]) * scale[0]) ** 2 + ((ys[i] - place[1]) * scale[1]) ** 2;
      const best = [...xs.keys()].sort((a, b) => away(a) - away(b)).slice(0, 5);
      expect(nearest(grid, xs, ys, place, scale, 5)).toEqual(best);
    }
  });
  it("passes over points that are not numbers", () => {
    const xs = Float32Array.of(NaN, 1, 2);
    const ys = Float32Array.of(0, 0, NaN);
    expect(nearest(cells(xs, ys), xs, ys, [0, 0], [1, 1], 3)).toEqual([1]);
  });
});

describe("paths", () => {
  it("are divided into equal steps on the screen", () => {
    expect(resample([[0, 0], [1, 0], [1, 1]], 5)).toEqual([[0, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 1]]);
    expect(resample([[0, 0], [1, 0], [1, 1]], 3, [1, 3])[1][1]).toBeCloseTo(1 / 3);
  });
  it("count each particle at its nearest frame, and one without a latent nowhere", () => {
    const latents = Float32Array.of(0, 0, 0.4, 0, 0.6, 0, 3, 0, NaN, 0);
    expect([...support(latents, 2, [[0, 0], [1, 0]])]).toEqual([2, 2]);
  });
  it("give the mean latent of particles", () => expect(meanLatent(Float32Array.of(1, 2, 9, 9, 3, 4), 2, [0, 2])).toEqual([2, 3]));
  it("are met at the place between frames that is nearest", () => {
    const { at, distance } = project([1.25, 1], [[0, 0], [1, 0], [2, 0]]);
    expect(at).toBeCloseTo(1.25);
    expect(distance).toBeCloseTo(1);
    expect(project([-3, 0], [[0, 0], [1, 0]]).at).toBe(0);
  });
});

describe("a linear column", () => {
  it("is recognised, and one that is not is refused", () => {
    const next = random(5);
    const inputs = Array.from({ length: 300 }, () => [next(), next(), 1]);
    const weights = linearFit(inputs, inputs.map(([a, b]) => 2 * a - 3 * b + 0.5), 0.9999);
    expect(weights?.map((each) => Number(each.toFixed(6)))).toEqual([2, -3, 0.5]);
    expect(linearFit(inputs, inputs.map(([a, b]) => Math.sin(9 * a * b)), 0.9999)).toBeNull();
  });
});

describe("splatting", () => {
  const frame = { width: 40, height: 30, scale: [10, -10] as Point, offset: [0, 30] as Point };
  const ink = { code: Uint8Array.of(0, 1, 1), palette: [[255, 0, 0], [0, 0, 255]] as [number, number, number][], visible: [true, true] };

  it("puts a point where the axes say, y upwards, and leaves out what is outside or hidden", () => {
    const canvas = new Canvas(40, 30);
    const xs = Float32Array.of(1, 2, 9);
    const ys = Float32Array.of(1, 2, 1);
    expect(splat(canvas, frame, xs, ys, ink, { rows: null, step: 1, size: 0 })).toBe(2);
    expect(canvas.weight[20 * 40 + 10]).toBeGreaterThan(0);
    expect(canvas.weight[10 * 40 + 20]).toBeGreaterThan(0);
    const hidden = new Canvas(40, 30);
    expect(splat(hidden, frame, xs, ys, { ...ink, visible: [true, false] }, { rows: null, step: 1, size: 0 })).toBe(1);
  });
  it("shows more particles on a pixel as more opaque", () => {
    const canvas = new Canvas(3, 1);
    canvas.add(0, 1, [255, 0, 0]);
    canvas.add(1, 100, [255, 0, 0]);
    const pixels = new Uint8ClampedArray(12);
    canvas.paint(pixels, 0.35, canvas.crowd());
    expect(pixels[3]).toBe(Math.round(255 * 0.35));
    expect(pixels[7]).toBeGreaterThan(2 * pixels[3]);
    expect(pixels[11]).toBe(0);
  });
  it("draws smaller points where there are more", () => {
    expect(radius(500)).toBeGreaterThan(radius(50_000));
    expect(disc(0, 10)).toHaveLength(1);
    expect(disc(2, 10).length).toBeGreaterThan(disc(1, 10).length);
  });
});
