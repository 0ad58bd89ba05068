/** A line through the latents: points at equal steps, latents near them, and how many particles stand behind each. */

import type { Point } from "./polygon";

/** `count` points at equal distances along a polyline, lengths measured after scaling each axis. */
export function resample(line: readonly Point[], count: number, scale: [number, number] = [1, 1]): Point[] {
  const lengths = [0];
  for (let i = 1; i < line.length; i++) {
    const step = Math.hypot((line[i][0] - line[i - 1][0]) * scale[0], (line[i][1] - line[i - 1][1]) * scale[1]);
    lengths.push(lengths[i - 1] + step);
  }
  const total = lengths[lengths.length - 1];
  return Array.from({ length: count }, (_, k) => {
    const target = count === 1 ? 0 : (total * k) / (count - 1);
    let i = 1;
    while (i < line.length - 1 && lengths[i] < target) i++;
    const span = lengths[i] - lengths[i - 1];
    const t = span > 0 ? (target - lengths[i - 1]) / span : 0;
    return [line[i - 1][0] + t * (line[i][0] - line[i - 1][0]), line[i - 1][1] + t * (line[i][1] - line[i - 1][1])];
  });
}

/** Mean latent of some particles; latents are row-major [particles, width]. */
export function meanLatent(latents: Float32Array, width: number, rows: readonly number[]): number[] {
  const mean = new Array<number>(width).fill(0);
  for (const row of rows) for (let k = 0; k < width; k++) mean[k] += latents[row * width + k] / rows.length;
  return mean;
}

/** For each place the number of particles to which none of the others is nearer. */
export function support(latents: Float32Array, width: number, places: readonly (readonly number[])[]): Int32Array {
  const counts = new Int32Array(places.length);
  const flat = Float64Array.from(places.flat());
  for (let row = 0; row < latents.length; row += width) {
    let best = -1;
    let least = Infinity;
    for (let place = 0; place < places.length; place++) {
      let distance = 0;
      for (let k = 0; k < width && distance < least; k++) {
        const step = latents[row + k] - flat[place * width + k];
        distance += step * step;
      }
      if (distance < least) { least = distance; best = place; }
    }
    // a latent with a NaN is nearest to nothing
    if (best >= 0) counts[best]++;
  }
  return counts;
}

/** Where on a broken line of latents a latent is nearest: the place in frames, and the distance. */
export function project(latent: readonly number[], frames: readonly (readonly number[])[]): { at: number; distance: number } {
  let best = { at: 0, distance: Infinity };
  for (let i = 0; i < Math.max(1, frames.length - 1); i++) {
    const from = frames[i];
    const to = frames[Math.min(i + 1, frames.length - 1)];
    let along = 0;
    let length = 0;
    for (let k = 0; k < latent.length; k++) {
      along += (latent[k] - from[k]) * (to[k] - from[k]);
      length += (to[k] - from[k]) ** 2;
    }
    const t = length > 0 ? Math.min(1, Math.max(0, along / length)) : 0;
    let square = 0;
    for (let k = 0; k < latent.length; k++) square += (latent[k] - from[k] - t * (to[k] - from[k])) ** 2;
    if (Math.sqrt(square) < best.distance) best = { at: i + t, distance: Math.sqrt(square) };
  }
  return best;
}

/** Distance of two latents. */
export function distance(a: readonly number[], b: readonly number[]): number {
  return Math.hypot(...a.map((value, k) => value - b[k]));
}
