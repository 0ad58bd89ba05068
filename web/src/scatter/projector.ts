/** Where a latent lies in a plot of two columns. */

import type { Table } from "../table";

const SAMPLED = 4000;
const EXACT = 0.9999; // share of a column's variance that a linear function of the latent must explain

/**
 * Columns such as latents and their principal components are linear functions of the latent: these are found by
 * least squares, once. For any other (an embedding) the value of the particle with the nearest latent stands in.
 */
export class Projector {
  private block: Promise<{ width: number; block: Float32Array }> | null = null;
  private readonly fits = new Map<string, Promise<number[] | null>>();
  private readonly near = new Map<string, number>();

  constructor(private readonly table: Table) {}

  latents(): Promise<{ width: number; block: Float32Array }> {
    this.block ??= this.table.latents();
    return this.block;
  }

  /** Values of a column at some latents. */
  async values(column: string, latents: readonly (readonly number[])[]): Promise<number[]> {
    const { width } = await this.latents();
    if (width === 0) return latents.map(() => NaN);
    let fit = this.fits.get(column);
    if (!fit) this.fits.set(column, (fit = this.fit(column)));
    const weights = await fit;
    const known = (latent: readonly number[]) => latent.length === width;
    if (weights) {
      return latents.map((latent) => (known(latent) ? latent.reduce((sum, z, k) => sum + weights[k] * z, weights[width]) : NaN));
    }
    const values = await this.table.values(column);
    return Promise.all(latents.map(async (latent) => (known(latent) ? values[await this.row(latent)] : NaN)));
  }

  /** The row whose latent is nearest. */
  async row(latent: readonly number[]): Promise<number> {
    const key = latent.join();
    const known = this.near.get(key);
    if (known !== undefined) return known;
    const { width, block } = await this.latents();
    let best = 0;
    let least = Infinity;
    for (let row = 0; row * width < block.length; row++) {
      let square = 0;
      for (let k = 0; k < width && square < least; k++) square += (block[row * width + k] - latent[k]) ** 2;
      if (square < least) { least = square; best = row; }
    }
    if (this.near.size > 500) this.near.clear();
    this.near.set(key, best);
    return best;
  }

  async latentOf(row: number): Promise<number[]> {
    const { width, block } = await this.latents();
    return Array.from(block.subarray(row * width, (row + 1) * width));
  }

  private async fit(column: string): Promise<number[] | null> {
    const { width, block } = await this.latents();
    const values = await this.table.values(column);
    const step = Math.max(1, Math.floor(values.length / SAMPLED));
    const inputs: number[][] = [];
    const outputs: number[] = [];
    for (let row = 0; row < values.length; row += step) {
      const latent = Array.from(block.subarray(row * width, (row + 1) * width));
      if (!Number.isFinite(values[row] + latent.reduce((a, b) => a + b, 0))) continue;
      inputs.push([...latent, 1]);
      outputs.push(values[row]);
    }
    return linearFit(inputs, outputs, EXACT);
  }
}

/** Least squares; null where it explains less than a share of the variance. */
export function linearFit(inputs: number[][], outputs: number[], least: number): number[] | null {
  if (inputs.length === 0) return null;
  const size = inputs[0].length;
  const matrix = Array.from({ length: size }, () => new Array<number>(size + 1).fill(0));
  inputs.forEach((row, i) => {
    for (let a = 0; a < size; a++) {
      for (let b = 0; b < size; b++) matrix[a][b] += row[a] * row[b];
      matrix[a][size] += row[a] * outputs[i];
    }
  });
  const weights = solve(matrix);
  if (!weights) return null;
  const mean = outputs.reduce((a, b) => a + b, 0) / outputs.length;
  let left = 0;
  let all = 0;
  inputs.forEach((row, i) => {
    left += (outputs[i] - row.reduce((sum, value, k) => sum + value * weights[k], 0)) ** 2;
    all += (outputs[i] - mean) ** 2;
  });
  return left <= (1 - least) * all ? weights : null;
}

/** Gauss elimination with pivots on [A | b]; null where A is singular. */
function solve(matrix: number[][]): number[] | null {
  const size = matrix.length;
  for (let column = 0; column < size; column++) {
    let pivot = column;
    for (let row = column; row < size; row++) {
      if (Math.abs(matrix[row][column]) > Math.abs(matrix[pivot][column])) pivot = row;
    }
    if (Math.abs(matrix[pivot][column]) < 1e-12) return null;
    [matrix[column], matrix[pivot]] = [matrix[pivot], matrix[column]];
    for (let row = 0; row < size; row++) {
      if (row === column) continue;
      const factor = matrix[row][column] / matrix[column][column];
      for (let k = column; k <= size; k++) matrix[row][k] -= factor * matrix[column][k];
    }
  }
  return matrix.map((row, i) => row[size] / row[i]);
}

