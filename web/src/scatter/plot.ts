/** Particles as points in the plane of two columns, with axes, and marks above them. */

import { h, refill, s, type Child } from "../dom";
import { number, ticks } from "../format";
import type { Rgb } from "../colour";
import { NO_CODE } from "../table";
import { cells, nearest, type Cells } from "./nearest";
import type { Point } from "./polygon";
import { Canvas, radius, splat, type Ink } from "./splat";

const LEFT = 54;
const BOTTOM = 40;
const TOP = 10;
const RIGHT = 12;
const MOVING = 26; // ms a frame may take while the plot moves
// points are made by the processor: a canvas on the graphics card would only be copied to and fro
const CPU = { willReadFrequently: true };
const DIMMED: Rgb = [150, 155, 162];

export interface Window {
  x: [number, number];
  y: [number, number];
}

export class Plot {
  readonly element: HTMLElement;
  /** Called when marks must be drawn again: the plane has moved under them. */
  moved: () => void = () => {};
  window: Window = { x: [0, 1], y: [0, 1] };
  ink: Ink = { code: null, palette: [[0, 114, 178]], visible: [true] };
  selected: Int32Array | null = null;
  private xs: Float32Array = new Float32Array(0);
  private ys: Float32Array = new Float32Array(0);
  private labels: [string, string] = ["", ""];
  private home: Window = this.window;
  private readonly canvas = h("canvas", { "aria-hidden": "true" });
  private readonly axes = s("svg", { class: "axes", "aria-hidden": "true" });
  private readonly overlay = s("svg", { class: "marks", "aria-hidden": "true" });
  private readonly off = document.createElement("canvas");
  private scratch: Canvas | null = null;
  private grid: Cells | null = null;
  private cost = 2e-5; // ms a point, as measured
  private inView = 1e9;
  private scheduled = 0;
  private settle: ReturnType<typeof setTimeout> | undefined;
  private width = 300;
  private height = 300;

  constructor() {
    this.element = h("div", { class: "plot", tabindex: 0, role: "application" }, this.axes, this.canvas, this.overlay);
    new ResizeObserver(() => this.resized()).observe(this.element);
  }

  set(xs: Float32Array, ys: Float32Array, labels: [string, string], home: Window): void {
    this.xs = xs;
    this.ys = ys;
    this.labels = labels;
    this.home = home;
    this.grid = null;
    // sorted before the first click, which would wait for it
    setTimeout(() => this.sorted(), 500);
    this.window = home;
    this.inView = xs.length;
    this.changed();
  }

  reset(): void {
    this.window = this.home;
    this.changed();
  }

  private resized(): void {
    const box = this.element.getBoundingClientRect();
    if (box.width < LEFT + RIGHT + 20 || box.height < TOP + BOTTOM + 20) return;
    this.width = box.width - LEFT - RIGHT;
    this.height = box.height - TOP - BOTTOM;
    const sharp = Math.min(2, devicePixelRatio || 1);
    this.canvas.width = this.off.width = Math.round(this.width * sharp);
    this.canvas.height = this.off.height = Math.round(this.height * sharp);
    this.canvas.style.cssText = `left:${LEFT}px;top:${TOP}px;width:${this.width}px;height:${this.height}px`;
    this.scratch = null;
    this.changed();
  }

  /** Place in the element, pixels of the page, of a point of the plane. */
  toPage([x, y]: Point): Point {
    const { x: [x0, x1], y: [y0, y1] } = this.window;
    return [LEFT + ((x - x0) / (x1 - x0)) * this.width, TOP + (1 - (y - y0) / (y1 - y0)) * this.height];
  }

  toPlane([px, py]: Point): Point {
    const { x: [x0, x1], y: [y0, y1] } = this.window;
    return [x0 + ((px - LEFT) / this.width) * (x1 - x0), y0 + (1 - (py - TOP) / this.height) * (y1 - y0)];
  }

  /** Pixels of the page in one unit of each column. */
  get scale(): [number, number] {
    const { x: [x0, x1], y: [y0, y1] } = this.window;
    return [this.width / (x1 - x0), this.height / (y1 - y0)];
  }

  /** Rows nearest to a point of the plane, distances as on the screen. */
  near(point: Point, many = 1): number[] {
    return nearest(this.sorted(), this.xs, this.ys, point, this.scale, many);
  }

  private sorted(): Cells {
    this.grid ??= cells(this.xs, this.ys);
    return this.grid;
  }

  at(row: number): Point {
    return [this.xs[row], this.ys[row]];
  }

  /** Zoom by a factor about a point of the plane that stays where it is. */
  zoom(factor: number, [x, y]: Point): void {
    const along = ([low, high]: [number, number], fixed: number): [number, number] =>
      [fixed + (low - fixed) / factor, fixed + (high - fixed) / factor];
    this.window = { x: along(this.window.x, x), y: along(this.window.y, y) };
    this.changed();
  }

  pan(dx: number, dy: number): void {
    const [sx, sy] = this.scale;
    const { x, y } = this.window;
    this.window = { x: [x[0] - dx / sx, x[1] - dx / sx], y: [y[0] + dy / sy, y[1] + dy / sy] };
    this.changed();
  }

  /** Draw soon: a fair sample now if all would take too long, all when nothing has moved for a moment. */
  changed(): void {
    clearTimeout(this.settle);
    if (this.scheduled) return;
    this.scheduled = requestAnimationFrame(() => {
      this.scheduled = 0;
      const step = Math.max(1, Math.ceil((this.xs.length * this.cost) / MOVING));
      this.draw(step);
      this.drawAxes();
      this.moved();
      if (step > 1) this.settle = setTimeout(() => this.draw(1), 120);
    });
  }

  private draw(step: number): void {
    if (this.width < 20 || this.canvas.width < 2) return;
    const begun = performance.now();
    const context = this.canvas.getContext("2d", CPU) as CanvasRenderingContext2D;
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const chosen = this.selected;
    const ink = chosen ? { ...this.ink, palette: this.ink.palette.map(() => DIMMED) } : this.ink;
    this.inView = this.layer(context, ink, null, step, chosen ? 0.5 : 1);
    if (chosen) this.layer(context, this.ink, chosen, Math.max(1, Math.ceil(chosen.length / (this.xs.length / step))), 1);
    const spent = performance.now() - begun;
    const points = (this.xs.length + (chosen?.length ?? 0)) / step;
    if (points > 5000) this.cost += 0.3 * (spent / points - this.cost);
    performance.measure("scatter", { start: begun, end: begun + spent });
  }

  private layer(
    context: CanvasRenderingContext2D, ink: Ink, rows: Int32Array | null, step: number, opacity: number,
  ): number {
    const { width, height } = this.canvas;
    const sharp = width / this.width;
    if (!this.scratch || this.scratch.width !== width || this.scratch.height !== height) {
      this.scratch = new Canvas(width, height);
    }
    this.scratch.clear();
    const { x: [x0], y: [, y1] } = this.window;
    const [sx, sy] = this.scale;
    const frame = {
      width, height, scale: [sx * sharp, -sy * sharp] as Point, offset: [-x0 * sx * sharp, y1 * sy * sharp] as Point,
    };
    const size = radius(this.inView) * sharp - 0.5;
    const many = splat(this.scratch, frame, this.xs, this.ys, ink, { rows, step, size });
    const off = this.off.getContext("2d", CPU) as CanvasRenderingContext2D;
    const image = off.createImageData(width, height);
    const crowd = this.scratch.crowd();
    this.scratch.paint(image.data, crowd > 30 ? 0.35 : 0.75, crowd);
    off.putImageData(image, 0, 0);
    context.globalAlpha = opacity;
    context.drawImage(this.off, 0, 0);
    context.globalAlpha = 1;
    return many;
  }

  private drawAxes(): void {
    const { x: [x0, x1], y: [y0, y1] } = this.window;
    const bottom = TOP + this.height;
    const parts: Child[] = [
      s("rect", { x: LEFT, y: TOP, width: this.width, height: this.height, class: "border" }),
    ];
    for (const value of ticks(x0, x1, this.width / 90)) {
      const [px] = this.toPage([value, y0]);
      parts.push(s("line", { x1: px, x2: px, y1: TOP, y2: bottom, class: "gridline" }));
      parts.push(s("text", { x: px, y: bottom + 15, "text-anchor": "middle" }, number(value)));
    }
    for (const value of ticks(y0, y1, this.height / 60)) {
      const [, py] = this.toPage([x0, value]);
      parts.push(s("line", { x1: LEFT, x2: LEFT + this.width, y1: py, y2: py, class: "gridline" }));
      parts.push(s("text", { x: LEFT - 6, y: py + 4, "text-anchor": "end" }, number(value)));
    }
    const middle = TOP + this.height / 2;
    parts.push(
      s("text", { x: LEFT + this.width / 2, y: bottom + 33, "text-anchor": "middle", class: "axis" }, this.labels[0]),
      s("text", {
        x: 14, y: middle, "text-anchor": "middle", class: "axis", transform: `rotate(-90 14 ${middle})`,
      }, this.labels[1]),
    );
    refill(this.axes, ...parts);
  }

  /** Draw marks over the points; they are cut at the edges of the plane. */
  mark(...marks: Child[]): void {
    const clip = s("clipPath", { id: "plane" }, s("rect", { x: LEFT, y: TOP, width: this.width, height: this.height }));
    refill(this.overlay, clip, s("g", { "clip-path": "url(#plane)" }, ...marks));
  }

  line(points: readonly Point[], name: string, closed = false): SVGElement {
    const path = points.map((point) => this.toPage(point).map((value) => value.toFixed(1)).join(" ")).join("L");
    return s("path", { d: points.length ? `M${path}${closed ? "Z" : ""}` : "", class: name });
  }
}

/** All points but a stray few, with a margin. */
export function around([low, high]: [number, number]): [number, number] {
  const margin = 0.06 * (high - low) || 1;
  return [low - margin, high + margin];
}

export const ALL_VISIBLE = (): boolean[] => new Array<boolean>(NO_CODE + 1).fill(true);
