/** What the 3-D view can show, and the maps that stand behind each. */

import { angstrom, count, number, share } from "./format";
import type { Values } from "./packet";
import { distance, project } from "./scatter/path";
import type { Scene, SceneMap } from "./scene";
import { Latest, Recent, type Reply, type Source } from "./source";
import type { MapReply } from "./scene";

export interface MapData {
  key: string;
  bytes: Uint8Array;
  labels: Uint8Array | null;
}

export interface Path {
  latents: number[][];
  /** Particles nearest to each frame. */
  support: Int32Array;
  /** In words, how it was drawn. */
  made: string;
}

export type Place =
  | { kind: "mean" }
  | { kind: "state"; index: number }
  | { kind: "series"; series: number; at: number }
  | { kind: "path"; path: Path; at: number }
  | { kind: "latent"; latent: number[]; particle: number | null }
  | { kind: "made"; data: MapData; words: string };

/** A place's map: one, or a mixture of two neighbours. */
export interface Resolved {
  place: Place;
  map: MapData;
  other: MapData | null;
  amount: number;
  words: string;
  /** What stands in for what was asked, in words; empty where the map is the very one. */
  instead: string;
  latent: number[] | null;
}

export class Maps {
  private readonly made = new Recent<Promise<MapData>>(96);
  private readonly latest: Latest<number[], MapData> | null;

  constructor(private readonly source: Source) {
    const { live } = source;
    this.latest = live && new Latest((latent: number[]) => this.decoded(latent));
  }

  get scene(): Scene {
    return this.source.scene;
  }

  get isLive(): boolean {
    return this.latest !== null;
  }

  scened(map: SceneMap): Promise<MapData> {
    const known = this.made.get(map.voxels.name);
    if (known) return known;
    const arrays = [map.voxels, map.labels].map((reference) => reference && this.source.array(reference));
    return this.made.set(map.voxels.name, Promise.all(arrays).then(([voxels, labels]) => ({
      key: map.voxels.name, bytes: voxels as Uint8Array, labels: labels as Uint8Array | null,
    })));
  }

  /** The map of any latent from the server. */
  decoded(latent: number[]): Promise<MapData> {
    const key = `latent:${latent.map((value) => value.toPrecision(5)).join(",")}`;
    const known = this.made.get(key);
    if (known) return known;
    if (!this.source.live) throw new Error("a report has only the maps that were put into it");
    const asked = this.source.live.map(latent).then((reply) => mapOf(reply, key));
    asked.catch(() => {});
    return this.made.set(key, asked);
  }

  /** The map of a place; null where a later wish has overtaken it. */
  async resolve(place: Place): Promise<Resolved | null> {
    switch (place.kind) {
      case "mean": return this.alone(place, this.scene.mean as SceneMap, "Mean of all particles", null);
      case "state": {
        const state = this.scene.states[place.index];
        const words = `${state.name} · ${count(state.particles)} particles (${share(state.share)})`;
        return this.alone(place, state.map, words, state.latent.length > 0 ? state.latent : null);
      }
      case "series": return this.between(place);
      case "path": return this.alongPath(place);
      case "made": return { place, map: place.data, other: null, amount: 0, words: place.words, instead: "", latent: null };
      case "latent": return this.anywhere(place);
    }
  }

  private async alone(place: Place, map: SceneMap, words: string, latent: number[] | null): Promise<Resolved> {
    return { place, map: await this.scened(map), other: null, amount: 0, words, instead: "", latent };
  }

  private async between(place: Extract<Place, { kind: "series" }>): Promise<Resolved> {
    const series = this.scene.series[place.series];
    const { first, amount } = split(place.at, series.frames.length);
    const frame = series.frames[first];
    const next = amount > 0 ? series.frames[first + 1] : null;
    const [map, other] = await Promise.all([this.scened(frame.map), next ? this.scened(next.map) : null]);
    const position = next ? frame.position + amount * (next.position - frame.position) : frame.position;
    const words = `${series.name} · ${number(position)} · frame ${number(place.at + 1)} of ${series.frames.length} · `
      + `${count(series.frames[Math.round(first + amount)].particles)} particles nearest`;
    return { place, map, other, amount, words, instead: "", latent: mixedLatent(frame.latent, next?.latent, amount) };
  }

  private async alongPath(place: Extract<Place, { kind: "path" }>): Promise<Resolved | null> {
    const { first, amount } = split(place.at, place.path.latents.length);
    const latents = place.path.latents.slice(first, first + (amount > 0 ? 2 : 1));
    const words = `Path · frame ${number(place.at + 1)} of ${place.path.latents.length} · `
      + `${count(place.path.support[Math.round(place.at)])} particles nearest`;
    const latent = mixedLatent(latents[0], latents[1], amount);
    if (this.latest) {
      const map = await this.decoded(latents[0]);
      const other = latents[1] ? await this.decoded(latents[1]) : null;
      return { place, map, other, amount, words, instead: "", latent };
    }
    return { ...(await this.standIn(latent)), place, words, latent };
  }

  private async anywhere(place: Extract<Place, { kind: "latent" }>): Promise<Resolved | null> {
    const of = place.particle === null ? "Chosen latent" : `Particle ${count(place.particle)}`;
    if (this.latest) {
      const map = await this.latest.ask(place.latent);
      return map && { place, map, other: null, amount: 0, words: of, instead: "", latent: place.latent };
    }
    return { ...(await this.standIn(place.latent)), place, words: of, latent: place.latent };
  }

  /** In a report: the shown state or place between series frames that is nearest to a latent. */
  private async standIn(latent: number[]): Promise<Resolved> {
    const near = this.nearestShown(latent);
    const found = (await this.resolve(near.place)) as Resolved;
    const name = found.words.split(" · ").slice(0, near.place.kind === "series" ? 2 : 1).join(" at ");
    return { ...found, instead: `shown: ${name}, the nearest in this report (latent distance ${number(near.distance, 2)})` };
  }

  nearestShown(latent: number[]): { place: Place; distance: number } {
    let best: { place: Place; distance: number } = { place: { kind: "mean" }, distance: Infinity };
    this.scene.states.forEach((state, index) => {
      // a map that another program wrote need not tell of which latent it is
      if (state.latent.length !== latent.length) return;
      const away = distance(latent, state.latent);
      if (away < best.distance) best = { place: { kind: "state", index }, distance: away };
    });
    this.scene.series.forEach((series, index) => {
      const near = project(latent, series.frames.map((frame) => frame.latent));
      if (near.distance < best.distance) {
        best = { place: { kind: "series", series: index, at: near.at }, distance: near.distance };
      }
    });
    return best;
  }
}

/** The map of a reply, its arrays looked up by name. */
export function mapOf(reply: Reply<MapReply>, key: string): MapData {
  const { map } = reply.header;
  const find = (name: string): Values => reply.arrays.get(name) as Values;
  return {
    key, bytes: find(map.voxels.name) as Uint8Array,
    labels: map.labels && (find(map.labels.name) as Uint8Array),
  };
}

/** A place between frames: the frame before it, and how far on to the next, in 32nds so that few are told apart. */
export function split(at: number, frames: number): { first: number; amount: number } {
  const fine = Math.round(32 * Math.min(frames - 1, Math.max(0, at))) / 32;
  const first = Math.floor(fine);
  return { first, amount: fine - first };
}

function mixedLatent(a: number[], b: number[] | undefined, t: number): number[] {
  return b ? a.map((value, k) => value + t * (b[k] - value)) : a;
}

/** What is known of how far a state can be trusted, in words. */
export function trust(state: Scene["states"][number]): string {
  const known = [];
  if (state.resolution !== null) known.push(`halves agree to ${angstrom(state.resolution)}`);
  if (state.agreement !== null) known.push(`map agrees with its images to ${angstrom(state.agreement)}`);
  return known.join(", ") || "not measured";
}
