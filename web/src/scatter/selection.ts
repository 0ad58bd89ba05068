/** What can be done with the particles in a lasso: counted, averaged, looked at, kept, taken to another program. */

import type { App } from "../app";
import { button, download, h, refill } from "../dom";
import { angstrom, count, ofAll } from "../format";
import { mapOf } from "../places";
import type { MapFrame, Selection } from "../scene";
import { commandList } from "../sections/commands";
import { toByte } from "../volume/picture";
import { sameVolume } from "../volume/prepare";
import { montage } from "./montage";
import type { Point } from "./polygon";

/** Number in the next name that is proposed: a name that was used is of those particles. */
let next = 1;

export function selectionBox(app: App, rows: Int32Array, polygon: Point[], drop: () => void): HTMLElement {
  const name = h("input", {
    type: "text", value: `selection_${next}`, "aria-label": "Name of the selection", pattern: "[A-Za-z0-9_\\-]{1,64}", size: 16,
  });
  const answer = h("div", { class: "answer", "aria-live": "polite" });
  const made = () => selection(app, rows, polygon, cleaned(name.value));
  const sample = app.table.drawn !== null;
  return h("div", { class: "selected" },
    h("p", {}, h("strong", {}, ofAll(rows.length, app.table.rows)), sample && " of those drawn"),
    h("div", { class: "bar" }, name,
      ...(app.source.live ? liveButtons(app, rows, made, answer) : reportButtons(app, made, answer)),
      button("Clear", drop)),
    sample && h("p", { class: "note" }, "The file keeps the outline too, so that it can be laid over all particles."),
    answer);
}

/** The run as a command names it: with its whole path where a command of the page tells, else by its title. */
function folder(app: App): string {
  const told = app.scene.commands.map(({ command }) => /^morphem (?:view|report) (\S.*)$/.exec(command)?.[1]);
  return told.find((each) => each !== undefined) ?? app.scene.title;
}

/** Images may be on another scale than the model: the contour that encloses as much as it did before. */
function contourLike(app: App, map: Uint8Array, before: Uint8Array): void {
  const frame = app.scene.maps as MapFrame;
  const byte = sameVolume(map, before, toByte(frame, app.view.level));
  app.usualLevel ??= app.view.level;
  app.view.level = frame.low + ((frame.high - frame.low) * byte) / 255;
  app.tell("level");
}

/** A name that is safe as a file's. */
export function cleaned(name: string): string {
  return name.trim().replace(/[^A-Za-z0-9_-]+/g, "_").slice(0, 64) || "selection";
}

export function selection(app: App, rows: Int32Array, polygon: Point[], name: string): Selection {
  const { x, y } = app.view;
  const how = polygon.length > 0
    ? `lasso of ${polygon.length} corners in ${x} × ${y}` : "lasso in columns that are no longer drawn";
  return {
    schema: 1, name, run: app.scene.title, count: app.scene.particles.count,
    made: polygon.length > 0 ? { how, x, y, polygon } : { how },
    particles: Array.from(app.table.particles(rows)),
  };
}

function reportButtons(app: App, made: () => Selection, answer: HTMLElement): HTMLElement[] {
  return [button("Download", () => {
    const selected = made();
    download(`${selected.name}.json`, new Blob([JSON.stringify(selected)], { type: "application/json" }));
    const run = folder(app);
    refill(answer, commandList([
      { purpose: "Keep it with the run", command: `morphem select ${run} -o ${selected.name} --lasso ${selected.name}.json` },
      { purpose: "Take its particles to RELION", command: `morphem export ${run} --to star --select ${selected.name}` },
      { purpose: "Take its particles to cryoSPARC", command: `morphem export ${run} --to cs --select ${selected.name}` },
    ]));
  }, { class: "main", title: "As JSON, for morphem select" })];
}

function liveButtons(app: App, rows: Int32Array, made: () => Selection, answer: HTMLElement): HTMLElement[] {
  const live = app.source.live!;
  const particles = app.table.particles(rows);
  const doing = (words: string, act: () => Promise<HTMLElement | string>) => async () => {
    refill(answer, h("p", { class: "note busy" }, words));
    try {
      refill(answer, await act());
    } catch (error) {
      refill(answer, h("p", { class: "problem" }, (error as Error).message));
    }
  };
  const mean = doing("averaging their images …", async () => {
    const reply = await live.subset(particles);
    const { used, asked, resolution } = reply.header;
    const words = `Mean of ${count(used)} images of ${count(rows.length)} selected particles`;
    const before = app.resolved;
    const data = mapOf(reply, `subset:${Date.now()}`);
    await app.show({ kind: "made", data, words });
    if (before) contourLike(app, data.bytes, before.map.bytes);
    return h("p", {}, `${words}${used < asked ? ` (a sample of ${count(asked)})` : ""}: its halves agree to `
      + `${angstrom(resolution)} (FSC 0.143). It is made of images alone, without the model; the contour encloses as much as before.`);
  });
  const pictures = doing("reading images …", async () => montage(await live.montage(particles)));
  const keepNow = async () => {
    const selected = made();
    const kept = await live.select(selected);
    if (selected.name === `selection_${next}`) next++;
    return { ...kept, name: selected.name };
  };
  const keep = doing("writing …", async () => {
    const kept = await keepNow();
    return h("div", {}, h("p", {}, `kept in ${kept.file}`), commandList(kept.commands));
  });
  const take = (to: "star" | "cs") => doing("writing …", async () => {
    const { name } = await keepNow();
    const file = await live.download(name, to);
    download(file.name, file.contents);
    return h("p", {}, `${file.name}: ${count(rows.length)} particles`);
  });
  return [
    button("Mean map", mean, { class: "main", title: "Back-project their images" }),
    button("Images", pictures, { title: "Some of their images, raw and filtered, and what the model expects" }),
    button("Keep", keep, { title: "In the run's folder" }),
    button(".star", take("star"), { title: "Download for RELION" }),
    button(".cs", take("cs"), { title: "Download for cryoSPARC" }),
  ];
}
