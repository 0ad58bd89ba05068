/** The left panel: particles in the plane of two columns, their colours, what is picked, selected and drawn. */

import type { App } from "../app";
import { announce, button, choice, h, refill, s, select, section, type Child } from "../dom";
import { count, number } from "../format";
import type { Place } from "../places";
import type { Column } from "../scene";
import { labelled, robust, type Colouring } from "../table";
import { legend } from "./legend";
import { meanLatent, resample, support } from "./path";
import { ALL_VISIBLE, around, Plot } from "./plot";
import { lasso, type Point } from "./polygon";
import { selectionBox } from "./selection";
import { Tools, type Tool } from "./tools";

const SMOOTH = 12; // particles whose mean latent is shown while the hand slides
const FRAMES = 25; // of a path
const NEAR = 20; // particles whose mean latent is a frame of a path

export class ScatterPanel {
  readonly element: HTMLElement;
  private readonly plot = new Plot();
  private readonly tools: Tools;
  private readonly status = h("p", { class: "status", "aria-live": "off" });
  private readonly legend = h("div", { class: "legend" });
  private readonly below = h("div", { class: "selection" });
  private readonly finish = button("Finish", () => this.tools.finish(), { class: "finish", hidden: true });
  private readonly xs: HTMLSelectElement;
  private readonly ys: HTMLSelectElement;
  private readonly presets: HTMLSelectElement;
  private readonly colours: HTMLSelectElement;
  private colouring: Colouring | null = null;
  private picked: number | null = null;
  private polygon: Point[] = [];
  private draft: { line: readonly Point[]; tool: "lasso" | "path" } | null = null;
  private marks: { states: Point[]; series: Point[]; path: Point[]; here: Point | null } =
    { states: [], series: [], path: [], here: null };
  private markRound = 0;

  constructor(private readonly app: App) {
    const columns = app.scene.particles.columns;
    const numbers = columns.filter((column) => column.kind === "number").map(option);
    this.xs = select("Column along x", numbers, app.view.x, (x) => this.setAxes(x, app.view.y));
    this.ys = select("Column along y", numbers, app.view.y, (y) => this.setAxes(app.view.x, y));
    const plots = app.scene.particles.plots;
    this.presets = select("Plot", [...plots.map((plot, i): [string, string] => [String(i), `${plot.x} × ${plot.y}`]), ["", "Other columns"]],
      "0", (value) => { if (value !== "") this.setAxes(plots[Number(value)].x, plots[Number(value)].y); });
    this.colours = select("Colour by", [["", "Density"], ...columns.map(option)], app.view.colour, (name) => {
      app.view.colour = name;
      app.tell("colour");
    });
    this.tools = new Tools(this.plot, {
      pick: (point, sliding) => void this.pick(point, sliding),
      hover: (point) => this.hover(point),
      drawing: (line, tool) => this.drawing(line, tool),
      drawn: (line, tool) => void (tool === "lasso" ? this.select(line) : this.drawPath(line)),
    });
    this.element = this.layout();
    this.plot.moved = () => this.drawMarks();
    app.on("axes", () => void this.load());
    app.on("colour", () => void this.recolour());
    app.on("theme", () => void this.recolour());
    app.on("place", () => void this.remark());
    app.on("path", () => void this.remark());
    app.on("selection", () => this.showSelection());
    this.tools.use("pick");
    void this.load();
  }

  private layout(): HTMLElement {
    const { latent } = this.app.scene.particles;
    const moves: [Tool, string, string?][] = [
      ["pick", "Pick", "Click shows the nearest particle's density; drag, and it follows"],
      ["pan", "Move", "Drag moves the plot; the wheel zooms with every tool"],
      ["lasso", "Lasso", "Draw around particles, or click corners; double click or Enter closes"],
    ];
    if (latent.length > 0 && this.app.hasMaps) moves.push(["path", "Path", "Draw a line to run along it as a movie"]);
    const tools = choice<Tool>("Tool", moves, "pick", (tool) => this.tools.use(tool));
    const label = "Particles in the plane of two columns. Arrow keys move a cross-hair, plus and minus zoom, "
      + "0 shows all; with lasso or path, space sets a corner and Enter ends.";
    this.plot.element.setAttribute("aria-label", label);
    const { drawn } = this.app.table;
    const note = drawn && `${count(drawn.length)} of ${count(this.app.scene.particles.count)} particles drawn`;
    return section("particles", "Particles",
      h("div", { class: "bar columns" },
        this.presets, h("span", { class: "pair" }, this.xs, "×", this.ys),
        h("label", { class: "inline" }, "colour", this.colours)),
      h("div", { class: "bar" }, tools.element, button("All", () => this.plot.reset(), { title: "Show all particles (0)" }),
        this.finish, h("span", { class: "note" }, note ?? "")),
      this.plot.element, this.status, this.legend, this.below);
  }

  private setAxes(x: string, y: string): void {
    this.app.view.x = x;
    this.app.view.y = y;
    this.app.tell("axes");
  }

  private async load(): Promise<void> {
    const { app } = this;
    const { x, y } = app.view;
    if (!x || !y) { this.plot.element.hidden = true; return; }
    this.xs.value = x;
    this.ys.value = y;
    const preset = app.scene.particles.plots.findIndex((plot) => plot.x === x && plot.y === y);
    this.presets.value = preset < 0 ? "" : String(preset);
    try {
      const [xs, ys] = await Promise.all([app.table.values(x), app.table.values(y)]);
      if (x !== app.view.x || y !== app.view.y) return;
      const window = { x: around(robust(xs, 0.001)), y: around(robust(ys, 0.001)) };
      this.plot.set(xs, ys, [labelled(app.table.column(x)), labelled(app.table.column(y))], window);
    } catch (error) {
      app.complain((error as Error).message);
    }
    // a polygon of other columns says nothing here; the particles in it stay selected
    this.polygon = [];
    await Promise.all([this.recolour(), this.remark()]);
  }

  private async recolour(): Promise<void> {
    const { app } = this;
    const name = app.view.colour;
    this.colours.value = name;
    const colouring = name ? await app.table.colouring(name, app.dark) : null;
    if (name !== app.view.colour) return;
    this.colouring = colouring;
    const palette = colouring?.palette ?? new Array(256).fill(app.dark ? [120, 190, 235] : [0, 90, 150]);
    const before = this.plot.ink;
    const kept = before.code !== null && colouring?.column.name === this.colours.dataset.shown;
    this.plot.ink = { code: colouring?.code ?? null, palette, visible: kept ? before.visible : ALL_VISIBLE() };
    this.colours.dataset.shown = colouring?.column.name ?? "";
    this.showLegend();
    this.plot.changed();
  }

  private showLegend(): void {
    const toggled = (code: number) => {
      this.plot.ink.visible[code] = !this.plot.ink.visible[code];
      this.showLegend();
      this.plot.changed();
    };
    refill(this.legend, legend(this.colouring, this.app.selected, this.plot.ink.visible, toggled, this.app.dark));
  }

  private async pick(point: Point, sliding: boolean): Promise<void> {
    const { app } = this;
    const rows = this.plot.near(point, sliding ? SMOOTH : 1);
    if (rows.length === 0) return;
    this.picked = rows[0];
    this.tell(rows[0]);
    this.marks.here = this.plot.at(rows[0]);
    this.drawMarks();
    if (app.scene.particles.latent.length === 0) return;
    const { width, block } = await app.projector.latents();
    const particle = sliding && rows.length > 1 ? null : app.table.particle(rows[0]);
    await app.show({ kind: "latent", latent: meanLatent(block, width, rows), particle });
  }

  private hover(point: Point | null): void {
    if (!point) { if (this.picked !== null) this.tell(this.picked); return; }
    const [row] = this.plot.near(point);
    if (row === undefined) return;
    const [px, py] = this.plot.toPage(point);
    const [rx, ry] = this.plot.toPage(this.plot.at(row));
    if (Math.hypot(px - rx, py - ry) < 14) this.tell(row);
  }

  /** One line on a particle: its number and its values in the columns that are drawn. */
  private tell(row: number): void {
    const { table, view } = this.app;
    const [x, y] = this.plot.at(row);
    const words = [
      `particle ${count(table.particle(row))}`,
      `${view.x} ${number(x)}`, `${view.y} ${number(y)}`,
    ];
    if (this.colouring && ![view.x, view.y].includes(view.colour)) {
      void table.values(view.colour).then((values) => {
        const { column } = this.colouring as Colouring;
        const value = column.kind === "category" ? column.categories[values[row]] ?? "unknown" : number(values[row]);
        this.status.textContent = [...words, `${column.name} ${value}`].join(" · ");
      });
    } else this.status.textContent = words.join(" · ");
  }

  private drawing(line: readonly Point[], tool: "lasso" | "path"): void {
    this.draft = line.length > 0 ? { line, tool } : null;
    this.finish.hidden = this.tools.line.length < (tool === "lasso" ? 3 : 2);
    this.drawMarks();
  }

  private async select(polygon: readonly Point[]): Promise<void> {
    const { app } = this;
    this.draft = null;
    this.finish.hidden = true;
    const begun = performance.now();
    const [xs, ys] = await Promise.all([app.table.values(app.view.x), app.table.values(app.view.y)]);
    app.selected = lasso(xs, ys, polygon);
    performance.measure("lasso", { start: begun });
    this.polygon = [...polygon];
    app.tell("selection");
    announce(`${app.selected.length} particles selected`);
  }

  private showSelection(): void {
    const { app } = this;
    if (!app.selected) this.polygon = [];
    this.plot.selected = app.selected;
    this.showLegend();
    this.plot.changed();
    refill(this.below, app.selected && selectionBox(app, app.selected, this.polygon, () => {
      app.selected = null;
      app.tell("selection");
    }));
  }

  private async drawPath(line: readonly Point[]): Promise<void> {
    const { app } = this;
    this.draft = null;
    this.finish.hidden = true;
    const { width, block } = await app.projector.latents();
    const points = resample(line, FRAMES, this.plot.scale);
    const latents = points.map((point) => meanLatent(block, width, this.plot.near(point, NEAR)));
    const [x, y] = [app.table.column(app.view.x).label, app.table.column(app.view.y).label];
    app.path = {
      latents, support: support(block, width, latents),
      made: `drawn in ${x} × ${y}; each frame is the mean latent of the ${NEAR} particles nearest to the line there`,
    };
    app.tell("path");
    await app.show({ kind: "path", path: app.path, at: 0 });
    announce(`Path of ${FRAMES} frames`);
  }

  /** Find where the states, the series and the map that is shown lie in this plane. */
  private async remark(): Promise<void> {
    const { app } = this;
    const round = ++this.markRound;
    if (app.scene.particles.latent.length === 0) return;
    const place = async (latents: number[][]): Promise<Point[]> => {
      const [xs, ys] = await Promise.all([app.view.x, app.view.y].map((name) => app.projector.values(name, latents)));
      return xs.map((x, i) => [x, ys[i]]);
    };
    const { resolved } = app;
    const shown: Place | undefined = resolved?.place;
    const series = shown?.kind === "series" ? app.scene.series[shown.series].frames.map((frame) => frame.latent) : [];
    const [states, line, path, here] = await Promise.all([
      place(app.scene.states.map((state) => state.latent)), place(series),
      place(shown?.kind === "path" ? shown.path.latents : []), place(resolved?.latent ? [resolved.latent] : []),
    ]);
    if (round !== this.markRound) return;
    const exact = shown?.kind === "latent" && shown.particle !== null && this.picked !== null;
    this.marks = { states, series: line, path, here: exact ? this.plot.at(this.picked as number) : here[0] ?? null };
    this.drawMarks();
  }

  private drawMarks(): void {
    const { plot, marks, tools } = this;
    const parts: Child[] = [];
    if (this.polygon.length > 0) parts.push(plot.line(this.polygon, "lasso", true));
    for (const [line, name] of [[marks.series, "series"], [marks.path, "path"]] as const) {
      if (line.length === 0) continue;
      parts.push(plot.line(line, name));
      parts.push(...line.map((point) => circle(plot.toPage(point), 2.4, `${name} dot`)));
    }
    marks.states.forEach((point, i) => {
      if (!Number.isFinite(point[0] + point[1])) return;
      const [px, py] = plot.toPage(point);
      parts.push(circle([px, py], 8.5, "state"), s("text", { x: px, y: py + 3.6, class: "state" }, i + 1));
    });
    if (marks.here) parts.push(circle(plot.toPage(marks.here), 7, "here halo"), circle(plot.toPage(marks.here), 7, "here"));
    if (this.draft) parts.push(plot.line(this.draft.line, "draft", this.draft.tool === "lasso"));
    if (tools.cursor && document.activeElement === plot.element) {
      const [px, py] = plot.toPage(tools.cursor);
      parts.push(s("path", { d: `M${px - 9} ${py}h18M${px} ${py - 9}v18`, class: "cursor" }));
    }
    plot.mark(...parts);
  }
}

function circle([cx, cy]: Point, r: number, name: string): SVGElement {
  return s("circle", { cx, cy, r, class: name });
}

function option(column: Column): [string, string] {
  return [column.name, column.name === column.label ? column.label : `${column.name} · ${column.label}`];
}
