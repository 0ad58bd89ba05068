import { describe, expect, it } from "vitest";
import { about, dragged, fromRows, product, rows, VIEWS, type Vector } from "../src/volume/camera";
import { Pace } from "../src/volume/pace";
import { BLOCK, blocksOf, brightest, filled, grown, refined, sameVolume, surplus, tinted, type Shape } from "../src/volume/prepare";

function ball(shape: Shape, radius: number): Uint8Array {
  const map = new Uint8Array(shape[0] * shape[1] * shape[2]);
  map.forEach((_, i) => {
    const place = [i % shape[0], Math.floor(i / shape[0]) % shape[1], Math.floor(i / (shape[0] * shape[1]))];
    const away = Math.hypot(...place.map((value, axis) => value - (shape[axis] - 1) / 2));
    map[i] = Math.max(0, Math.min(255, 128 + 40 * (radius - away)));
  });
  return map;
}

describe("a refined map", () => {
  const shape: Shape = [12, 10, 9];
  const map = ball(shape, 3);
  const fine = refined(map, shape);

  it("goes through its voxels", () => {
    expect(fine.shape).toEqual([23, 19, 17]);
    const kept = map.map((_, i) => {
      const [x, y, z] = [i % 12, Math.floor(i / 12) % 10, Math.floor(i / 120)];
      return fine.map[(2 * z * 19 + 2 * y) * 23 + 2 * x];
    });
    expect(kept).toEqual(map);
  });
  it("of a straight slope is that slope", () => {
    const slope = Uint8Array.from({ length: 8 }, (_, i) => 10 * i);
    expect([...refined(slope, [8, 1, 1]).map].slice(2, 13)).toEqual([10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60]);
  });
  it("is left as it is where it is fine already", () => {
    expect(refined(new Uint8Array(100), [100, 1, 1]).shape).toEqual([100, 1, 1]);
  });
});

describe("blocks", () => {
  const shape: Shape = [13, 9, 11];
  const map = ball(shape, 2.5);
  const { map: fine, shape: fineShape } = refined(map, shape);
  const blocks = blocksOf(shape);
  const bright = brightest(fine, fineShape, shape);

  it("hold the brightest value that is found anywhere within them", () => {
    const brighter = fine.filter((value, i) => {
      const place = [i % fineShape[0], Math.floor(i / fineShape[0]) % fineShape[1], Math.floor(i / (fineShape[0] * fineShape[1]))];
      const [bx, by, bz] = place.map((voxel) => Math.floor((voxel / 2 + 0.5) / BLOCK));
      return value > bright[(bz * blocks[1] + by) * blocks[0] + bx];
    });
    expect(Math.max(...bright)).toBe(Math.max(...fine));
    expect([...brighter]).toEqual([]);
  });
  it("bound what reaches a level, or nothing does", () => {
    expect(filled(bright, blocks, 100)).not.toBeNull();
    expect(filled(bright, blocks, 256)).toBeNull();
    const corner = new Uint8Array(8);
    corner[7] = 9;
    expect(filled(corner, [2, 2, 2], 5)).toEqual({ low: [1, 1, 1], high: [2, 2, 2] });
  });
});

describe("parts", () => {
  it("reach further out when grown, and keep what they had", () => {
    const labels = new Uint8Array(5 * 5 * 5);
    labels[62] = 3;
    const out = grown(labels, [5, 5, 5], 1);
    expect(out.filter((label) => label === 3)).toHaveLength(7);
    expect(out[62]).toBe(3);
  });
  it("have their colours, and are clear when hidden", () => {
    const bytes = tinted(Uint8Array.of(0, 2), [[1, 1, 1], [2, 2, 2], [9, 8, 7]], new Set([2]));
    expect([...bytes]).toEqual([1, 1, 1, 255, 9, 8, 7, 0]);
  });
});

it("a surplus is what one map has more than another", () => {
  expect([...surplus(Uint8Array.of(9, 1), Uint8Array.of(4, 5))]).toEqual([5, 0]);
});

it("a contour can enclose as much in one map as in another of another scale", () => {
  const map = Uint8Array.of(10, 20, 30, 40, 50);
  expect(sameVolume(map.map((value) => 2 * value), map, 30)).toBe(60);
  expect(sameVolume(new Uint8Array(5), map, 30)).toBe(1);
});

describe("the camera", () => {
  const near = (a: Vector, b: Vector) => a.forEach((value, i) => expect(value).toBeCloseTo(b[i], 6));

  it("looks along an axis as the figures do", () => {
    for (const [name, right, up] of [["z", [1, 0, 0], [0, 1, 0]], ["y", [1, 0, 0], [0, 0, 1]], ["x", [0, 1, 0], [0, 0, 1]]] as const) {
      const [first, second] = rows(VIEWS[name]);
      near(first, right as unknown as Vector);
      near(second, up as unknown as Vector);
    }
  });
  it("keeps right-handed axes through any turn", () => {
    const turn = product(about([1, 2, 3], 1.1), dragged(VIEWS.x, 0.7, -0.4));
    const [a, b, c] = rows(turn);
    near(c, [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]);
    rows(fromRows(a, b, c)).forEach((row, i) => near(row, [a, b, c][i]));
  });
  it("moves what faces the eye to the right when dragged to the right", () => {
    const before = rows(VIEWS.z);
    const [right] = rows(dragged(VIEWS.z, 0.1, 0));
    // the point of the molecule nearest to the eye, on the view's x axis
    expect(before[2].reduce((sum, value, i) => sum + value * right[i], 0)).toBeGreaterThan(0);
  });
});

describe("pace", () => {
  it("draws as many pixels as fit where the rays cost", () => {
    const pace = new Pace();
    for (let k = 0; k < 30; k++) { pace.took(100_000, 100); pace.took(10_000, 10); }
    expect(pace.pixels(40)).toBeGreaterThan(30_000);
    expect(pace.pixels(40)).toBeLessThan(50_000);
  });
  it("does not blur the picture where that gains nothing", () => {
    const pace = new Pace();
    for (let k = 0; k < 30; k++) { pace.took(400_000, 201); pace.took(10_000, 200); }
    expect(pace.pixels(40)).toBeGreaterThan(400_000);
  });
  it("is not misled by the few pictures of a first visit", () => {
    const pace = new Pace();
    for (const [pixels, time] of [[209, 1042], [17, 90], [273, 519], [273, 476], [273, 904]]) pace.took(1000 * pixels, time);
    expect(pace.pixels(30)).toBeLessThan(40_000);
  });
  it("draws coarsely again after fine pictures alone", () => {
    const pace = new Pace();
    pace.took(20_000, 300);
    for (let k = 0; k < 8; k++) pace.took(340_000, 500);
    expect(pace.pixels(30)).toBeLessThan(40_000);
  });
});
