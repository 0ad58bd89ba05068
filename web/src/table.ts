/** What is known of each particle: columns fetched when first needed, and the latents as one block. */

import { category, UNKNOWN, viridis, type Rgb } from "./colour";
import { extent } from "./scatter/nearest";
import type { Column, ParticleTable } from "./scene";
import type { Source } from "./source";

/** Codes 0 … 254 stand for values or categories, this one for what is not known. */
export const NO_CODE = 255;

export interface Colouring {
  column: Column;
  code: Uint8Array;
  palette: Rgb[];
  /** Numbers: what the ends of the scale stand for. Categories: null. */
  range: [number, number] | null;
  /** How many particles have each code. */
  counts: Int32Array;
}

export class Table {
  readonly info: ParticleTable;
  /** Index into the run's order of each row that is drawn; null where rows and particles are the same. */
  drawn: Int32Array | null = null;
  /** Number of rows that are drawn. */
  rows: number;
  private readonly loaded = new Map<string, Promise<Float32Array>>();

  private constructor(private readonly source: Source) {
    this.info = source.scene.particles;
    this.rows = this.info.count;
  }

  static async open(source: Source): Promise<Table> {
    const table = new Table(source);
    if (table.info.drawn) {
      table.drawn = (await source.array(table.info.drawn)) as Int32Array;
      table.rows = table.drawn.length;
    }
    return table;
  }

  column(name: string): Column {
    const found = this.info.columns.find((column) => column.name === name);
    if (!found) throw new Error(`there is no column ${name}`);
    return found;
  }

  has(name: string): boolean {
    return this.info.columns.some((column) => column.name === name);
  }

  /** Values of the rows that are drawn, as float32 (of a category its code). */
  values(name: string): Promise<Float32Array> {
    let found = this.loaded.get(name);
    if (!found) {
      found = this.source.array(this.column(name).values).then((all) => this.gather(all));
      this.loaded.set(name, found);
      found.catch(() => this.loaded.delete(name));
    }
    return found;
  }

  private gather(all: ArrayLike<number>): Float32Array {
    if (this.drawn !== null && all.length === this.info.count && all.length !== this.rows) {
      return Float32Array.from(this.drawn, (particle) => all[particle]);
    }
    return all instanceof Float32Array ? all : Float32Array.from(all);
  }

  particle(row: number): number {
    return this.drawn === null ? row : this.drawn[row];
  }

  particles(rows: Int32Array): Int32Array {
    return this.drawn === null ? rows : rows.map((row) => this.particle(row));
  }

  /** Latents [rows, width] in one block; empty where the run has none. */
  async latents(): Promise<{ width: number; block: Float32Array }> {
    const width = this.info.latent.length;
    const columns = await Promise.all(this.info.latent.map((name) => this.values(name)));
    const block = new Float32Array(this.rows * width);
    columns.forEach((values, k) => {
      for (let row = 0; row < this.rows; row++) block[row * width + k] = values[row];
    });
    return { width, block };
  }

  async colouring(name: string, onDark: boolean): Promise<Colouring> {
    const column = this.column(name);
    const values = await this.values(name);
    return column.kind === "category" ? byCategory(column, values) : byNumber(column, values, onDark);
  }
}

function byCategory(column: Column, values: Float32Array): Colouring {
  const code = new Uint8Array(values.length);
  const counts = new Int32Array(256);
  for (let i = 0; i < values.length; i++) {
    code[i] = values[i] < 0 ? NO_CODE : values[i] % NO_CODE;
    counts[code[i]]++;
  }
  const palette = Array.from({ length: 256 }, (_, i) => (i === NO_CODE ? UNKNOWN : category(i)));
  return { column, code, palette, range: null, counts };
}

/** Colours run from the 0.5 % to the 99.5 % quantile: one stray value does not take the scale away. */
function byNumber(column: Column, values: Float32Array, onDark: boolean): Colouring {
  const range = robust(values, 0.005);
  const code = new Uint8Array(values.length);
  const counts = new Int32Array(256);
  const scale = 254 / (range[1] - range[0] || 1);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    code[i] = value === value ? Math.min(254, Math.max(0, Math.round((value - range[0]) * scale))) : NO_CODE;
    counts[code[i]]++;
  }
  const palette = Array.from({ length: 256 }, (_, i) => (i === NO_CODE ? UNKNOWN : viridis(i / 254, onDark)));
  return { column, code, palette, range, counts };
}

/** Quantiles `share` and 1 - `share`, from a histogram of 4,096 bins. */
export function robust(values: Float32Array, share: number): [number, number] {
  const [low, high] = extent(values);
  if (!(high > low)) return [low, high];
  const bins = new Int32Array(4096);
  const scale = 4095 / (high - low);
  let many = 0;
  for (let i = 0; i < values.length; i++) {
    if (values[i] === values[i]) { bins[Math.round((values[i] - low) * scale)]++; many++; }
  }
  const at = (target: number) => {
    let passed = 0;
    for (let bin = 0; bin < bins.length; bin++) {
      passed += bins[bin];
      if (passed > target) return low + bin / scale;
    }
    return high;
  };
  return [at(share * many), Math.max(at((1 - share) * many), at(share * many) + 1 / scale)];
}

/** What stands on the axis of a column. */
export function labelled(column: Column): string {
  return column.unit ? `${column.label} (${column.unit})` : column.label;
}

