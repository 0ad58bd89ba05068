/** From where a map is looked at: a rotation, a shift and a height, lengths in Å. */

export type Vector = [number, number, number];
/** (x, y, z, w): turns the molecule's axes into those of the view, x right, y up, z towards the eye. */
export type Quaternion = [number, number, number, number];

export interface Camera {
  turn: Quaternion;
  /** Half the height of what is seen in the plane through the centre. */
  half: number;
  /** Of the centre, right and up, in the view's axes. */
  shift: [number, number];
  perspective: boolean;
}

/** Half the height of a picture so shaped (width by height) that what the camera takes in fits its width too, Å. */
export function fitted(camera: Camera, aspect: number): number {
  return camera.half / Math.min(1, aspect);
}

/** Looks along an axis as the figures do: along z: x right, y up; along y: x, z; along x: y, z. */
export const VIEWS: Record<"x" | "y" | "z", Quaternion> = {
  z: [0, 0, 0, 1],
  y: fromRows([1, 0, 0], [0, 0, 1], [0, -1, 0]),
  x: fromRows([0, 1, 0], [0, 0, 1], [1, 0, 0]),
};

/** The rotation whose rows are the view's axes in the molecule's. */
export function fromRows(right: Vector, up: Vector, back: Vector): Quaternion {
  const [a, b, c] = [right, up, back];
  const w = Math.sqrt(Math.max(0, 1 + a[0] + b[1] + c[2])) / 2;
  const x = Math.sqrt(Math.max(0, 1 + a[0] - b[1] - c[2])) / 2;
  const y = Math.sqrt(Math.max(0, 1 - a[0] + b[1] - c[2])) / 2;
  const z = Math.sqrt(Math.max(0, 1 - a[0] - b[1] + c[2])) / 2;
  const largest = Math.max(w, x, y, z);
  if (largest === w) return unit([(c[1] - b[2]) / (4 * w), (a[2] - c[0]) / (4 * w), (b[0] - a[1]) / (4 * w), w]);
  if (largest === x) return unit([x, (a[1] + b[0]) / (4 * x), (a[2] + c[0]) / (4 * x), (c[1] - b[2]) / (4 * x)]);
  if (largest === y) return unit([(a[1] + b[0]) / (4 * y), y, (b[2] + c[1]) / (4 * y), (a[2] - c[0]) / (4 * y)]);
  return unit([(a[2] + c[0]) / (4 * z), (b[2] + c[1]) / (4 * z), z, (b[0] - a[1]) / (4 * z)]);
}

/** The view's axes in the molecule's: right, up, back (towards the eye). */
export function rows([x, y, z, w]: Quaternion): [Vector, Vector, Vector] {
  return [
    [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
  ];
}

/** First `b`, then `a`. */
export function product(a: Quaternion, b: Quaternion): Quaternion {
  return unit([
    a[3] * b[0] + a[0] * b[3] + a[1] * b[2] - a[2] * b[1],
    a[3] * b[1] - a[0] * b[2] + a[1] * b[3] + a[2] * b[0],
    a[3] * b[2] + a[0] * b[1] - a[1] * b[0] + a[2] * b[3],
    a[3] * b[3] - a[0] * b[0] - a[1] * b[1] - a[2] * b[2],
  ]);
}

export function about(axis: Vector, angle: number): Quaternion {
  const size = Math.hypot(...axis) || 1;
  const sine = Math.sin(angle / 2) / size;
  return [axis[0] * sine, axis[1] * sine, axis[2] * sine, Math.cos(angle / 2)];
}

export function unit(q: Quaternion): Quaternion {
  const size = Math.hypot(...q) || 1;
  return q.map((value) => value / size) as Quaternion;
}

/** Turned as if by a hand on a ball: right and down drags, radians. */
export function dragged(turn: Quaternion, right: number, down: number): Quaternion {
  const angle = Math.hypot(right, down);
  return angle === 0 ? turn : product(about([down, right, 0], angle), turn);
}
