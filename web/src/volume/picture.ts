/** From what is shown and compared to the surfaces that are drawn. */

import type { App } from "../app";
import { FIRST, GAINED, LOST, rgb, SECOND, type Rgb } from "../colour";
import type { MapData, Resolved } from "../places";
import type { MapFrame } from "../scene";
import { grown, mixed, surplus, tinted, type Shape } from "./prepare";
import type { Layer, Picture, Solid } from "./renderer";

export const PLAIN: Rgb = [176, 186, 196];
const GHOST: { light: Rgb; dark: Rgb } = { light: [150, 156, 164], dark: [205, 212, 220] };
const GROWN = 3; // voxels

/** Lengths along x, y, z of the scene's maps. */
export function shapeOf(frame: MapFrame): Shape {
  const [z, y, x] = frame.shape;
  return [x, y, z];
}

/** A contour in a map's bytes. */
export function toByte(frame: MapFrame, level: number): number {
  return (255 * (level - frame.low)) / (frame.high - frame.low);
}

export function pictureOf(app: App): Picture {
  const frame = app.scene.maps as MapFrame;
  const { view, resolved, otherResolved } = app;
  if (!resolved) return [];
  const level = toByte(frame, view.level);
  if (view.mode === "single" || !otherResolved) return [[coloured(app, frame, resolved, level)]];
  if (view.mode === "side") {
    return [[coloured(app, frame, otherResolved, level)], [coloured(app, frame, resolved, level)]];
  }
  const [first, second] = [alone(otherResolved), alone(resolved)];
  if (view.mode === "overlay") {
    return [[
      { map: second, level, colour: rgb(SECOND), alpha: 1 }, { map: first, level, colour: rgb(FIRST), alpha: 0.3 },
    ]];
  }
  // a difference has no offset: its level is a number of steps, not a place between low and high
  const step = Math.max(2, (255 * view.contrast * view.level) / (frame.high - frame.low));
  return [[
    { map: difference(second, first), level: step, colour: rgb(GAINED), alpha: 1 },
    { map: difference(first, second), level: step, colour: rgb(LOST), alpha: 1 },
    { map: first, level, colour: app.dark ? GHOST.dark : GHOST.light, alpha: 0.16 },
  ]];
}

function coloured(app: App, frame: MapFrame, shown: Resolved, level: number): Layer {
  const nearer = shown.other && shown.amount > 0.5 ? shown.other : shown.map;
  const layer: Layer = { map: solid(shown.map), level, colour: PLAIN, alpha: 1, tint: tintOf(app, frame, nearer) };
  if (shown.other) layer.other = { map: solid(shown.other), amount: shown.amount };
  return layer;
}

function solid(map: MapData): Solid {
  return { key: map.key, bytes: map.bytes };
}

/** One map of what may be a mixture. */
function alone(shown: Resolved): Solid {
  if (!shown.other || shown.amount === 0) return solid(shown.map);
  const { map, other, amount } = shown;
  return kept(`${map.key}~${other.key}~${amount}`, () => mixed(map.bytes, other.bytes, amount));
}

function difference(b: Solid, a: Solid): Solid {
  return kept(`${b.key}-${a.key}`, () => surplus(b.bytes, a.bytes));
}

let lastMade: Solid[] = [];
/** What was made for the last pictures is not made again while only the camera or the level change. */
function kept(key: string, make: () => Uint8Array): Solid {
  const known = lastMade.find((each) => each.key === key);
  const found = known ?? { key, bytes: make() };
  lastMade = [found, ...lastMade.filter((each) => each !== found)].slice(0, 8);
  return found;
}

const grownLabels = new WeakMap<Uint8Array, Uint8Array>();
let tints: { key: string; bytes: Uint8Array; hides: boolean }[] = [];

function tintOf(app: App, frame: MapFrame, map: MapData): Layer["tint"] {
  const { hidden, tinted: wanted } = app.view;
  if (!map.labels || (!wanted && hidden.size === 0)) return null;
  const key = `${map.key}|${wanted}|${[...hidden].sort().join()}`;
  const known = tints.find((each) => each.key === key);
  if (known) return known;
  let labels = grownLabels.get(map.labels);
  if (!labels) grownLabels.set(map.labels, (labels = grown(map.labels, shapeOf(frame), GROWN)));
  const palette: Rgb[] = new Array(256).fill(PLAIN);
  if (wanted) for (const part of app.scene.parts) palette[part.number] = rgb(part.colour);
  const made = { key, bytes: tinted(labels, palette, hidden), hides: hidden.size > 0 };
  tints = [made, ...tints].slice(0, 8);
  return made;
}
