/** A slider through frames that can run by itself, with a strip that tells how many particles stand behind each. */

import { button, calm, h, s, slider, type Child } from "../dom";
import { count } from "../format";

export interface Frames {
  title: string;
  /** Particles nearest to each frame. */
  support: ArrayLike<number>;
  /** What stands at the ends of the strip. */
  ends: [string, string];
}

const SECONDS = 2.6; // from one end to the other
/** Frames with fewer particles are marked: such a map stands on little. */
export const FEW = 100;

export class Player {
  readonly element: HTMLElement;
  readonly slider: HTMLInputElement;
  private readonly play: HTMLButtonElement;
  private readonly bars: SVGElement[];
  private running = 0;
  private way = 1;

  constructor(private readonly frames: Frames, at: number, private readonly show: (at: number) => Promise<void>) {
    const last = frames.support.length - 1;
    this.slider = slider(frames.title, { min: 0, max: last, step: 1 / 16, value: at }, (value) => {
      this.stop();
      this.mark(value);
      void show(value);
    });
    this.slider.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.25, ArrowDown: -0.25, ArrowRight: 0.25, ArrowUp: 0.25 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      this.set(Math.min(last, Math.max(0, Number(this.slider.value) + step * (event.shiftKey ? 4 : 1))));
    });
    this.play = button("▶", () => (this.running ? this.stop() : this.start()), { class: "play", "aria-label": "Play" });
    const most = Math.max(1, ...Array.from(frames.support));
    this.bars = Array.from(frames.support, (support, i) => s("rect", {
      x: i + 0.08, width: 0.84, y: 1 - Math.max(0.02, support / most), height: Math.max(0.02, support / most),
      class: support < FEW ? "few" : "",
    }, s("title", {}, `frame ${i + 1}: ${count(support)} particles nearest`)));
    this.element = h("div", { class: "player" }, this.play, h("div", { class: "track" },
      s("svg", { class: "support", viewBox: `0 0 ${frames.support.length} 1`, preserveAspectRatio: "none", role: "img",
        "aria-label": "Particles nearest to each frame" }, ...this.bars),
      this.slider,
      h("div", { class: "ends" }, h("span", {}, frames.ends[0]), this.note(), h("span", {}, frames.ends[1]))));
    this.mark(at);
  }

  private note(): Child {
    const few = Array.from(this.frames.support).filter((support) => support < FEW).length;
    const words = few > 0 ? `${few} of ${this.frames.support.length} frames have fewer than ${FEW} particles (hollow)`
      : "particles nearest to each frame";
    return h("span", { class: few > 0 ? "note few" : "note" }, words);
  }

  set(at: number): void {
    this.slider.value = String(at);
    this.mark(at);
    void this.show(at);
  }

  private mark(at: number): void {
    this.slider.setAttribute("aria-valuetext", `frame ${(at + 1).toFixed(1)} of ${this.bars.length}`);
    this.bars.forEach((bar, i) => bar.classList.toggle("now", Math.round(at) === i));
  }

  stop(): void {
    cancelAnimationFrame(this.running);
    this.running = 0;
    this.play.textContent = "▶";
    this.play.setAttribute("aria-label", "Play");
  }

  private start(): void {
    const last = this.frames.support.length - 1;
    this.play.textContent = "❚❚";
    this.play.setAttribute("aria-label", "Pause");
    let before = performance.now();
    const step = async (now: number) => {
      const moved = calm() ? 1 : (Math.min(200, now - before) / 1000 / SECONDS) * last;
      before = now;
      let at = Number(this.slider.value) + this.way * moved;
      if (at >= last || at <= 0) {
        this.way = at >= last ? -1 : 1;
        at = Math.min(last, Math.max(0, at));
      }
      // who asked the system for less motion gets a picture a second
      if (calm()) await new Promise((done) => setTimeout(done, 1000));
      if (!this.running) return;
      this.slider.value = String(at);
      this.mark(at);
      await this.show(at);
      if (this.running) this.running = requestAnimationFrame((time) => void step(time));
    };
    this.running = requestAnimationFrame((time) => void step(time));
  }
}
