/** What the colours of the points mean: a histogram of a number, a list of categories. */

import { css, scaleBackground } from "../colour";
import { h, s, type Child } from "../dom";
import { count, withUnit } from "../format";
import { labelled, NO_CODE, type Colouring } from "../table";

const BARS = 51; // of 5 codes each
const WIDTH = 255;
const HEIGHT = 34;

export function legend(
  colouring: Colouring | null, selected: Int32Array | null, visible: boolean[], toggle: (code: number) => void,
  onDark: boolean,
): HTMLElement {
  if (!colouring) {
    return h("p", { class: "note" }, "Opacity grows with the logarithm of the number of particles on a pixel.");
  }
  return colouring.range ? histogram(colouring, selected, onDark) : list(colouring, selected, visible, toggle);
}

function histogram(colouring: Colouring, selected: Int32Array | null, onDark: boolean): HTMLElement {
  const all = bars(colouring.counts);
  const most = Math.max(1, ...all);
  const some = selected && bars(countsOf(colouring.code, selected));
  const mostSome = Math.max(1, ...(some ?? []));
  const [low, high] = colouring.range as [number, number];
  const parts: Child[] = all.map((value, i) => s("rect", {
    x: i * 5, width: 4.6, y: HEIGHT - (HEIGHT * value) / most, height: (HEIGHT * value) / most,
    fill: css(colouring.palette[i * 5 + 2]), opacity: some ? 0.35 : 1,
  }));
  some?.forEach((value, i) => parts.push(s("rect", {
    x: i * 5, width: 4.6, y: HEIGHT - (HEIGHT * value) / mostSome, height: (HEIGHT * value) / mostSome,
    class: "selected",
  })));
  const unknown = colouring.counts[NO_CODE];
  const scale = h("div", { class: "scale" });
  scale.style.background = scaleBackground(onDark);
  return h("figure", { class: "numbers" },
    h("figcaption", {}, labelled(colouring.column), unknown > 0 && ` · ${count(unknown)} unknown`,
      some && h("span", { class: "note" }, " · outlined: the selection, to its own scale")),
    s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
      "aria-label": `Histogram of ${colouring.column.label}` }, ...parts),
    scale,
    h("div", { class: "ends" }, h("span", {}, withUnit(low, colouring.column.unit)),
      h("span", {}, withUnit(high, colouring.column.unit))));
}

function bars(counts: Int32Array): number[] {
  return Array.from({ length: BARS }, (_, i) => counts.subarray(i * 5, i * 5 + 5).reduce((a, b) => a + b, 0));
}

function countsOf(code: Uint8Array, rows: Int32Array): Int32Array {
  const counts = new Int32Array(256);
  for (const row of rows) counts[code[row]]++;
  return counts;
}

function list(
  colouring: Colouring, selected: Int32Array | null, visible: boolean[], toggle: (code: number) => void,
): HTMLElement {
  const some = selected && countsOf(colouring.code, selected);
  const codes = [...colouring.counts.keys()].filter((code) => colouring.counts[code] > 0);
  return h("div", { class: "categories", role: "group", "aria-label": colouring.column.label },
    h("span", { class: "note" }, labelled(colouring.column)),
    ...codes.map((code) => {
      const swatch = h("span", { class: "swatch" });
      swatch.style.background = css(colouring.palette[code]);
      const name = code === NO_CODE ? "unknown" : colouring.column.categories[code] ?? String(code);
      const many = some ? `${count(some[code])} of ${count(colouring.counts[code])}` : count(colouring.counts[code]);
      return h("button", {
        type: "button", "aria-pressed": String(visible[code]), title: "Show or hide", click: () => toggle(code),
      }, swatch, name, h("span", { class: "note" }, many));
    }));
}
