/** The view in the address: what is shown, from where, how. */

import type { App, Mode } from "./app";
import type { Place } from "./places";
import { unit, type Quaternion } from "./volume/camera";

export function toHash(app: App): string {
  const { view } = app;
  const { turn, half, shift, perspective } = view.camera;
  const query = new URLSearchParams({ x: view.x, y: view.y, colour: view.colour, level: view.level.toPrecision(4) });
  const shown = placeText(view.place);
  const other = view.other && placeText(view.other);
  if (shown) query.set("show", shown);
  if (view.mode !== "single" && other) {
    query.set("mode", view.mode);
    query.set("with", other);
    query.set("contrast", String(view.contrast));
  }
  if (view.hidden.size > 0) query.set("hidden", [...view.hidden].sort((a, b) => a - b).join("."));
  if (!view.tinted && app.scene.parts.length > 0) query.set("plain", "1");
  const numbers = [...turn, half, ...shift].map((value) => Number(value.toPrecision(5)));
  query.set("camera", [...numbers, perspective ? 1 : 0].join("_"));
  return query.toString();
}

/** Take over what an address says; what it says of columns or states that are not here is passed over. */
export function fromHash(app: App, hash: string): void {
  const query = new URLSearchParams(hash.replace(/^#/, ""));
  const { view } = app;
  const column = (name: string) => {
    const value = query.get(name);
    return value !== null && app.table.has(value) ? value : null;
  };
  view.x = column("x") ?? view.x;
  view.y = column("y") ?? view.y;
  view.colour = query.get("colour") === "" ? "" : column("colour") ?? view.colour;
  const level = Number(query.get("level"));
  if (level > 0) view.level = level;
  const contrast = Number(query.get("contrast"));
  if (contrast > 0 && contrast <= 1) view.contrast = contrast;
  view.place = readPlace(app, query.get("show")) ?? view.place;
  view.other = readPlace(app, query.get("with"));
  const mode = query.get("mode") as Mode | null;
  if (view.other && mode && ["overlay", "side", "difference"].includes(mode)) view.mode = mode;
  view.hidden = new Set((query.get("hidden") ?? "").split(".").map(Number).filter((part) => part > 0));
  if (query.get("plain")) view.tinted = false;
  const numbers = (query.get("camera") ?? "").split("_").map(Number);
  if (numbers.length === 8 && numbers.every(Number.isFinite) && numbers[4] > 0) {
    view.camera = {
      turn: unit(numbers.slice(0, 4) as Quaternion), half: numbers[4], shift: [numbers[5], numbers[6]],
      perspective: numbers[7] === 1,
    };
  }
}

/** A place in a word; null for what cannot be found again by its name. */
export function placeText(place: Place): string | null {
  switch (place.kind) {
    case "mean": return "mean";
    case "state": return `state:${place.index + 1}`;
    case "series": return `series:${place.series + 1}:${Number(place.at.toFixed(3))}`;
    case "latent": return `latent:${place.latent.map((value) => Number(value.toPrecision(5))).join("_")}`
      + (place.particle === null ? "" : `:${place.particle}`);
    default: return null;
  }
}

function readPlace(app: App, text: string | null): Place | null {
  const [kind, first, second] = (text ?? "").split(":");
  const index = Number(first) - 1;
  const { scene } = app;
  if (kind === "mean" && scene.mean) return { kind };
  if (kind === "state" && scene.states[index]) return { kind, index };
  if (kind === "series" && scene.series[index]) {
    const at = Math.min(scene.series[index].frames.length - 1, Math.max(0, Number(second) || 0));
    return { kind, series: index, at };
  }
  const latent = (first ?? "").split("_").map(Number);
  if (kind === "latent" && latent.length === scene.particles.latent.length && latent.every(Number.isFinite)) {
    return { kind, latent, particle: second === undefined ? null : Number(second) };
  }
  return null;
}
