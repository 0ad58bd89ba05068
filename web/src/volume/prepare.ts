/** Maps made ready for the ray marcher: finer, with the brightest voxel of each block, and with a colour. */

import type { Rgb } from "../colour";

/** Lengths along x, y, z; x runs fastest. */
export type Shape = [number, number, number];

/** Below this length of the longest side a map is refined: at 64³ the facets of linear interpolation are seen. */
const COARSE = 96;
export const BLOCK = 4;

/** Whether a map is worth refining. */
export function coarse(shape: Shape): boolean {
  return Math.max(...shape) <= COARSE;
}

/** The map on a grid twice as fine (2 n - 1), through its own voxels: cubic weights (-1, 9, 9, -1) / 16 between. */
export function refined(map: Uint8Array, shape: Shape): { map: Uint8Array; shape: Shape } {
  if (!coarse(shape)) return { map, shape };
  let found = map;
  let now: Shape = shape;
  for (const axis of [0, 1, 2] as const) {
    found = refinedAlong(found, now, axis);
    now = [...now] as Shape;
    now[axis] = 2 * now[axis] - 1;
  }
  return { map: found, shape: now };
}

function refinedAlong(map: Uint8Array, shape: Shape, axis: 0 | 1 | 2): Uint8Array {
  const length = shape[axis];
  const stride = axis === 0 ? 1 : axis === 1 ? shape[0] : shape[0] * shape[1];
  const outer = map.length / (length * stride);
  const long = 2 * length - 1;
  const found = new Uint8ClampedArray(outer * long * stride);
  for (let block = 0; block < outer; block++) {
    for (let i = 0; i < length; i++) {
      const before = Math.max(0, i - 1) - i;
      const after = Math.min(length - 1, i + 2) - i;
      const from = (block * length + i) * stride;
      const to = (block * long + 2 * i) * stride;
      for (let k = 0; k < stride; k++) {
        found[to + k] = map[from + k];
        if (i === length - 1) continue;
        const near = map[from + k] + map[from + stride + k];
        found[to + stride + k] = (9 * near - map[from + before * stride + k] - map[from + after * stride + k]) / 16;
      }
    }
  }
  return new Uint8Array(found.buffer);
}

/** How many blocks there are along each axis of the unrefined map. */
export function blocksOf(shape: Shape): Shape {
  return shape.map((length) => Math.ceil((length + 1) / BLOCK)) as Shape;
}

/**
 * The brightest value that interpolation may reach within each block.
 *
 * Block b holds positions BLOCK b - 1/2 … BLOCK (b + 1) - 1/2 in voxels of the unrefined map; one voxel around it is
 * counted in. `scale` is that of the refined grid: 1 or 2.
 */
export function brightest(map: Uint8Array, fine: Shape, shape: Shape): Uint8Array {
  const scale = fine[0] === shape[0] ? 1 : 2;
  const blocks = blocksOf(shape);
  // one axis at a time: a maximum over a box is a maximum of maxima over its lines; whole planes are compared first
  const alongZ = slide(map, fine, 2, blocks[2], scale);
  const alongY = slide(alongZ, [fine[0], fine[1], blocks[2]], 1, blocks[1], scale);
  return slide(alongY, [fine[0], blocks[1], blocks[2]], 0, blocks[0], scale);
}

function slide(map: Uint8Array, shape: Shape, axis: 0 | 1 | 2, count: number, scale: number): Uint8Array {
  const length = shape[axis];
  const stride = axis === 0 ? 1 : axis === 1 ? shape[0] : shape[0] * shape[1];
  const outer = map.length / (length * stride);
  const found = new Uint8Array(outer * count * stride);
  for (let block = 0; block < count; block++) {
    const first = Math.max(0, scale * (BLOCK * block - 1));
    const last = Math.min(length - 1, scale * (BLOCK * (block + 1) + 1));
    for (let line = 0; line < outer; line++) {
      const to = (line * count + block) * stride;
      for (let i = first; i <= last; i++) {
        const from = (line * length + i) * stride;
        for (let k = 0; k < stride; k++) if (map[from + k] > found[to + k]) found[to + k] = map[from + k];
      }
    }
  }
  return found;
}

/** Ends, in blocks, of what reaches a level; null where nothing does. */
export function filled(blocks: Uint8Array, shape: Shape, level: number): { low: Shape; high: Shape } | null {
  const low: Shape = [Infinity, Infinity, Infinity];
  const high: Shape = [-1, -1, -1];
  for (let i = 0; i < blocks.length; i++) {
    if (blocks[i] < level) continue;
    const place: Shape = [i % shape[0], Math.floor(i / shape[0]) % shape[1], Math.floor(i / (shape[0] * shape[1]))];
    for (const axis of [0, 1, 2] as const) {
      low[axis] = Math.min(low[axis], place[axis]);
      high[axis] = Math.max(high[axis], place[axis] + 1);
    }
  }
  return high[0] < 0 ? null : { low, high };
}

/** Labels that reach a few voxels further out, so that a surface drawn at a low level still has a part. */
export function grown(labels: Uint8Array, shape: Shape, by: number): Uint8Array {
  const [nx, ny] = shape;
  const steps = [1, -1, nx, -nx, nx * ny, -nx * ny];
  const found = labels.slice();
  let edge = new Int32Array(found.length);
  let next = new Int32Array(found.length);
  let size = 0;
  for (let i = 0; i < found.length; i++) {
    // what has labels all around it cannot grow
    if (found[i] !== 0 && (found[i - 1] === 0 || found[i + 1] === 0 || found[i - nx] === 0 || found[i + nx] === 0
      || found[i - nx * ny] === 0 || found[i + nx * ny] === 0)) edge[size++] = i;
  }
  for (let round = 0; round < by; round++) {
    let reached = 0;
    for (let k = 0; k < size; k++) {
      for (const step of steps) {
        const to = edge[k] + step;
        if (found[to] === 0) { found[to] = found[edge[k]]; next[reached++] = to; }
      }
    }
    [edge, next, size] = [next, edge, reached];
  }
  return found;
}

/** A colour for each voxel, red, green, blue, and whether its part is shown; 0 is what belongs to no part. */
export function tinted(labels: Uint8Array, palette: Rgb[], hidden: ReadonlySet<number>): Uint8Array {
  const table = new Uint8Array(4 * 256);
  for (let label = 0; label < 256; label++) {
    const colour = palette[Math.min(label, palette.length - 1)];
    table.set([...colour, hidden.has(label) ? 0 : 255], 4 * label);
  }
  const inks = new Uint32Array(table.buffer);
  const found = new Uint32Array(labels.length);
  for (let i = 0; i < labels.length; i++) found[i] = inks[labels[i]];
  return new Uint8Array(found.buffer);
}

/** What b has more than a. */
export function surplus(b: Uint8Array, a: Uint8Array): Uint8Array {
  return b.map((value, i) => Math.max(0, value - a[i]));
}

/** Two maps mixed: (1 - t) a + t b. */
export function mixed(a: Uint8Array, b: Uint8Array, t: number): Uint8Array {
  return a.map((value, i) => Math.round(value + t * (b[i] - value)));
}

/** The level, 1 to 255, at which a map encloses as many voxels as another does at a given level. */
export function sameVolume(map: Uint8Array, other: Uint8Array, level: number): number {
  const wanted = other.reduce((sum, value) => sum + (value >= level ? 1 : 0), 0);
  const counts = new Int32Array(256);
  for (let i = 0; i < map.length; i++) counts[map[i]]++;
  let enclosed = 0;
  for (let value = 255; value > 0; value--) {
    enclosed += counts[value];
    if (enclosed >= wanted) return value;
  }
  return 1;
}
