/** Pictures and movies of the 3-D view. */

import { css, type Rgb } from "../colour";
import { roundLength } from "../format";
import type { App } from "../app";
import type { Stage } from "./stage";

const RATE = 25; // pictures a second
const HOLD = 3; // pictures that a frame of a slow machine may stand

/** The view at twice its size, with the scale bar, on white or on nothing. */
export async function png(stage: Stage, background: "white" | "transparent"): Promise<Blob> {
  const [width, height] = [stage.canvas.width, stage.canvas.height];
  const image = stage.renderer.snapshot(2 * width, 2 * height);
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d") as CanvasRenderingContext2D;
  const layer = new OffscreenCanvas(image.width, image.height);
  (layer.getContext("2d") as OffscreenCanvasRenderingContext2D).putImageData(image, 0, 0);
  if (background === "white") {
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  context.drawImage(layer, 0, 0);
  scaleBar(context, stage, canvas.width, canvas.height, "black");
  return new Promise((done, failed) => canvas.toBlob((blob) =>
    (blob ? done(blob) : failed(new Error("the browser made no picture")))));
}

function scaleBar(context: CanvasRenderingContext2D, stage: Stage, width: number, height: number, colour: string): void {
  const perPixel = (stage.perPixel() * stage.element.clientHeight) / height;
  const length = roundLength((perPixel * width) / 5);
  const unit = height / 45;
  context.fillStyle = colour;
  context.fillRect(unit, height - 1.4 * unit, length / perPixel, unit / 4);
  context.font = `${Math.round(unit)}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.fillText(`${length} Å`, unit + length / perPixel / 2, height - 1.8 * unit);
}

/** What is shown, in words: of a path or a series, how many particles stand behind the frame. */
function caption(context: CanvasRenderingContext2D, words: string, height: number, colour: string): void {
  const unit = Math.max(12, height / 32);
  context.fillStyle = colour;
  context.font = `${Math.round(unit)}px system-ui, sans-serif`;
  context.textAlign = "left";
  context.fillText(words, unit, 1.8 * unit);
}

/** What the browser can record, MP4 before WebM; null where it can record nothing. */
export function movieKind(): { mime: string; ending: string } | null {
  if (typeof MediaRecorder === "undefined") return null;
  const kinds = [
    ["video/mp4;codecs=avc1.640028", "mp4"], ["video/mp4", "mp4"], ["video/webm;codecs=vp9", "webm"], ["video/webm", "webm"],
  ];
  const found = kinds.find(([mime]) => MediaRecorder.isTypeSupported(mime));
  return found ? { mime: found[0], ending: found[1] } : null;
}

/**
 * A movie of places one after another, there and back.
 *
 * @param show puts place k on the stage and is done when it is drawn
 * @param told is called with the share that is done
 */
export async function movie(
  app: App, stage: Stage, places: number[], show: (at: number) => Promise<void>, told: (share: number) => void,
): Promise<{ blob: Blob; ending: string }> {
  const kind = movieKind();
  if (!kind) throw new Error("this browser records no movies; Chromium and Firefox do");
  const canvas = document.createElement("canvas");
  // encoders want even sizes
  canvas.width = 2 * Math.floor(stage.canvas.width / 2);
  canvas.height = 2 * Math.floor(stage.canvas.height / 2);
  const context = canvas.getContext("2d") as CanvasRenderingContext2D;
  const background: Rgb = stage.background;
  const paint = () => {
    context.fillStyle = css(background);
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(stage.canvas, 0, 0);
    const ink = app.dark ? "white" : "black";
    scaleBar(context, stage, canvas.width, canvas.height, ink);
    if (app.resolved) caption(context, app.resolved.words, canvas.height, ink);
  };
  // all pictures first, at the quality of rest; then they are played to the recorder in time
  const pictures: ImageBitmap[] = [];
  for (const [k, place] of places.entries()) {
    await show(place);
    await rest(stage);
    paint();
    pictures.push(await createImageBitmap(canvas));
    told((0.7 * (k + 1)) / places.length);
  }
  const recorder = new MediaRecorder(canvas.captureStream(RATE), { mimeType: kind.mime, videoBitsPerSecond: 8e6 });
  const parts: Blob[] = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  const stopped = new Promise((done) => { recorder.onstop = done; });
  recorder.start();
  const round = [...pictures, ...pictures.slice(1, -1).reverse()];
  for (const [k, picture] of round.entries()) {
    for (let held = 0; held < HOLD; held++) {
      context.drawImage(picture, 0, 0);
      await new Promise((done) => setTimeout(done, 1000 / RATE));
    }
    told(0.7 + (0.3 * (k + 1)) / round.length);
  }
  recorder.stop();
  await stopped;
  for (const picture of pictures) picture.close();
  return { blob: new Blob(parts, { type: kind.mime }), ending: kind.ending };
}

/** Until the stage is at rest; not for ever on a machine that draws very slowly. */
async function rest(stage: Stage): Promise<void> {
  const begun = performance.now();
  while (stage.element.dataset.rest !== "true" && performance.now() - begun < 8000) {
    await new Promise((done) => setTimeout(done, 30));
  }
}
