/**
 * Points drawn by the processor into a picture: a million take some 20 ms on one core, with or without a graphics
 * card, and where points lie on one another the picture shows how many instead of whichever came last.
 */

import type { Rgb } from "../colour";

export interface Frame {
  width: number;
  height: number;
  /** Pixels are (x · scale x + offset x, y · scale y + offset y). */
  scale: [number, number];
  offset: [number, number];
}

export interface Ink {
  /** Of each point, its colour in `palette`; null paints all with the first. */
  code: Uint8Array | null;
  palette: Rgb[];
  /** Of each code, whether its points are drawn at all. */
  visible: boolean[];
}

/** How large points are drawn when so many are in view, pixels of the screen. */
export function radius(count: number): number {
  return Math.min(3.2, Math.max(0.5, 3.2 * (1500 / Math.max(1, count)) ** 0.22));
}

/** Scratch space of one size, used again for every frame. */
export class Canvas {
  readonly weight: Float32Array;
  private readonly sums: Float32Array;

  constructor(readonly width: number, readonly height: number) {
    this.weight = new Float32Array(width * height);
    this.sums = new Float32Array(3 * width * height);
  }

  clear(): void {
    this.weight.fill(0);
    this.sums.fill(0);
  }

  /** Add one point to the ink of the pixels that it covers. */
  add(place: number, amount: number, [red, green, blue]: Rgb): void {
    this.weight[place] += amount;
    this.sums[3 * place] += amount * red;
    this.sums[3 * place + 1] += amount * green;
    this.sums[3 * place + 2] += amount * blue;
  }

  /**
   * The picture: colour is the mean of the points on a pixel, opacity grows with their number.
   *
   * One point of full weight has opacity `one`; many approach 1 with the logarithm, so that a crowd a hundred times
   * as dense is still told from one ten times as dense.
   */
  paint(pixels: Uint8ClampedArray, one: number, crowd: number): void {
    const slope = (1 - one) / Math.log1p(Math.max(1, crowd));
    for (let i = 0; i < this.weight.length; i++) {
      const weight = this.weight[i];
      if (weight === 0) { pixels[4 * i + 3] = 0; continue; }
      const opacity = weight < 1 ? one * weight : Math.min(1, one + slope * Math.log(weight));
      pixels[4 * i] = this.sums[3 * i] / weight;
      pixels[4 * i + 1] = this.sums[3 * i + 1] / weight;
      pixels[4 * i + 2] = this.sums[3 * i + 2] / weight;
      pixels[4 * i + 3] = 255 * opacity;
    }
  }

  /** A number of points that few pixels exceed: the crowd against which opacity is measured. */
  crowd(): number {
    let most = 0;
    for (let i = 0; i < this.weight.length; i++) if (this.weight[i] > most) most = this.weight[i];
    return most;
  }
}

/** How much of each pixel around the centre a disc covers: offsets and weights. */
export function disc(size: number, width: number): { step: number; weight: number }[] {
  const reach = Math.ceil(size);
  const found = [];
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const weight = Math.min(1, Math.max(0, size + 0.5 - Math.hypot(dx, dy)));
      if (weight > 0) found.push({ step: dy * width + dx, weight });
    }
  }
  return found;
}

/** Which points: every `step`-th of all, or of `rows`; each counts as `step`. */
export interface Chosen {
  rows: Int32Array | null;
  step: number;
  /** Radius, pixels. */
  size: number;
}

/** Add points to the canvas; returns how many lay within the frame. */
export function splat(
  canvas: Canvas, frame: Frame, xs: Float32Array, ys: Float32Array, ink: Ink, chosen: Chosen,
): number {
  const stamp = disc(chosen.size, frame.width);
  const margin = Math.ceil(chosen.size);
  const [sx, sy] = frame.scale;
  const [ox, oy] = frame.offset;
  const { code, palette, visible } = ink;
  const { rows, step } = chosen;
  const right = frame.width - 1 - margin;
  const bottom = frame.height - 1 - margin;
  const last = rows === null ? xs.length : rows.length;
  let many = 0;
  for (let k = 0; k < last; k += step) {
    const i = rows === null ? k : rows[k];
    const px = Math.round(xs[i] * sx + ox);
    const py = Math.round(ys[i] * sy + oy);
    // a NaN fails the comparison
    if (!(px >= margin && px <= right && py >= margin && py <= bottom)) continue;
    const which = code === null ? 0 : code[i];
    if (!visible[which]) continue;
    many += step;
    const place = py * frame.width + px;
    for (let j = 0; j < stamp.length; j++) canvas.add(place + stamp[j].step, step * stamp[j].weight, palette[which]);
  }
  return many;
}
