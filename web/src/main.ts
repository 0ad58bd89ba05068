/** The page: reads the scene and builds what is on it. */

import "./page.css";
import { App } from "./app";
import { button, h, section } from "./dom";
import { fromHash } from "./hash";
import { ScatterPanel } from "./scatter/panel";
import type { Scene } from "./scene";
import { commandList } from "./sections/commands";
import { coverage } from "./sections/coverage";
import { curve } from "./sections/curves";
import { header } from "./sections/header";
import { partsSection, statesSection } from "./sections/tables";
import { open } from "./source";
import { VolumePanel } from "./volume/panel";

async function start(): Promise<void> {
  const root = document.getElementById("morphem") ?? document.body.appendChild(h("div", { id: "morphem" }));
  root.replaceChildren(h("p", { class: "loading" }, "Reading …"));
  try {
    const source = await open();
    const app = await App.open(source);
    document.title = `${app.scene.title} · Morphem`;
    fromHash(app, location.hash);
    root.replaceChildren(...page(app));
    await Promise.all([app.show(app.view.place), app.view.other && app.compare(app.view.other)]);
  } catch (error) {
    root.replaceChildren(h("p", { class: "problem loading", role: "alert" }, `This page cannot be shown: ${(error as Error).message}`));
    throw error;
  }
}

function page(app: App): HTMLElement[] {
  const { scene } = app;
  const complaint = h("div", { class: "complaint", role: "alert", hidden: true });
  app.complain = (words) => {
    complaint.replaceChildren(words, button("✕", () => { complaint.hidden = true; }, { "aria-label": "Dismiss" }));
    complaint.hidden = false;
  };
  const density = app.hasMaps ? new VolumePanel(app) : null;
  const top = h("div", { class: density ? "panels" : "panels alone" },
    scene.particles.columns.length > 0 ? new ScatterPanel(app).element : null, density?.element);
  density?.follow(app.view.place);
  const charts = [...scene.curves.map(curve), ...coverage(scene.coverage)];
  return [
    h("a", { class: "skip", href: "#particles" }, "Skip to the particles"),
    header(scene), complaint,
    h("main", {}, top, h("div", { class: "pair-of-tables" }, statesSection(app), partsSection(app)),
      charts.length > 0 && section("curves", "Curves and coverage", h("div", { class: "charts" }, ...charts)),
      scene.commands.length > 0 && section("commands", "Go on from here", commandList(scene.commands))),
    footer(scene), h("div", { id: "announcer", class: "hidden", "aria-live": "polite" }),
  ];
}

function footer(scene: Scene): HTMLElement {
  return h("footer", {},
    scene.citations.length > 0 && h("div", {}, h("h2", {}, "Please cite"), h("ul", {}, ...scene.citations.map((text) => h("li", {}, text)))),
    scene.versions.length > 0 && h("div", {}, h("h2", {}, "Made with"),
      h("p", {}, scene.versions.map(([name, version]) => `${name} ${version}`).join(" · "))));
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => void start());
else void start();
