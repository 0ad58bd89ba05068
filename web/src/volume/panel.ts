/** The right panel: the density, how it is looked at, and the states, series and paths that can be shown. */

import type { App, Mode } from "../app";
import { FIRST, GAINED, LOST, rgb, SECOND } from "../colour";
import { announce, button, choice, copy, download, h, refill, section, select, slider } from "../dom";
import { angstrom, number, share } from "../format";
import { toHash } from "../hash";
import { trust, type Place } from "../places";
import type { MapFrame } from "../scene";
import { names } from "./overlay";
import { movie, movieKind, png } from "./export";
import { PLAIN, shapeOf, toByte } from "./picture";
import { Player } from "./player";
import { refined } from "./prepare";
import { Stage } from "./stage";
import { thumbnail } from "./thumbnail";

export class VolumePanel {
  readonly element: HTMLElement;
  private readonly stage: Stage | null;
  private readonly caption = h("div", { class: "caption", "aria-live": "polite" });
  private readonly key = h("div", { class: "key" });
  private readonly tabs = h("div", { class: "tabs", role: "tablist", "aria-label": "What to show" });
  private readonly shelf = h("div", { class: "shelf", role: "tabpanel" });
  private readonly others: HTMLSelectElement;
  private readonly modes: ReturnType<typeof choice<Mode>>;
  private readonly level: HTMLInputElement;
  private readonly levelText: HTMLInputElement;
  private readonly contrast: HTMLElement;
  private player: Player | null = null;
  private tab = "states";

  constructor(private readonly app: App) {
    const frame = app.scene.maps as MapFrame;
    this.stage = makeStage(app);
    this.modes = choice<Mode>("Comparison", [
      ["single", "One", "Only what is chosen"], ["overlay", "Overlay", "Two surfaces in two colours"],
      ["side", "Side by side", "Two views that turn together"], ["difference", "Difference", "What is gained and lost"],
    ], app.view.mode, (mode) => this.setMode(mode));
    this.others = select("Compare with", this.otherOptions(), "", (name) => void app.compare(this.placeNamed(name)));
    const range = { min: Math.max(0, frame.low), max: frame.high, step: (frame.high - frame.low) / 500, value: app.view.level };
    this.level = slider("Contour level", range, (value) => this.setLevel(value));
    this.levelText = h("input", {
      type: "number", "aria-label": "Contour level", step: "any", value: app.view.level.toPrecision(3),
      change: () => this.setLevel(Number(this.levelText.value)),
    });
    this.contrast = h("label", { class: "inline contrast" }, "smallest difference", slider("Smallest difference, share of the level",
      { min: 0.05, max: 1, step: 0.01, value: app.view.contrast }, (value) => { app.view.contrast = value; app.tell("look"); }));
    this.element = this.layout();
    this.showTabs();
    for (const topic of ["place", "other", "look"] as const) app.on(topic, () => this.tell());
    app.on("level", () => this.setLevel(app.view.level));
    app.on("path", () => { this.tab = "path"; this.showTabs(); });
    this.setMode(app.view.mode, false);
  }

  private layout(): HTMLElement {
    const { app, stage } = this;
    const view = (axis: "x" | "y" | "z") => button(axis, () => this.key3(axis), { title: `Look along ${axis}`, class: "axis" });
    const projection = choice("Projection", [["flat", "Flat", "Orthographic: lengths can be compared"],
      ["deep", "Deep", "Perspective"]], app.view.camera.perspective ? "deep" : "flat", (kind) => {
      app.view.camera = { ...app.view.camera, perspective: kind === "deep" };
      stage?.turned();
    });
    const colours = choice("Colour", [["parts", "Parts"], ["plain", "Plain"]], app.view.tinted ? "parts" : "plain", (kind) => {
      app.view.tinted = kind === "parts";
      app.tell("look");
    });
    const top = h("div", { class: "bar" }, this.modes.element, h("label", { class: "inline with" }, "with", this.others));
    const looks = h("div", { class: "bar" },
      h("span", { class: "group", role: "group", "aria-label": "Look along" }, view("x"), view("y"), view("z"),
        button("⟲", () => stage?.home(), { title: "Whole molecule (0)", "aria-label": "Whole molecule" })),
      projection.element, app.scene.parts.length > 0 ? colours.element : null,
      h("span", { class: "spring" }), ...this.takeAway());
    const levels = h("div", { class: "bar level" },
      h("label", { class: "inline grow" }, "contour", this.level), this.levelText, this.contrast);
    const body = stage
      ? [h("div", { class: "frame" }, stage.element, this.caption, this.key), levels]
      : [h("div", { class: "frame missing" }, h("p", {}, h("strong", {}, "This browser has no WebGL2. "),
        "The 3-D view needs it; everything else on this page works, and the states are shown as pictures below. "
        + "Try a current Firefox, Chrome or Safari, or switch on hardware acceleration."), this.caption)];
    return section("density", "Density", ...(stage ? [top, looks] : []), ...body, this.tabs, this.shelf);
  }

  private key3(axis: "x" | "y" | "z"): void {
    this.stage?.element.dispatchEvent(new KeyboardEvent("keydown", { key: axis }));
  }

  private takeAway(): HTMLElement[] {
    const { app, stage } = this;
    if (!stage) return [];
    const kind = select("Background of the picture", [["white", "white"], ["transparent", "clear"]], "white", () => {});
    const save = async () => {
      const blob = await png(stage, kind.value as "white" | "transparent");
      download(`${app.scene.title}.png`, blob);
    };
    const link = button("Link", () => void (async () => {
      const address = `${location.href.split("#")[0]}#${toHash(app)}`;
      history.replaceState(null, "", address);
      link.textContent = (await copy(address)) ? "Copied" : "In the address bar";
      setTimeout(() => { link.textContent = "Link"; }, 2000);
    })(), { title: "Copy an address that opens this very view" });
    return [h("span", { class: "group" }, button("PNG", () => void save().catch((error: Error) => app.complain(error.message)),
      { title: "Picture at twice the size" }), kind), link];
  }

  private setLevel(value: number): void {
    if (!Number.isFinite(value)) return;
    this.app.view.level = value;
    this.level.value = String(value);
    this.levelText.value = value.toPrecision(3);
    this.app.tell("look");
  }

  private setMode(mode: Mode, tell = true): void {
    const { app } = this;
    app.view.mode = mode;
    this.modes.set(mode);
    this.others.parentElement!.hidden = mode === "single";
    this.contrast.hidden = mode !== "difference";
    if (mode !== "single" && !app.view.other) {
      const first = app.scene.states.length > 1 && !isState(app.view.place, 0) ? "state:0" : "mean";
      this.others.value = first;
      void app.compare(this.placeNamed(first) ?? { kind: "state", index: 0 });
    } else if (tell) app.tell("look");
  }

  private otherOptions(): [string, string][] {
    const { scene } = this.app;
    return [
      ...(scene.mean ? [["mean", "the mean"] as [string, string]] : []),
      ...scene.states.map((state, i): [string, string] => [`state:${i}`, state.name]),
      ["now", "what is shown now"],
    ];
  }

  private placeNamed(name: string): Place | null {
    if (name === "mean") return { kind: "mean" };
    if (name === "now") return { ...this.app.view.place };
    return { kind: "state", index: Number(name.split(":")[1]) };
  }

  /** Say what is shown, and what each colour is. */
  private tell(): void {
    const { resolved, otherResolved, view } = this.app;
    if (!resolved) return;
    refill(this.caption, h("strong", {}, resolved.words), resolved.instead && h("span", { class: "instead" }, resolved.instead));
    const compared = view.mode !== "single" && otherResolved;
    if (!compared) refill(this.key);
    else if (view.mode === "overlay") {
      refill(this.key, names([{ text: resolved.words, colour: SECOND }, { text: otherResolved.words, colour: FIRST }]));
    } else if (view.mode === "difference") {
      refill(this.key, names([
        { text: `only in ${brief(resolved.words)}`, colour: GAINED }, { text: `only in ${brief(otherResolved.words)}`, colour: LOST },
      ]));
    } else {
      refill(this.key, names([{ text: `left: ${brief(otherResolved.words)}`, colour: null },
        { text: `right: ${brief(resolved.words)}`, colour: null }]));
    }
    for (const card of this.shelf.querySelectorAll<HTMLElement>("[data-state]")) {
      card.setAttribute("aria-pressed", String(isState(view.place, Number(card.dataset.state))));
    }
  }

  private showTabs(): void {
    const { scene, path, maps } = this.app;
    const all: [string, string][] = [["states", "States"]];
    scene.series.forEach((series, i) => all.push([`series:${i}`,
      series.explained === null ? series.name : `${series.name} · ${share(series.explained)}`]));
    if (scene.particles.latent.length > 0) all.push(["path", "Path"]);
    refill(this.tabs, ...all.map(([name, title]) => h("button", {
      type: "button", role: "tab", "aria-selected": String(name === this.tab), tabindex: name === this.tab ? 0 : -1,
      click: () => this.open(name), keydown: (event: KeyboardEvent) => this.along(event, all.map(([each]) => each)),
    }, title)));
    this.player?.stop();
    this.player = null;
    if (this.tab === "states") refill(this.shelf, this.states());
    else if (this.tab === "path") refill(this.shelf, ...(path ? this.pathShelf() : [h("p", { class: "note" },
      "Choose Path above the plot and draw a line through the particles: the density runs along it"
      + (maps.isLive ? "." : ", each frame replaced by the nearest map of this report."))]));
    else refill(this.shelf, ...this.seriesShelf(Number(this.tab.split(":")[1])));
  }

  private open(name: string): void {
    this.tab = name;
    this.showTabs();
    this.tabs.querySelector<HTMLElement>("[aria-selected=true]")?.focus();
    if (name.startsWith("series")) {
      const series = Number(name.split(":")[1]);
      const at = (this.app.scene.series[series].frames.length - 1) / 2;
      this.player?.set(at);
      void this.warm(series);
    }
    if (name === "path" && this.app.path) this.player?.set(0);
  }

  /** Open the tab of what the address asks for. */
  follow(place: Place): void {
    if (place.kind === "series") {
      this.tab = `series:${place.series}`;
      this.showTabs();
      this.player?.set(place.at);
      void this.warm(place.series);
    }
  }

  private along(event: KeyboardEvent, all: string[]): void {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.open(all[(all.indexOf(this.tab) + step + all.length) % all.length]);
  }

  /** Maps of a series on the card before the slider reaches them. */
  private async warm(index: number): Promise<void> {
    for (const frame of this.app.scene.series[index].frames) {
      const map = await this.app.maps.scened(frame.map);
      await new Promise((done) => setTimeout(done, 0));
      this.stage?.renderer.prepare({ key: map.key, bytes: map.bytes });
    }
  }

  private states(): HTMLElement {
    const { states, mean } = this.app.scene;
    const card = (words: (string | null)[], picture: string | undefined, place: Place, index: number) => h("button", {
      type: "button", class: "card", "data-state": index, "aria-pressed": String(isState(this.app.view.place, index)),
      click: () => { void this.app.show(place); announce(`shown: ${words[0]}`); }, title: words[3],
    }, picture ? h("img", { src: picture, alt: "", loading: "lazy" }) : this.drawnPicture(place),
      h("strong", {}, words[0]), h("span", {}, words[1]), words[2] && h("span", { class: "note" }, words[2]));
    return h("div", { class: "cards" },
      mean && card(["Mean", "of all particles", null, "Map of the mean latent"], undefined, { kind: "mean" }, -1),
      ...states.map((state, i) => card(
        [state.name, share(state.share), state.resolution === null ? null : angstrom(state.resolution), trust(state)],
        state.pictures[0], { kind: "state", index: i }, i)));
  }

  /** A picture of what comes without one. */
  private drawnPicture(place: Place): HTMLElement {
    const frame = this.app.scene.maps as MapFrame;
    const canvas = h("canvas", { "aria-hidden": "true" });
    void this.app.maps.resolve(place).then((found) => {
      if (!found) return;
      const { bytes, labels } = found.map;
      const colours = new Map(this.app.scene.parts.map((part) => [part.number, rgb(part.colour)]));
      const { map, shape } = refined(bytes, shapeOf(frame));
      const [nx, ny] = shapeOf(frame);
      const step = shape[0] === nx ? 1 : 2;
      const colourOf = (x: number, y: number, z: number) => {
        const [i, j, k] = [x, y, z].map((value) => Math.floor(value / step));
        return (labels && colours.get(labels[(k * ny + j) * nx + i])) || PLAIN;
      };
      const image = thumbnail(map, shape, this.byte, colourOf);
      canvas.width = image.width;
      canvas.height = image.height;
      (canvas.getContext("2d") as CanvasRenderingContext2D).putImageData(image, 0, 0);
    }, () => {});
    return canvas;
  }

  private seriesShelf(index: number): HTMLElement[] {
    const series = this.app.scene.series[index];
    const { place } = this.app.view;
    const at = place.kind === "series" && place.series === index ? place.at : (series.frames.length - 1) / 2;
    const show = (value: number) => this.app.show({ kind: "series", series: index, at: value });
    this.player = new Player({
      title: series.title, support: series.frames.map((frame) => frame.particles),
      ends: [number(series.frames[0].position), number(series.frames[series.frames.length - 1].position)],
    }, at, show);
    return [this.player.element, this.recorder(series.frames.length, show, series.name)];
  }

  private pathShelf(): HTMLElement[] {
    const path = this.app.path!;
    const show = (at: number) => this.app.show({ kind: "path", path, at });
    this.player = new Player({ title: "Path", support: path.support, ends: ["start", "end"] }, 0, show);
    return [this.player.element, h("p", { class: "note" }, `${path.made}.`), this.recorder(path.latents.length, show, "path")];
  }

  private recorder(frames: number, show: (at: number) => Promise<void>, name: string): HTMLElement {
    const { stage } = this;
    const kind = movieKind();
    if (!stage) return h("div", {});
    const told = h("span", { class: "note", "aria-live": "polite" });
    const record = button(kind ? `Movie (.${kind.ending})` : "Movie", () => void (async () => {
      record.disabled = true;
      this.player?.stop();
      try {
        const places = Array.from({ length: 2 * frames - 1 }, (_, k) => k / 2);
        const { blob, ending } = await movie(this.app, stage, places, async (at) => {
          await show(at);
          this.player?.slider && (this.player.slider.value = String(at));
        }, (part) => { told.textContent = `recording ${share(part)}`; });
        download(`${this.app.scene.title}-${name}.${ending}`, blob);
        told.textContent = "";
      } catch (error) {
        told.textContent = (error as Error).message;
      }
      record.disabled = false;
    })(), { disabled: kind === null, title: "There and back, as the view now is" });
    return h("div", { class: "bar" }, record, told);
  }

  /** The contour in bytes. */
  private get byte(): number {
    return toByte(this.app.scene.maps as MapFrame, this.app.view.level);
  }
}

function makeStage(app: App): Stage | null {
  try {
    return new Stage(app);
  } catch (error) {
    if ((error as Error).message === "no WebGL2") return null;
    throw error;
  }
}

function isState(place: Place, index: number): boolean {
  return index < 0 ? place.kind === "mean" : place.kind === "state" && place.index === index;
}

function brief(words: string): string {
  return words.split(" · ")[0];
}
