/** How many pixels can be drawn in a given time, learnt from the frames that were drawn. */

const KEPT = 0.8; // share of what is known that each frame leaves
const APART = 0.25; // spread of the frames' sizes, as a share of their mean, from which on it tells of a and b

/**
 * A frame takes a + b · pixels: a, whatever its size, for the page to be put together; b for the rays. Where a machine
 * spends its time on a, coarser pictures would be no faster, only coarser. Both are fitted to the last frames; when
 * these were all of one size, all of their time is put down to the rays, so that other sizes are tried.
 */
export class Pace {
  private weight = 0;
  private pixel = 0;
  private time = 0;
  private square = 0;
  private product = 0;

  /** A frame of so many pixels took so long, ms. */
  took(pixels: number, time: number): void {
    // one slow frame must not blur the next twenty
    const spent = this.weight > 0 ? Math.min(time, 4 * this.expected(pixels) + 10) : time;
    this.weight = KEPT * this.weight + 1;
    const share = 1 / this.weight;
    const [far, late] = [pixels - this.pixel, spent - this.time];
    this.pixel += share * far;
    this.time += share * late;
    this.square = (1 - share) * (this.square + share * far * far);
    this.product = (1 - share) * (this.product + share * far * late);
  }

  /** Time of a frame of so many pixels, ms. */
  expected(pixels: number): number {
    const { a, b } = this.fitted();
    return a + b * pixels;
  }

  /** Pixels of a frame that takes about `time`, ms; where a alone takes longer, of one that takes little more. */
  pixels(time: number): number {
    if (this.weight === 0) return 2e5;
    const { a, b } = this.fitted();
    return Math.max(time - a, 0.5 * a) / b;
  }

  private fitted(): { a: number; b: number } {
    const all = Math.max(1e-7, this.time / Math.max(1, this.pixel));
    const apart = this.square > (APART * this.pixel) ** 2;
    const b = apart ? Math.min(all, Math.max(1e-7, this.product / this.square)) : all;
    return { a: Math.max(0, this.time - b * this.pixel), b };
  }
}
