/** How many pixels can be drawn in a given time, learnt from the frames that were drawn. */

interface Mean {
  pixels: number;
  time: number;
}

/**
 * A frame takes a + b · pixels: a, whatever its size, for the page to be put together; b for the rays. Where a machine
 * spends its time on a, coarser pictures would be no faster, only coarser.
 */
export class Pace {
  private small: Mean | null = null;
  private large: Mean | null = null;

  /** A frame of so many pixels took so long, ms. */
  took(pixels: number, time: number): void {
    if (!this.small || !this.large) {
      this.small = { pixels, time };
      this.large = { pixels, time };
      return;
    }
    const nearSmall = Math.abs(pixels - this.small.pixels) <= Math.abs(pixels - this.large.pixels);
    const met = this.small.pixels === this.large.pixels ? pixels < this.small.pixels : nearSmall;
    const mean = met ? this.small : this.large;
    // one slow frame must not blur the next twenty
    const spent = Math.min(time, 4 * mean.time + 10);
    mean.pixels += 0.4 * (pixels - mean.pixels);
    mean.time += 0.4 * (spent - mean.time);
  }

  /** Pixels of a frame that takes about `time`, ms; where a alone takes longer, of one that takes little more. */
  pixels(time: number): number {
    if (!this.small || !this.large) return 2e5;
    const apart = this.large.pixels > 1.5 * this.small.pixels;
    const b = Math.max(
      1e-7, apart ? (this.large.time - this.small.time) / (this.large.pixels - this.small.pixels)
        : this.small.time / this.small.pixels,
    );
    const a = Math.max(0, this.small.time - b * this.small.pixels);
    return Math.max(time - a, 0.5 * a) / b;
  }
}
