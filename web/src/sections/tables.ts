/** States and parts as tables. */

import type { App } from "../app";
import { announce, h, refill, section } from "../dom";
import { angstrom, count, number, share, withUnit } from "../format";

const AXES = ["z", "y", "x"];

export function statesSection(app: App): HTMLElement | null {
  const { states } = app.scene;
  if (states.length === 0) return null;
  const most = Math.max(...states.map((state) => state.share));
  const body = states.map((state, i) => {
    const bar = h("span", { class: "fill" });
    bar.style.width = `${(100 * state.share) / most}%`;
    return h("tr", {},
      h("th", { scope: "row" }, h("button", { type: "button", class: "link", click: () => {
        void app.show({ kind: "state", index: i });
        document.getElementById("density")?.scrollIntoView({ block: "nearest" });
      } }, state.name)),
      h("td", { class: "pictures" }, ...state.pictures.map((picture, k) =>
        h("img", { src: picture, alt: `${state.name} seen along ${AXES[k] ?? "an axis"}`, loading: "lazy" }))),
      h("td", { class: "number" }, count(state.particles)),
      h("td", { class: "number bar-cell" }, bar, share(state.share)),
      h("td", { class: "number" }, angstrom(state.resolution)),
      h("td", { class: "number" }, angstrom(state.agreement)),
      h("td", { class: "latent" }, state.latent.map((value) => number(value, 2)).join(", ")));
  });
  return section("states", "States", h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "State"), h("th", { scope: "col" }, "Seen along z, y, x"),
      h("th", { scope: "col", class: "number" }, "Particles"), h("th", { scope: "col", class: "number" }, "Share"),
      h("th", { scope: "col", class: "number", title: "Half maps of these particles alone, without the model: FSC 0.143" },
        "Halves agree to"),
      h("th", { scope: "col", class: "number", title: "The model's map against the mean of those half maps: FSC 0.5" },
        "Map agrees with images to"),
      h("th", { scope: "col" }, "Latent"))),
    h("tbody", {}, ...body))));
}

export function partsSection(app: App): HTMLElement | null {
  const { parts } = app.scene;
  if (parts.length === 0) return null;
  const { hidden } = app.view;
  const boxes = new Map<number, HTMLInputElement>();
  const toggle = (number: number, shown: boolean) => {
    if (shown) hidden.delete(number);
    else hidden.add(number);
    app.tell("look");
    announce(`part ${number} ${shown ? "shown" : "hidden"}`);
  };
  const all = h("button", { type: "button", click: () => {
    const show = hidden.size > 0;
    for (const part of parts) { if (show) hidden.delete(part.number); else hidden.add(part.number); }
    for (const [number, box] of boxes) box.checked = !hidden.has(number);
    app.tell("look");
  } });
  const named = () => refill(all, hidden.size > 0 ? "Show all" : "Hide all");
  app.on("look", named);
  named();
  const body = parts.map((part) => {
    const box = h("input", {
      type: "checkbox", checked: !hidden.has(part.number), "aria-label": `Show part ${part.number}`,
      change: () => toggle(part.number, box.checked),
    });
    boxes.set(part.number, box);
    const swatch = h("span", { class: "swatch" });
    swatch.style.background = part.colour;
    const only = h("button", { type: "button", class: "link", title: "Only this part", click: () => {
      for (const other of parts) { if (other.number === part.number) hidden.delete(other.number); else hidden.add(other.number); }
      for (const [number, each] of boxes) each.checked = !hidden.has(number);
      app.tell("look");
    } }, "only");
    return h("tr", {},
      h("th", { scope: "row" }, h("label", {}, box, swatch, `Part ${part.number}`), " ", only),
      h("td", { class: "number" }, share(part.mass)),
      h("td", { class: "number" }, withUnit(part.rotationDegrees, "°", 2)),
      h("td", { class: "number" }, withUnit(part.travel, "Å", 2)),
      h("td", { class: "number" }, share(part.present)),
      h("td", { class: "number" }, count(part.gaussians)),
      h("td", { class: "number latent" }, part.centre.map((value) => number(value, 3)).join(", ")));
  });
  return section("parts", "Parts", h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Part ", all),
      h("th", { scope: "col", class: "number" }, "Mass"),
      h("th", { scope: "col", class: "number", title: "How far the farthest 5 % of particles are turned from rest" }, "Turns by"),
      h("th", { scope: "col", class: "number", title: "How far the farthest 5 % of particles are moved from rest" }, "Moves by"),
      h("th", { scope: "col", class: "number", title: "Share of particles in which it is there" }, "Present in"),
      h("th", { scope: "col", class: "number" }, "Gaussians"),
      h("th", { scope: "col", class: "number" }, "Centre (Å)"))),
    h("tbody", {}, ...body))));
}
