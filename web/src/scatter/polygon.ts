/** Which points lie inside a polygon, a million of them in some milliseconds. */

export type Point = [number, number];

/** Whether a point lies inside by the even-odd rule: half-open edges, so that neighbours share no point. */
export function inside(x: number, y: number, polygon: readonly Point[]): boolean {
  let within = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i];
    const [xj, yj] = polygon[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) within = !within;
  }
  return within;
}

const CELLS = 128;
const OUT = 0;
const IN = 1;
const MIXED = 2;

/** Indices of the points inside, rising; points that are not numbers are outside. */
export function lasso(xs: Float32Array, ys: Float32Array, polygon: readonly Point[]): Int32Array {
  const found = new Int32Array(xs.length);
  if (polygon.length < 3) return found.subarray(0, 0);
  const box = bounds(polygon);
  const cells = classify(polygon, box);
  const [left, bottom, right, top] = box;
  const sx = CELLS / (right - left || 1);
  const sy = CELLS / (top - bottom || 1);
  let many = 0;
  for (let i = 0; i < xs.length; i++) {
    const x = xs[i];
    const y = ys[i];
    if (!(x >= left && x <= right && y >= bottom && y <= top)) continue;
    const column = Math.min(CELLS - 1, ((x - left) * sx) | 0);
    const row = Math.min(CELLS - 1, ((y - bottom) * sy) | 0);
    const kind = cells[row * CELLS + column];
    if (kind === IN || (kind === MIXED && inside(x, y, polygon))) found[many++] = i;
  }
  return found.slice(0, many);
}

function bounds(polygon: readonly Point[]): [number, number, number, number] {
  const xs = polygon.map((point) => point[0]);
  const ys = polygon.map((point) => point[1]);
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

/** Of each cell of the polygon's box: wholly in, wholly out, or crossed by an edge, where points are looked at. */
function classify(polygon: readonly Point[], [left, bottom, right, top]: readonly number[]): Uint8Array {
  const cells = new Uint8Array(CELLS * CELLS);
  const width = (right - left || 1) / CELLS;
  const height = (top - bottom || 1) / CELLS;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    cross(cells, polygon[j], polygon[i], [left, bottom, width, height]);
  }
  for (let row = 0; row < CELLS; row++) {
    for (let column = 0; column < CELLS; column++) {
      const cell = row * CELLS + column;
      if (cells[cell] === MIXED) continue;
      cells[cell] = inside(left + (column + 0.5) * width, bottom + (row + 0.5) * height, polygon) ? IN : OUT;
    }
  }
  return cells;
}

/** Mark the cells that an edge may touch: row by row, those between where it enters and where it leaves. */
function cross(cells: Uint8Array, a: Point, b: Point, [left, bottom, width, height]: readonly number[]): void {
  const [low, high] = a[1] <= b[1] ? [a, b] : [b, a];
  const clamp = (value: number) => Math.min(CELLS - 1, Math.max(0, value));
  const first = clamp(Math.floor((low[1] - bottom) / height - 1e-6));
  const last = clamp(Math.floor((high[1] - bottom) / height + 1e-6));
  const at = (y: number) => {
    const t = high[1] > low[1] ? Math.min(1, Math.max(0, (y - low[1]) / (high[1] - low[1]))) : 0;
    return low[0] + t * (high[0] - low[0]);
  };
  for (let row = first; row <= last; row++) {
    const level = high[1] === low[1];
    const x0 = level ? low[0] : at(bottom + row * height);
    const x1 = level ? high[0] : at(bottom + (row + 1) * height);
    const from = clamp(Math.floor((Math.min(x0, x1) - left) / width - 1e-6));
    const to = clamp(Math.floor((Math.max(x0, x1) - left) / width + 1e-6));
    cells.fill(MIXED, row * CELLS + from, row * CELLS + to + 1);
  }
}
