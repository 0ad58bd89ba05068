/** Colours that the colour-blind tell apart: Okabe and Ito for categories, viridis for numbers. */

export type Rgb = [number, number, number];

/** The same order as the figures that Python draws; the last two are ours. */
export const CATEGORIES = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D1F", "#7F7F7F"];
export const UNKNOWN: Rgb = [140, 140, 140];
export const GAINED = "#0072B2";
export const LOST = "#D55E00";
export const FIRST = "#0072B2";
export const SECOND = "#E69F00";

const VIRIDIS = [
  "#440154", "#481a6c", "#472f7d", "#414487", "#39568c", "#31688e", "#2a788e", "#23888e",
  "#1f988b", "#22a884", "#35b779", "#54c568", "#7ad151", "#a5db36", "#d2e21b", "#fde725",
].map(rgb);

export function rgb(hex: string): Rgb {
  const value = parseInt(hex.slice(1), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

export function css(colour: Rgb): string {
  return `rgb(${colour.map(Math.round).join(" ")})`;
}

/** Of a number between 0 and 1; the ends that would vanish on the background are left out. */
export function viridis(fraction: number, onDark: boolean): Rgb {
  const [low, high] = onDark ? [0.12, 1] : [0, 0.93];
  const place = (low + (high - low) * Math.min(1, Math.max(0, fraction))) * (VIRIDIS.length - 1);
  const i = Math.min(VIRIDIS.length - 2, Math.floor(place));
  return between(VIRIDIS[i], VIRIDIS[i + 1], place - i);
}

/** The colour of a category; past the eighth, the same hues lighter, then darker. */
export function category(code: number): Rgb {
  if (code < 0) return UNKNOWN;
  const base = rgb(CATEGORIES[code % CATEGORIES.length]);
  const round = Math.floor(code / CATEGORIES.length) % 3;
  return round === 0 ? base : between(base, round === 1 ? [255, 255, 255] : [0, 0, 0], 0.4);
}

export function between(a: Rgb, b: Rgb, t: number): Rgb {
  return [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t];
}

/** A CSS background of the scale of numbers, from left to right. */
export function scaleBackground(onDark: boolean): string {
  const stops = Array.from({ length: 9 }, (_, i) => css(viridis(i / 8, onDark)));
  return `linear-gradient(to right, ${stops.join(", ")})`;
}
