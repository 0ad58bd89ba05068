/** Lines over an axis, drawn as SVG, with the values under the pointer. */

import { CATEGORIES } from "../colour";
import { h, refill, s, type Child } from "../dom";
import { logTicks, number, ticks } from "../format";
import type { Curve } from "../scene";

const WIDTH = 440;
const HEIGHT = 250;
const LEFT = 52;
const RIGHT = 12;
const TOP = 26;
const BOTTOM = 40;
const DASHES = ["", "6 3", "2 2.5", "9 3 2 3"];

export interface Scale {
  low: number;
  high: number;
  /** Logarithmic where values span more than two decades and are all positive. */
  log: boolean;
  place(value: number): number;
}

/** A scale from a range to pixels; flat ranges are widened. */
export function scaleOf(values: number[], from: number, to: number, log: boolean): Scale {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (!(low <= high)) [low, high] = [0, 1];
  if (low === high) [low, high] = low === 0 ? [-1, 1] : [low - Math.abs(low) / 2, high + Math.abs(high) / 2];
  const [a, b] = log ? [Math.log(low), Math.log(high)] : [low, high];
  return { low, high, log, place: (value) => from + ((to - from) * ((log ? Math.log(value) : value) - a)) / (b - a) };
}

/** Whether a logarithmic axis serves: positive values over more than two decades. */
export function wantsLog(values: number[]): boolean {
  const known = values.filter(Number.isFinite);
  const low = Math.min(...known);
  return known.length > 1 && low > 0 && Math.max(...known) / low > 100;
}

export function curve(data: Curve): HTMLElement {
  const xs = data.lines.flatMap((line) => line.x);
  const ys = [...data.lines.flatMap((line) => line.y), ...data.marks.map((mark) => mark.value)];
  const isFsc = data.kind === "resolution";
  const x = scaleOf(isFsc ? [0, ...xs] : xs, LEFT, WIDTH - RIGHT, !isFsc && wantsLog(xs));
  const y = scaleOf(isFsc ? [Math.min(0, ...ys), 1, ...ys] : padded(ys), HEIGHT - BOTTOM, TOP, wantsLog(ys) && !isFsc);
  const picture = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
    "aria-label": `${data.title}: ${data.ordinate} over ${data.abscissa}` }, ...axes(data, x, y, isFsc));
  for (const mark of data.marks) {
    const py = y.place(mark.value);
    picture.append(s("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: py, y2: py, class: "mark" }),
      s("text", { x: WIDTH - RIGHT - 3, y: py - 3, "text-anchor": "end", class: "mark" }, mark.label));
  }
  data.lines.forEach((line, i) => picture.append(s("path", {
    d: pathOf(line.x, line.y, x, y), class: "line", stroke: CATEGORIES[i % 8], "stroke-dasharray": DASHES[Math.floor(i / 8) % 4],
  })));
  const told = h("figcaption", {});
  hovering(picture, data, x, y, told);
  return h("figure", { class: "curve" }, h("h3", {}, data.title), picture, told);
}

function padded(values: number[]): number[] {
  const known = values.filter(Number.isFinite);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  return wantsLog(values) ? [low / 1.1, high * 1.1] : [low - 0.04 * (high - low), high + 0.04 * (high - low)];
}

function pathOf(xs: number[], ys: number[], x: Scale, y: Scale): string {
  let open = false;
  return xs.map((value, i) => {
    if (!Number.isFinite(ys[i]) || (x.log && value <= 0)) { open = false; return ""; }
    const step = `${open ? "L" : "M"}${x.place(value).toFixed(1)} ${y.place(ys[i]).toFixed(1)}`;
    open = true;
    return step;
  }).join("");
}

function axes(data: Curve, x: Scale, y: Scale, isFsc: boolean): Child[] {
  const bottom = HEIGHT - BOTTOM;
  const parts: Child[] = [];
  for (const value of x.log ? logTicks(x.low, x.high) : ticks(x.low, x.high, 5)) {
    const px = x.place(value);
    parts.push(s("line", { x1: px, x2: px, y1: TOP, y2: bottom, class: "gridline" }),
      s("text", { x: px, y: bottom + 14, "text-anchor": "middle" }, number(value)));
    if (isFsc && value > 0) {
      parts.push(s("text", { x: px, y: TOP - 6, "text-anchor": "middle", class: "second" }, `${number(1 / value)}\u202fÅ`));
    }
  }
  for (const value of y.log ? logTicks(y.low, y.high) : ticks(y.low, y.high, 5)) {
    const py = y.place(value);
    parts.push(s("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: py, y2: py, class: "gridline" }),
      s("text", { x: LEFT - 5, y: py + 3.5, "text-anchor": "end" }, number(value)));
  }
  const middle = (TOP + bottom) / 2;
  parts.push(
    s("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle", class: "axis" }, data.abscissa),
    s("text", { x: 12, y: middle, "text-anchor": "middle", class: "axis", transform: `rotate(-90 12 ${middle})` }, data.ordinate));
  return parts;
}

/** Names of the lines, and their values at the abscissa under the pointer. */
function hovering(picture: SVGSVGElement, data: Curve, x: Scale, y: Scale, told: HTMLElement): void {
  const cursor = s("line", { y1: TOP, y2: HEIGHT - BOTTOM, class: "cursor", visibility: "hidden" });
  const dots = data.lines.map((_, i) => s("circle", { r: 3, fill: CATEGORIES[i % 8], visibility: "hidden" }));
  picture.append(cursor, ...dots);
  const say = (values: (number | null)[], at: string) => refill(told, at && h("span", { class: "at" }, at),
    ...data.lines.map((line, i) => {
      const swatch = h("span", { class: "swatch line" });
      swatch.style.background = CATEGORIES[i % 8];
      const value = values[i];
      return h("span", {}, swatch, line.label, value !== null && h("b", {}, ` ${number(value)}`));
    }));
  const leave = () => {
    for (const each of [cursor, ...dots]) each.setAttribute("visibility", "hidden");
    say(data.lines.map(() => null), "");
  };
  picture.addEventListener("pointerleave", leave);
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * WIDTH;
    const picked = data.lines.map((line) => nearestIndex(line.x, px, x));
    const first = picked.findIndex((i) => i >= 0);
    if (first < 0) return;
    const at = data.lines[first].x[picked[first]];
    cursor.setAttribute("visibility", "visible");
    cursor.setAttribute("x1", String(x.place(at)));
    cursor.setAttribute("x2", String(x.place(at)));
    picked.forEach((i, k) => {
      const value = data.lines[k].y[i];
      dots[k].setAttribute("visibility", i >= 0 && Number.isFinite(value) ? "visible" : "hidden");
      dots[k].setAttribute("cx", String(x.place(data.lines[k].x[i])));
      dots[k].setAttribute("cy", String(y.place(value)));
    });
    const resolution = data.kind === "resolution" && at > 0 ? ` (${number(1 / at)}\u202fÅ)` : "";
    say(picked.map((i, k) => (i >= 0 ? data.lines[k].y[i] : null)), `${data.abscissa} ${number(at)}${resolution}`);
  });
  leave();
}

export function nearestIndex(xs: number[], px: number, x: Scale): number {
  let best = -1;
  let least = Infinity;
  xs.forEach((value, i) => {
    const away = Math.abs(x.place(value) - px);
    if (away < least) { least = away; best = i; }
  });
  return best;
}
