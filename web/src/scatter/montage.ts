/** Images of some particles in rows: as recorded, filtered, and as the model expects them. */

import { h } from "../dom";
import { count } from "../format";
import type { MontageReply } from "../scene";
import type { Reply } from "../source";

export function montage(reply: Reply<MontageReply>): HTMLElement {
  const { rows, box, raw, filtered, model } = reply.header;
  const stacks: [string, string | undefined][] = [
    ["as recorded", raw.name], ["phases flipped, low-passed", filtered.name], ["what the model expects", model?.name],
  ];
  return h("div", { class: "montage" }, ...stacks.flatMap(([title, name]) => {
    if (!name) return [];
    const values = reply.arrays.get(name) as Float32Array;
    return [h("p", { class: "note" }, title), h("div", { class: "tiles" },
      ...rows.map((particle, i) => tile(values.subarray(i * box * box, (i + 1) * box * box), box, particle, title)))];
  }));
}

function tile(values: Float32Array, box: number, particle: number, title: string): HTMLElement {
  const canvas = h("canvas", {
    width: box, height: box, role: "img", title: `particle ${count(particle)}`, "aria-label": `particle ${particle}, ${title}`,
  });
  const context = canvas.getContext("2d") as CanvasRenderingContext2D;
  const image = context.createImageData(box, box);
  const [low, high] = greyRange(values);
  for (let row = 0; row < box; row++) {
    for (let column = 0; column < box; column++) {
      // y points up in an image of a molecule, down on a canvas
      const value = values[(box - 1 - row) * box + column];
      const i = 4 * (row * box + column);
      image.data.fill((255 * (value - low)) / (high - low || 1), i, i + 3);
      image.data[i + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Mean and three standard deviations to either side. */
export function greyRange(values: Float32Array): [number, number] {
  let sum = 0;
  let square = 0;
  for (const value of values) { sum += value; square += value * value; }
  const mean = sum / values.length;
  const spread = Math.sqrt(Math.max(0, square / values.length - mean * mean)) || 1;
  return [mean - 3 * spread, mean + 3 * spread];
}
