/** Numbers in words: ticks at round values, digits that mean something, units after a thin space. */

/** Round values that cover [low, high], about `count` of them: steps of 1, 2 or 5 times a power of ten. */
export function ticks(low: number, high: number, count: number): number[] {
  if (!(high > low) || !Number.isFinite(high - low)) return [];
  const step = roundStep((high - low) / Math.max(1, count));
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  // multiples of whole numbers: 3 · 0.1 printed as 0.3, not as 0.30000000000000004
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toFixed(Math.min(20, digits))));
}

/** The smallest of 1, 2 or 5 times a power of ten that is not below `least`. */
export function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  for (const step of [1, 2, 5]) if (step * power >= least * (1 - 1e-9)) return step * power;
  return 10 * power;
}

/** The largest of 1, 2 or 5 times a power of ten that does not exceed `most`. */
export function roundLength(most: number): number {
  const power = 10 ** Math.floor(Math.log10(most) + 1e-9);
  for (const step of [5, 2, 1]) if (step * power <= most * (1 + 1e-9)) return step * power;
  return power;
}

/** Powers of ten within [low, high], and their 2s and 5s where there are few. */
export function logTicks(low: number, high: number): number[] {
  if (!(low > 0) || !(high > low)) return [];
  const decades = Math.log10(high / low);
  const steps = decades > 4 ? [1] : decades > 2 ? [1, 3] : [1, 2, 5];
  const found: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const step of steps) {
      const value = Number((step * 10 ** power).toPrecision(3));
      if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) found.push(value);
    }
  }
  return found;
}

/** A number with so many significant digits, and no tail of zeros; a true minus sign. */
export function number(value: number, digits = 3): string {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const plain = size !== 0 && (size < 1e-4 || size >= 1e6)
    ? value.toExponential(Math.max(0, digits - 1)).replace(/\.?0+e/, "e").replace("e+", "e")
    : size >= 10 ** (digits - 1) ? String(Math.round(value)) : String(Number(value.toPrecision(digits)));
  return plain.replace("-", "−");
}

/** A whole number with thin spaces between thousands: 12 345 678. */
export function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

export function share(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (value > 0 && value < 0.001) return "<0.1\u202f%";
  return `${number(100 * value, value < 0.1 ? 2 : 3)}\u202f%`;
}

export function withUnit(value: number, unit: string, digits = 3): string {
  return unit ? `${number(value, digits)}\u202f${unit}` : number(value, digits);
}

export function angstrom(value: number | null, digits = 3): string {
  return value === null ? "–" : withUnit(value, "Å", digits);
}

export function bytes(size: number): string {
  return size < 1e6 ? `${number(size / 1e3, 2)}\u202fkB` : `${number(size / 1e6, 3)}\u202fMB`;
}

/** Some of all, in words for a heading. */
export function ofAll(some: number, all: number): string {
  return `${count(some)} of ${count(all)} particles (${share(some / Math.max(1, all))})`;
}
