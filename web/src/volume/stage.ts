/** The canvas of the 3-D view and the hand on it: turn, move, zoom. */

import type { App } from "../app";
import { h } from "../dom";
import { about, dragged, fitted, product, VIEWS, type Quaternion } from "./camera";
import { Overlay } from "./overlay";
import { pictureOf, shapeOf } from "./picture";
import { Renderer } from "./renderer";
import type { MapFrame } from "../scene";
import type { Rgb } from "../colour";

const BACKGROUND: { light: Rgb; dark: Rgb } = { light: [250, 251, 252], dark: [16, 19, 23] };

export class Stage {
  readonly element: HTMLElement;
  readonly canvas = h("canvas", { class: "surface" });
  readonly renderer: Renderer;
  /** Called after each frame. */
  drawn: (rest: boolean) => void = () => {};
  private readonly above = new Overlay();
  private readonly pointers = new Map<number, [number, number]>();
  private pressed: "turn" | "move" = "turn";

  /** Throws where there is no WebGL2. */
  constructor(private readonly app: App) {
    const frame = app.scene.maps as MapFrame;
    this.renderer = new Renderer(this.canvas, shapeOf(frame), frame.pixel, app.view.camera);
    this.renderer.drawn = (rest) => {
      this.element.dataset.rest = String(rest);
      this.drawn(rest);
    };
    this.element = h("div", {
      class: "stage", tabindex: 0, role: "application",
      "aria-label": "Density. Arrow keys turn it, with shift they move it, plus and minus zoom, x, y and z look along "
        + "an axis, 0 goes back.",
    }, this.canvas, this.above.bar, this.above.triad);
    new ResizeObserver(() => this.resized()).observe(this.element);
    this.listen();
    for (const topic of ["place", "other", "look", "theme"] as const) app.on(topic, () => this.redraw());
  }

  get background(): Rgb {
    return this.app.dark ? BACKGROUND.dark : BACKGROUND.light;
  }

  /** What is shown has changed. */
  redraw(): void {
    this.element.dataset.rest = "false";
    this.decorate();
    this.renderer.show(pictureOf(this.app), this.background);
  }

  /** The camera has changed. */
  turned(): void {
    this.element.dataset.rest = "false";
    this.renderer.camera = this.app.view.camera;
    this.decorate();
    this.renderer.moved();
  }

  look(turn: Quaternion): void {
    this.app.view.camera = { ...this.app.view.camera, turn };
    this.turned();
  }

  /** The whole molecule, seen along z. */
  home(): void {
    const { shape, pixel } = this.app.scene.maps as MapFrame;
    this.app.view.camera = {
      ...this.app.view.camera, turn: VIEWS.z, half: 0.56 * Math.max(...shape) * pixel, shift: [0, 0],
    };
    this.turned();
  }

  private resized(): void {
    const box = this.element.getBoundingClientRect();
    if (box.width < 20 || box.height < 20) return;
    const sharp = Math.min(2, devicePixelRatio || 1);
    this.canvas.width = Math.round(box.width * sharp);
    this.canvas.height = Math.round(box.height * sharp);
    this.turned();
  }

  /** Å in a pixel of the page, in the plane through the centre. */
  perPixel(): number {
    const { clientWidth, clientHeight } = this.element;
    const { view, otherResolved } = this.app;
    const wide = view.mode === "side" && otherResolved ? clientWidth / 2 : clientWidth;
    return (2 * fitted(view.camera, wide / clientHeight)) / clientHeight;
  }

  private decorate(): void {
    const perPixel = this.perPixel();
    // for whoever measures on the picture
    this.element.dataset.angstromsPerPixel = String(perPixel);
    this.above.draw(this.app.view.camera, perPixel, this.element.clientWidth);
  }

  private listen(): void {
    const { element } = this;
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
      this.pressed = event.button !== 0 || event.shiftKey ? "move" : "turn";
    });
    element.addEventListener("pointermove", (event) => this.dragged(event));
    for (const end of ["pointerup", "pointercancel"] as const) {
      element.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
    element.addEventListener("contextmenu", (event) => event.preventDefault());
    element.addEventListener("dblclick", () => this.home());
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      this.zoom(Math.exp(Math.max(-120, Math.min(120, event.deltaY * lines)) * 0.002));
    }, { passive: false });
    element.addEventListener("keydown", (event) => this.key(event));
  }

  private dragged(event: PointerEvent): void {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const now: [number, number] = [event.clientX, event.clientY];
    this.pointers.set(event.pointerId, now);
    const [dx, dy] = [now[0] - last[0], now[1] - last[1]];
    if (this.pointers.size === 2) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const before = Math.hypot(last[0] - other[0], last[1] - other[1]);
      const after = Math.hypot(now[0] - other[0], now[1] - other[1]);
      if (before > 0 && after > 0) this.zoom(before / after);
      this.shift(dx / 2, dy / 2);
    } else if (this.pressed === "move") this.shift(dx, dy);
    else this.look(dragged(this.app.view.camera.turn, dx * 0.0085, dy * 0.0085));
  }

  private shift(dx: number, dy: number): void {
    const { camera } = this.app.view;
    const perPixel = this.perPixel();
    this.app.view.camera = { ...camera, shift: [camera.shift[0] + dx * perPixel, camera.shift[1] - dy * perPixel] };
    this.turned();
  }

  private zoom(factor: number): void {
    const { camera } = this.app.view;
    const { shape, pixel } = this.app.scene.maps as MapFrame;
    const longest = Math.max(...shape) * pixel;
    const half = Math.min(3 * longest, Math.max(0.03 * longest, camera.half * factor));
    this.app.view.camera = { ...camera, half };
    this.turned();
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrows: Record<string, [number, number]> = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
    };
    const arrow = arrows[event.key];
    const { turn } = this.app.view.camera;
    if (arrow && event.shiftKey) this.shift(20 * arrow[0], 20 * arrow[1]);
    else if (arrow) this.look(dragged(turn, 0.09 * arrow[0], 0.09 * arrow[1]));
    else if (event.key === "+" || event.key === "=") this.zoom(0.9);
    else if (event.key === "-") this.zoom(1.11);
    else if (event.key === "0") this.home();
    else if (event.key === "x" || event.key === "y" || event.key === "z") this.look(VIEWS[event.key]);
    else if (event.key === "[") this.look(product(about([0, 0, 1], 0.09), turn));
    else if (event.key === "]") this.look(product(about([0, 0, 1], -0.09), turn));
    else return;
    event.preventDefault();
  }
}
