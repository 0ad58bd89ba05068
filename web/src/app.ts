/** What all panels of the page share: the scene, the particles, what is shown, and who wants to know of changes. */

import { dark } from "./dom";
import { Maps, type Path, type Place, type Resolved } from "./places";
import { Projector } from "./scatter/projector";
import type { Scene } from "./scene";
import type { Source } from "./source";
import { Table } from "./table";
import { VIEWS, type Camera } from "./volume/camera";

export type Mode = "single" | "overlay" | "side" | "difference";

/** What the view is of; all of it goes into the address. */
export interface View {
  x: string;
  y: string;
  /** Column, or "" for density. */
  colour: string;
  place: Place;
  other: Place | null;
  mode: Mode;
  /** Contour, in the map's units. */
  level: number;
  /** Of a difference, as a share of the level. */
  contrast: number;
  hidden: Set<number>;
  tinted: boolean;
  camera: Camera;
}

type Topic = "place" | "other" | "look" | "level" | "axes" | "colour" | "path" | "selection" | "theme";

export class App {
  readonly scene: Scene;
  readonly maps: Maps;
  readonly view: View;
  resolved: Resolved | null = null;
  otherResolved: Resolved | null = null;
  /** Rows in the lasso; null where none is drawn. */
  selected: Int32Array | null = null;
  path: Path | null = null;
  /** Contour of the model's maps while one on another scale is shown. */
  usualLevel: number | null = null;
  /** Tell the reader of something that went wrong. */
  complain: (words: string) => void = () => {};
  private readonly listeners = new Map<Topic, (() => void)[]>();
  private asked = 0;
  private askedOther = 0;

  private constructor(readonly source: Source, readonly table: Table, readonly projector: Projector) {
    this.scene = source.scene;
    this.maps = new Maps(source);
    this.view = initial(this.scene);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.tell("theme"));
  }

  static async open(source: Source): Promise<App> {
    const table = await Table.open(source);
    return new App(source, table, new Projector(table));
  }

  get dark(): boolean {
    return dark();
  }

  on(topic: Topic, act: () => void): void {
    this.listeners.set(topic, [...(this.listeners.get(topic) ?? []), act]);
  }

  tell(topic: Topic): void {
    for (const act of this.listeners.get(topic) ?? []) act();
  }

  get hasMaps(): boolean {
    return this.scene.maps !== null && (this.scene.mean !== null || this.scene.states.length > 0);
  }

  /** Show another place; an earlier wish that is answered late changes nothing any more. */
  async show(place: Place): Promise<void> {
    if (!this.hasMaps) return;
    const mine = ++this.asked;
    try {
      const found = await this.maps.resolve(place);
      if (!found || mine !== this.asked) return;
      this.view.place = place;
      this.resolved = found;
      if (place.kind !== "made" && this.usualLevel !== null) {
        this.view.level = this.usualLevel;
        this.usualLevel = null;
        this.tell("level");
      }
      this.tell("place");
    } catch (error) {
      this.complain((error as Error).message);
    }
  }

  /** Compare with a place. */
  async compare(place: Place | null): Promise<void> {
    const mine = ++this.askedOther;
    try {
      const found = place && (await this.maps.resolve(place));
      if (mine !== this.askedOther) return;
      this.view.other = place;
      this.otherResolved = found;
      this.tell("other");
    } catch (error) {
      this.complain((error as Error).message);
    }
  }
}

function initial(scene: Scene): View {
  const numbers = scene.particles.columns.filter((column) => column.kind === "number").map((column) => column.name);
  const plot = scene.particles.plots[0] ?? { x: numbers[0] ?? "", y: numbers[1] ?? numbers[0] ?? "" };
  const grid = scene.maps;
  const longest = grid ? Math.max(...grid.shape) * grid.pixel : 100;
  const states = scene.particles.columns.find((column) => column.name === "state");
  return {
    x: plot.x, y: plot.y, colour: states ? states.name : "",
    place: scene.mean ? { kind: "mean" } : { kind: "state", index: 0 },
    other: null, mode: "single", level: grid?.level ?? 0, contrast: 0.35,
    hidden: new Set(), tinted: scene.parts.length > 0,
    camera: { turn: VIEWS.z, half: 0.56 * longest, shift: [0, 0], perspective: false },
  };
}
