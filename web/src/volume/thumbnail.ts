/** A small lit picture of a map seen along z, drawn by the processor: for what comes without a picture. */

import type { Rgb } from "../colour";
import type { Shape } from "./prepare";

/** @returns a picture with a clear background, one pixel a voxel, y up; `colourOf` is asked for x, y, z */
export function thumbnail(map: Uint8Array, shape: Shape, level: number, colourOf: (x: number, y: number, z: number) => Rgb): ImageData {
  const [nx, ny, nz] = shape;
  const image = new ImageData(nx, ny);
  const value = (x: number, y: number, z: number) =>
    map[(Math.min(nz - 1, Math.max(0, z)) * ny + Math.min(ny - 1, Math.max(0, y))) * nx + Math.min(nx - 1, Math.max(0, x))];
  for (let y = 0; y < ny; y++) {
    for (let x = 0; x < nx; x++) {
      let z = nz - 1;
      while (z >= 0 && value(x, y, z) < level) z--;
      if (z < 0) continue;
      const slope = [
        value(x + 1, y, z) - value(x - 1, y, z), value(x, y + 1, z) - value(x, y - 1, z), value(x, y, z + 1) - value(x, y, z - 1),
      ];
      const size = Math.hypot(...slope) || 1;
      const facing = Math.max(0, (0.45 * slope[0] - 0.6 * slope[1] - 0.66 * slope[2]) / size);
      const light = (0.45 + 0.62 * facing) * (0.72 + (0.28 * z) / nz);
      const colour = colourOf(x, y, z);
      const i = 4 * ((ny - 1 - y) * nx + x);
      for (let k = 0; k < 3; k++) image.data[i + k] = Math.min(255, colour[k] * light);
      image.data[i + 3] = 255;
    }
  }
  return image;
}
