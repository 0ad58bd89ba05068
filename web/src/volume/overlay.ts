/** What is drawn over the surfaces: a bar of known length, the axes, names of what is compared. */

import { h, refill, s } from "../dom";
import { roundLength } from "../format";
import { rows, type Camera, type Vector } from "./camera";

const ARM = 19;

/**
 * A scale bar about a fifth of the picture wide, and the molecule's axes as they now lie.
 *
 * Both are small elements of their own: a sheet over the whole picture would be painted anew with every step of a turn.
 */
export class Overlay {
  readonly bar = h("div", { class: "scalebar", "aria-hidden": "true" });
  readonly triad = s("svg", { class: "triad", viewBox: "-36 -36 72 72", "aria-hidden": "true" });
  private readonly length = h("span", {});
  private readonly rule = h("span", { class: "rule" });

  constructor() {
    this.bar.append(this.length, this.rule);
  }

  /** `perPixel`: Å in a pixel of the page; `width` of one picture, pixels. */
  draw(camera: Camera, perPixel: number, width: number): void {
    const length = roundLength((perPixel * width) / 5);
    const words = `${length}\u202fÅ${camera.perspective ? " at the centre" : ""}`;
    if (this.length.textContent !== words) this.length.textContent = words;
    const long = `${(length / perPixel).toFixed(1)}px`;
    if (this.rule.style.width !== long) this.rule.style.width = long;
    const axes = rows(camera.turn);
    const arms = (["x", "y", "z"] as const).map((name, i) => {
      const [right, up, back] = axes.map((row) => (row as Vector)[i]);
      return { name, right, up, back };
    }).sort((a, b) => a.back - b.back);
    refill(this.triad, ...arms.map(({ name, right, up, back }) => s("g", { opacity: 0.62 + 0.38 * back },
      s("line", { x1: 0, y1: 0, x2: ARM * right, y2: -ARM * up }),
      s("text", { x: 1.4 * ARM * right, y: -1.4 * ARM * up + 3.5, "text-anchor": "middle" }, name))));
  }
}

/** Names under pictures: what each colour, or each side, is. */
export function names(entries: { text: string; colour: string | null }[]): HTMLElement {
  return h("div", { class: "names" }, ...entries.map(({ text, colour }) => {
    const swatch = h("span", { class: "swatch" });
    if (colour) swatch.style.background = colour;
    return h("span", {}, colour ? swatch : null, text);
  }));
}
