/** The point nearest to a place, found in a grid of cells that is built once for a pair of columns. */

export interface Cells {
  side: number;
  left: number;
  bottom: number;
  width: number;
  height: number;
  /** Points of cell c are members[start[c] … start[c + 1]]. */
  start: Int32Array;
  members: Int32Array;
}

/** Sort points into cells by counting; points that are not numbers belong to none. */
export function cells(xs: Float32Array, ys: Float32Array): Cells {
  const side = Math.max(1, Math.min(512, Math.round(Math.sqrt(xs.length / 4))));
  const [left, right] = extent(xs);
  const [bottom, top] = extent(ys);
  const width = (right - left || 1) / side;
  const height = (top - bottom || 1) / side;
  const start = new Int32Array(side * side + 1);
  const where = new Int32Array(xs.length);
  for (let i = 0; i < xs.length; i++) {
    const column = Math.min(side - 1, Math.floor((xs[i] - left) / width));
    const row = Math.min(side - 1, Math.floor((ys[i] - bottom) / height));
    // a NaN fails the comparison
    where[i] = column >= 0 && row >= 0 ? row * side + column : -1;
    if (where[i] >= 0) start[where[i] + 1]++;
  }
  for (let cell = 0; cell < side * side; cell++) start[cell + 1] += start[cell];
  const next = start.slice();
  const members = new Int32Array(start[side * side]);
  for (let i = 0; i < xs.length; i++) if (where[i] >= 0) members[next[where[i]]++] = i;
  return { side, left, bottom, width, height, start, members };
}

export function extent(values: Float32Array): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    if (values[i] < low) low = values[i];
    if (values[i] > high) high = values[i];
  }
  return low <= high ? [low, high] : [0, 0];
}

/**
 * The `many` points nearest to (x, y) in the norm |dx · scale x, dy · scale y|, the nearest first.
 *
 * Rings of cells are searched outwards until the next ring cannot hold a nearer one.
 */
export function nearest(
  grid: Cells, xs: Float32Array, ys: Float32Array, place: [number, number], scale: [number, number], many = 1,
): number[] {
  const best: { index: number; distance: number }[] = [];
  const column = Math.floor((place[0] - grid.left) / grid.width);
  const row = Math.floor((place[1] - grid.bottom) / grid.height);
  const reach = Math.min(grid.width * scale[0], grid.height * scale[1]);
  const outside = Math.max(-column, column - grid.side + 1, -row, row - grid.side + 1, 0);
  for (let ring = outside; ring <= outside + 2 * grid.side; ring++) {
    if (best.length >= many && best[best.length - 1].distance <= (Math.max(0, ring - 1) * reach) ** 2) break;
    for (const cell of ringOf(grid.side, column, row, ring)) {
      for (let k = grid.start[cell]; k < grid.start[cell + 1]; k++) {
        const index = grid.members[k];
        const distance = ((xs[index] - place[0]) * scale[0]) ** 2 + ((ys[index] - place[1]) * scale[1]) ** 2;
        keep(best, { index, distance }, many);
      }
    }
  }
  return best.map((each) => each.index);
}

function keep(best: { index: number; distance: number }[], one: { index: number; distance: number }, many: number): void {
  if (best.length >= many && one.distance >= best[best.length - 1].distance) return;
  let place = best.length;
  while (place > 0 && best[place - 1].distance > one.distance) place--;
  best.splice(place, 0, one);
  if (best.length > many) best.pop();
}

function* ringOf(side: number, column: number, row: number, ring: number): Generator<number> {
  for (let y = Math.max(0, row - ring); y <= Math.min(side - 1, row + ring); y++) {
    const edge = y === row - ring || y === row + ring;
    const step = edge || ring === 0 ? 1 : 2 * ring;
    const from = column - ring;
    for (let x = from < 0 && step === 1 ? 0 : from; x <= Math.min(side - 1, column + ring); x += step) {
      if (x >= 0) yield y * side + x;
    }
  }
}
