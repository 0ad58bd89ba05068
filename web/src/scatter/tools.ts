/** What a hand does on the plot: pick, pan, zoom, draw a lasso or a path; by mouse, by touch, by keys. */

import type { Plot } from "./plot";
import type { Point } from "./polygon";

export type Tool = "pick" | "pan" | "lasso" | "path";

export interface Doings {
  /** At a point of the plane; `sliding` while the button is down or an arrow key repeats. */
  pick(point: Point, sliding: boolean): void;
  hover(point: Point | null): void;
  /** A line being drawn, with where it would go on. */
  drawing(line: readonly Point[], tool: "lasso" | "path"): void;
  drawn(line: readonly Point[], tool: "lasso" | "path"): void;
}

const CLICK = 4; // pixels that a hand may tremble

export class Tools {
  tool: Tool = "pick";
  /** Corners so far of a lasso or path that is drawn by clicks. */
  line: Point[] = [];
  /** Where the keys are; null until they are used. */
  cursor: Point | null = null;
  private readonly pointers = new Map<number, Point>();
  private begun: Point | null = null;
  private stroke: Point[] = [];
  private panning = false;

  constructor(private readonly plot: Plot, private readonly doings: Doings) {
    const { element } = plot;
    element.addEventListener("pointerdown", (event) => this.down(event));
    element.addEventListener("pointermove", (event) => this.move(event));
    element.addEventListener("pointerup", (event) => this.up(event));
    element.addEventListener("pointercancel", (event) => this.up(event));
    element.addEventListener("pointerleave", () => doings.hover(null));
    element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    element.addEventListener("dblclick", (event) => this.doubled(event));
    element.addEventListener("keydown", (event) => this.key(event));
  }

  use(tool: Tool): void {
    this.tool = tool;
    this.cancel();
    this.plot.element.dataset.tool = tool;
  }

  cancel(): void {
    this.line = [];
    this.stroke = [];
    if (this.tool === "lasso" || this.tool === "path") this.doings.drawing([], this.tool);
  }

  finish(): void {
    if (this.tool !== "lasso" && this.tool !== "path") return;
    const line = this.line;
    this.line = [];
    if (line.length >= (this.tool === "lasso" ? 3 : 2)) this.doings.drawn(line, this.tool);
    else this.doings.drawing([], this.tool);
  }

  private place(event: MouseEvent): Point {
    const box = this.plot.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  private down(event: PointerEvent): void {
    const place = this.place(event);
    this.plot.element.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, place);
    this.begun = place;
    this.panning = this.tool === "pan" || event.button !== 0 || event.shiftKey;
    this.stroke = this.panning ? [] : [place];
    if (this.tool === "pick" && !this.panning) this.doings.pick(this.plot.toPlane(place), false);
  }

  private move(event: PointerEvent): void {
    const place = this.place(event);
    const last = this.pointers.get(event.pointerId);
    if (!last || !this.begun) { this.hover(place); return; }
    if (this.pointers.size === 2) { this.pinch(event.pointerId, place, last); return; }
    this.pointers.set(event.pointerId, place);
    if (this.panning) this.plot.pan(place[0] - last[0], place[1] - last[1]);
    else if (this.tool === "pick") this.doings.pick(this.plot.toPlane(place), true);
    else this.draw(place);
  }

  private hover(place: Point): void {
    this.doings.hover(this.plot.toPlane(place));
    if (this.line.length > 0 && (this.tool === "lasso" || this.tool === "path")) {
      this.doings.drawing([...this.line, this.plot.toPlane(place)], this.tool);
    }
  }

  private draw(place: Point): void {
    const last = this.stroke[this.stroke.length - 1];
    if (!last || Math.hypot(place[0] - last[0], place[1] - last[1]) < 3) return;
    this.stroke.push(place);
    if (this.tool === "lasso" || this.tool === "path") {
      this.doings.drawing([...this.line, ...this.stroke.map((each) => this.plot.toPlane(each))], this.tool);
    }
  }

  private pinch(id: number, place: Point, last: Point): void {
    const [other] = [...this.pointers].filter(([each]) => each !== id).map(([, each]) => each);
    const before = Math.hypot(last[0] - other[0], last[1] - other[1]);
    const now = Math.hypot(place[0] - other[0], place[1] - other[1]);
    this.pointers.set(id, place);
    this.stroke = [];
    if (before > 0 && now > 0) this.plot.zoom(now / before, this.plot.toPlane(other));
  }

  private up(event: PointerEvent): void {
    const begun = this.begun;
    const place = this.place(event);
    this.pointers.delete(event.pointerId);
    if (this.pointers.size > 0 || !begun) return;
    this.begun = null;
    if (this.panning || (this.tool !== "lasso" && this.tool !== "path")) return;
    if (Math.hypot(place[0] - begun[0], place[1] - begun[1]) < CLICK && this.stroke.length < 3) {
      this.line.push(this.plot.toPlane(place));
      this.doings.drawing(this.line, this.tool);
    } else if (this.stroke.length > 1) {
      this.line.push(...this.stroke.map((each) => this.plot.toPlane(each)));
      this.finish();
    }
    this.stroke = [];
  }

  private doubled(event: MouseEvent): void {
    if (this.line.length > 0) {
      // the second click of the two has added the same corner again
      this.line.pop();
      this.finish();
    } else if (this.tool === "pick" || this.tool === "pan") this.plot.reset();
    event.preventDefault();
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    const factor = Math.exp(-Math.max(-120, Math.min(120, event.deltaY * lines)) * 0.0025);
    this.plot.zoom(factor, this.plot.toPlane(this.place(event)));
  }

  private key(event: KeyboardEvent): void {
    if (event.target !== this.plot.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const arrows: Record<string, Point> = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
    };
    const arrow = arrows[event.key];
    if (arrow) this.step(arrow, event.shiftKey ? 0.1 : 0.02);
    else if (event.key === "+" || event.key === "=") this.plot.zoom(1.25, this.here());
    else if (event.key === "-") this.plot.zoom(0.8, this.here());
    else if (event.key === "0") this.plot.reset();
    else if (event.key === "Escape") this.cancel();
    else if (event.key === "Enter" || event.key === " ") this.press(event.key);
    else return;
    event.preventDefault();
  }

  private here(): Point {
    const { x, y } = this.plot.window;
    return this.cursor ?? [(x[0] + x[1]) / 2, (y[0] + y[1]) / 2];
  }

  private step([right, up]: Point, share: number): void {
    const { x, y } = this.plot.window;
    const [px, py] = this.here();
    const clamp = (value: number, [low, high]: [number, number]) => Math.min(high, Math.max(low, value));
    this.cursor = [clamp(px + right * share * (x[1] - x[0]), x), clamp(py + up * share * (y[1] - y[0]), y)];
    if (this.tool === "pick") this.doings.pick(this.cursor, true);
    else if (this.tool === "lasso" || this.tool === "path") this.doings.drawing([...this.line, this.cursor], this.tool);
    else this.plot.pan((-right * share * this.plot.scale[0]) * (x[1] - x[0]), up * share * this.plot.scale[1] * (y[1] - y[0]));
    this.plot.moved();
  }

  /** Space sets a corner (or picks), Enter ends the line. */
  private press(key: string): void {
    if (this.tool === "pick") this.doings.pick(this.here(), false);
    else if (this.tool === "lasso" || this.tool === "path") {
      if (key === "Enter") this.finish();
      else {
        this.line.push(this.here());
        this.doings.drawing(this.line, this.tool);
      }
    }
  }
}
