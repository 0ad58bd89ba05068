/** How views and defoci are covered: the sphere of views in equal areas, and histograms. */

import { css, viridis } from "../colour";
import { dark, h, s, type Child } from "../dom";
import { count, number, ticks } from "../format";
import type { Coverage } from "../scene";

const WIDTH = 440;
const HEIGHT = 226;

export function coverage(data: Coverage): HTMLElement[] {
  const found: HTMLElement[] = [];
  if (data.views) found.push(sphere(data.views.counts, edgesOf(data.views)));
  found.push(...data.histograms.map(histogram));
  return found;
}

/**
 * Place of a direction in Mollweide's projection, in which equal areas of the sphere are equal on paper; x from -2 to
 * 2, y from -1 to 1. Angles in rad.
 */
export function mollweide(latitude: number, longitude: number): [number, number] {
  let theta = latitude;
  // 2 θ + sin 2θ = π sin φ, by Newton; at the poles it is θ = φ
  for (let i = 0; i < 12 && Math.abs(Math.cos(theta)) > 1e-6; i++) {
    theta -= (2 * theta + Math.sin(2 * theta) - Math.PI * Math.sin(latitude)) / (2 + 2 * Math.cos(2 * theta));
  }
  return [(2 / Math.PI) * longitude * Math.cos(theta), Math.sin(theta)];
}

/** Edges of the rows, rad. */
export function edgesOf(views: NonNullable<Coverage["views"]>): number[] {
  const rows = views.counts.length;
  const degrees = views.latitudes ?? Array.from({ length: rows + 1 }, (_, i) => -90 + (180 * i) / rows);
  return degrees.map((edge) => (edge * Math.PI) / 180);
}

/** Particles in each cell per area, as a multiple of what even coverage would have; edges of the rows in rad. */
export function evenness(counts: number[][], edges: number[]): number[][] {
  const total = counts.flat().reduce((a, b) => a + b, 0) || 1;
  return counts.map((row, i) => {
    const area = (Math.sin(edges[i + 1]) - Math.sin(edges[i])) / 2 / row.length;
    return row.map((many) => many / total / area);
  });
}

function sphere(counts: number[][], edges: number[]): HTMLElement {
  const relative = evenness(counts, edges);
  // one cell at a pole may hold a few particles on next to no area: the scale ends where 98 % of cells lie
  const sorted = relative.flat().sort((a, b) => a - b);
  const most = Math.max(2, sorted[Math.floor(0.98 * (sorted.length - 1))]);
  const onDark = dark();
  const cells = relative.flatMap((row, i) => row.map((value, j) => {
    const latitude = (t: number) => edges[i] + (t - i) * (edges[i + 1] - edges[i]);
    const longitude = (edge: number) => (2 * edge / row.length - 1) * Math.PI;
    const corners = [[i, j], [i, j + 0.5], [i, j + 1], [i + 0.5, j + 1], [i + 1, j + 1], [i + 1, j + 0.5], [i + 1, j], [i + 0.5, j]]
      .map(([a, b]) => mollweide(latitude(a), longitude(b)))
      .map(([x, y]) => `${(220 + 104 * x).toFixed(1)},${(112 - 104 * y).toFixed(1)}`);
    const empty = counts[i][j] === 0;
    const fill = css(viridis(value / most, onDark));
    return s("polygon", { points: corners.join(" "), fill: empty ? null : fill, class: empty ? "empty" : "cell" }, s("title", {},
      `${count(counts[i][j])} particles, ${number(value, 2)} × even coverage`));
  }));
  const empty = counts.flat().filter((many) => many === 0).length / counts.flat().length;
  const scale = h("span", { class: "scale" });
  scale.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map((t) => css(viridis(t, onDark))).join()})`;
  return h("figure", { class: "curve" }, h("h3", {}, "Views"),
    s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "Particles by direction of view" },
      ...cells, s("ellipse", { cx: 220, cy: 112, rx: 208, ry: 104, class: "outline" })),
    h("figcaption", {}, h("span", {}, "0"), scale, h("span", {}, `${number(most, 2)} × even coverage`),
      h("span", {}, empty > 0 ? `${number(100 * empty, 2)} % of directions unseen (grey)` : "every direction seen")));
}

function histogram(data: Coverage["histograms"][number]): HTMLElement {
  const { edges, counts } = data;
  const [low, high] = [edges[0], edges[edges.length - 1]];
  const most = Math.max(1, ...counts) * 1.04;
  const x = (value: number) => 46 + ((value - low) / (high - low || 1)) * (WIDTH - 60);
  const y = (value: number) => HEIGHT - 40 - (value / most) * (HEIGHT - 56);
  const parts: Child[] = [];
  for (const value of ticks(0, most, 4)) {
    parts.push(s("line", { x1: 46, x2: WIDTH - 14, y1: y(value), y2: y(value), class: "gridline" }),
      s("text", { x: 41, y: y(value) + 3.5, "text-anchor": "end" }, count(value)));
  }
  parts.push(...counts.map((many, i) => s("rect", {
    x: x(edges[i]) + 0.4, width: Math.max(0.5, x(edges[i + 1]) - x(edges[i]) - 0.8), y: y(many), height: HEIGHT - 40 - y(many), class: "bar",
  }, s("title", {}, `${number(edges[i])} to ${number(edges[i + 1])}: ${count(many)}`))));
  for (const value of ticks(low, high, 5)) {
    parts.push(s("text", { x: x(value), y: HEIGHT - 26, "text-anchor": "middle" }, number(value)));
  }
  parts.push(s("text", { x: WIDTH / 2 + 16, y: HEIGHT - 6, "text-anchor": "middle", class: "axis" }, data.abscissa));
  return h("figure", { class: "curve" }, h("h3", {}, data.title),
    s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": data.title }, ...parts));
}
