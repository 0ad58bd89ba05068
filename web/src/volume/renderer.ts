/** Draws surfaces of maps on a canvas: coarse while something moves, then finer and finer until at rest. */

import type { Rgb } from "../colour";
import { Recent } from "../source";
import { fitted, rows, type Camera } from "./camera";
import { discard, pixelsOf, program, sheet, texture3d, type Program, type Sheet } from "./gl";
import { Pace } from "./pace";
import { BLOCK, blocksOf, brightest, coarse, filled, refined, type Shape } from "./prepare";
import { COMPOSE, fragment, halton, VERTEX } from "./shader";

/** A map as bytes; two of one key are the same map. */
export interface Solid {
  key: string;
  bytes: Uint8Array;
}

/** A surface: the map, or a mixture of it and another. */
export interface Layer {
  map: Solid;
  other?: { map: Solid; amount: number };
  /** In the map's bytes, 0 to 255. */
  level: number;
  colour: Rgb;
  alpha: number;
  /** Colours of the parts (first layer only): four bytes a voxel. */
  tint?: { key: string; bytes: Uint8Array; hides: boolean } | null;
}

/** Pictures side by side with one camera. */
export type Picture = Layer[][];

interface Loaded {
  map: WebGLTexture;
  blocks: WebGLTexture;
  fine: Shape;
  bright: Uint8Array;
}

/** What the graphics card has been told and has not yet done. */
interface Drawing {
  sync: WebGLSync;
  begun: number;
  /** Of the whole pass. */
  pixels: number;
  maps: string[];
  fine: boolean;
  /** Whether it ends its pass. */
  last: boolean;
}

const PASSES = 8;
const SETTLED = 140; // ms that a coarse picture is to be seen without a movement until the fine passes begin
const AIM = 30; // ms a frame may take while something moves
const PATIENCE = 3000; // ms that a fine pass may take
const ENOUGH = 1000; // ms that all fine passes together may take, but for the first
const STRIP = 50; // ms that a strip of a fine pass may take: a hand's next movement waits for it

export class Renderer {
  camera: Camera;
  /** Called after each frame; `rest` once nothing better will come. */
  drawn: (rest: boolean) => void = () => {};
  private readonly gl: WebGL2RenderingContext;
  private readonly deep: boolean;
  private readonly programs = new Map<number, Program>();
  private readonly compose: Program;
  /** Maps as they came, for the first picture of them, and refined. */
  private readonly quick: Recent<Loaded>;
  private readonly fine: Recent<Loaded>;
  private readonly tints: Recent<WebGLTexture>;
  private sum: Sheet | null = null;
  private picture: Picture = [];
  private fog: Rgb = [255, 255, 255];
  private passes = 0;
  private movedAt = -Infinity;
  private coarseAt = -Infinity;
  private fineSince = 0;
  private warmed = false;
  private readonly pace = new Pace();
  /** Of the pass that is being drawn: its strips, how many of them are done, and the time of those, ms. */
  private strips = { all: 1, done: 0, time: 0 };
  private fence: Drawing | null = null;
  private scheduled = false;

  constructor(readonly canvas: HTMLCanvasElement, private readonly shape: Shape, readonly pixel: number, camera: Camera) {
    const gl = canvas.getContext("webgl2", { antialias: false, alpha: true, preserveDrawingBuffer: true });
    if (!gl) throw new Error("no WebGL2");
    this.gl = gl;
    this.camera = camera;
    this.deep = gl.getExtension("EXT_color_buffer_float") !== null || gl.getExtension("EXT_color_buffer_half_float") !== null;
    this.compose = program(gl, VERTEX, COMPOSE);
    const most = Math.max(8, Math.round(2e8 / (8 * shape[0] * shape[1] * shape[2])));
    const forget = (old: Loaded) => {
      gl.deleteTexture(old.map);
      gl.deleteTexture(old.blocks);
    };
    this.fine = new Recent<Loaded>(most, forget);
    this.quick = coarse(shape) ? new Recent<Loaded>(most, forget) : this.fine;
    this.tints = new Recent<WebGLTexture>(8, (old) => gl.deleteTexture(old));
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => location.reload());
  }

  show(picture: Picture, fog: Rgb): void {
    this.picture = picture;
    this.fog = fog;
    this.moved();
  }

  /** Something changed: draw coarsely at once, finely when it stays so. */
  moved(): void {
    this.movedAt = performance.now();
    this.passes = 0;
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => { this.scheduled = false; this.tick(); });
  }

  private tick(): void {
    if (this.gl.isContextLost()) return;
    if (!this.finished()) {
      // asked again soon rather than at the next frame: the wait is measured, and sets the resolution
      this.scheduled = true;
      setTimeout(() => { this.scheduled = false; this.tick(); }, 3);
      return;
    }
    const still = performance.now() - Math.max(this.movedAt, this.coarseAt);
    if (this.passes === 0) {
      this.draw(this.scale(AIM));
      this.passes = 1;
      this.drawn(false);
      this.schedule();
    } else if (still < SETTLED) {
      this.schedule();
    } else if (this.passes <= PASSES) {
      this.refine(this.scale(PATIENCE));
      this.drawn(false);
      this.schedule();
    } else this.drawn(true);
  }

  /** Share of the canvas's resolution at which a pass takes about so long, ms. */
  private scale(time: number): number {
    const all = this.canvas.width * this.canvas.height;
    return Math.min(1, Math.max(0.22, Math.sqrt(this.pace.pixels(time) / all)));
  }

  private finished(): boolean {
    if (!this.fence) return true;
    const { gl } = this;
    const status = gl.clientWaitSync(this.fence.sync, 0, 0);
    if (status === gl.TIMEOUT_EXPIRED) return false;
    gl.deleteSync(this.fence.sync);
    const { begun, pixels, maps, fine, last } = this.fence;
    const spent = performance.now() - begun;
    this.fence = null;
    performance.measure(fine ? "surface, fine" : "surface", { start: begun, duration: spent, detail: { pixels, maps } });
    this.strips.time += spent;
    // what compiles shaders says nothing of the frames to come
    if (last && this.warmed) this.pace.took(pixels, this.strips.time);
    this.warmed = true;
    if (last) this.strips.time = 0;
    // what follows on at once would keep the page from showing this picture
    if (!fine) this.coarseAt = performance.now();
    return true;
  }

  private begin(fine: boolean, last: boolean): void {
    const sync = this.gl.fenceSync(this.gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    this.gl.flush();
    const maps = this.picture.flat().map((layer) => layer.map.key);
    const { width, height } = this.sum as Sheet;
    if (sync) this.fence = { sync, begun: performance.now(), pixels: width * height, maps, fine, last };
  }

  private draw(scale: number): void {
    this.strips = { all: 1, done: 0, time: 0 };
    this.target(scale);
    this.pass([0, 0]);
    this.present(1);
    this.begin(false, true);
  }

  /** Draw the next strip of a fine pass; the pass is seen when all of it is drawn. */
  private refine(scale: number): void {
    const { gl, strips } = this;
    if (strips.done === 0 && this.passes === 1) {
      this.target(scale);
      this.fineSince = performance.now();
    }
    const { width, height, frame } = this.sum as Sheet;
    if (strips.done === 0) strips.all = Math.min(height, Math.ceil(this.pace.expected(width * height) / STRIP) || 1);
    const low = Math.round((strips.done * height) / strips.all);
    const high = Math.round((++strips.done * height) / strips.all);
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(0, low, width, high - low);
    const [x, y] = halton(this.passes);
    this.pass([(2 * x - 1) / width, (2 * y - 1) / height]);
    gl.disable(gl.SCISSOR_TEST);
    const last = strips.done === strips.all;
    if (last) this.passed();
    this.begin(true, last);
  }

  private passed(): void {
    this.strips.done = 0;
    // without deep pixels sums would overflow: the one sharp pass must do
    this.present(this.deep ? this.passes : 1);
    const enough = !this.deep || performance.now() - this.fineSince > ENOUGH;
    this.passes = enough ? PASSES + 1 : this.passes + 1;
  }

  /** An empty sheet of the canvas's size times `scale`, bound. */
  private target(scale: number): void {
    const { gl } = this;
    const width = Math.max(16, Math.round(this.canvas.width * scale));
    const height = Math.max(16, Math.round(this.canvas.height * scale));
    if (!this.sum || this.sum.width !== width || this.sum.height !== height) {
      if (this.sum) discard(gl, this.sum);
      this.sum = sheet(gl, width, height, this.deep);
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.sum.frame);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
  }

  private pass(jitter: [number, number]): void {
    const { gl } = this;
    const { width, height } = this.sum as Sheet;
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE);
    const count = this.picture.length;
    this.picture.forEach((layers, i) => {
      const left = Math.round((i * width) / count);
      const wide = Math.round(((i + 1) * width) / count) - left;
      gl.viewport(left, 0, wide, height);
      this.march(layers, wide / height, [jitter[0] * count, jitter[1]]);
    });
  }

  private march(layers: Layer[], aspect: number, jitter: [number, number]): void {
    const { gl } = this;
    const maps = layers.flatMap((layer) => (layer.other ? [layer.map, layer.other.map] : [layer.map]));
    const known = this.passes > 0 || maps.every((map) => this.fine.get(map.key)) ? this.fine : this.quick;
    const loaded = new Map(maps.map((map) => [map.key, this.load(map, known)]));
    const reaches = (map: Solid, level: number) => (loaded.get(map.key) as Loaded).bright.some((value) => value >= level);
    const drawn = layers.filter((layer) => reaches(layer.map, layer.level)
      || (layer.other && reaches(layer.other.map, layer.level)));
    if (drawn.length === 0) return;
    const marcher = this.marcher(drawn.length);
    gl.useProgram(marcher.handle);
    this.place(marcher, aspect);
    gl.uniform2f(marcher.at("jitter"), jitter[0], jitter[1]);
    gl.uniform3fv(marcher.at("fog"), this.fog.map((value) => (value / 255) ** 2));
    drawn.forEach((layer, i) => this.bind(marcher, layer, i, loaded));
    this.bound(marcher, drawn, loaded);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  private place(marcher: Program, aspect: number): void {
    const { gl, camera, shape } = this;
    const [right, up, back] = rows(camera.turn);
    const centre = shape.map((length, axis) =>
      (length - 1) / 2 - (camera.shift[0] * right[axis] + camera.shift[1] * up[axis]) / this.pixel);
    const reach = Math.hypot(...shape) / 2;
    const half = fitted(camera, aspect) / this.pixel;
    gl.uniform3fv(marcher.at("right"), right);
    gl.uniform3fv(marcher.at("up"), up);
    gl.uniform3fv(marcher.at("back"), back);
    gl.uniform3fv(marcher.at("centre"), centre);
    gl.uniform3fv(marcher.at("shape"), shape);
    gl.uniform3fv(marcher.at("blocks"), blocksOf(shape));
    gl.uniform2f(marcher.at("span"), half * aspect, half);
    gl.uniform1f(marcher.at("reach"), reach);
    gl.uniform1f(marcher.at("eye"), camera.perspective ? half / Math.tan(0.24) : 0);
  }

  private bind(marcher: Program, layer: Layer, i: number, all: Map<string, Loaded>): void {
    const { gl } = this;
    const loaded = all.get(layer.map.key) as Loaded;
    this.sampler(marcher, `map${i}`, 2 * i, loaded.map);
    this.sampler(marcher, `blocks${i}`, 2 * i + 1, loaded.blocks);
    // half a step below: bytes are whole numbers, and a block of just that brightness must not be skipped
    gl.uniform1f(marcher.at(`level${i}`), Math.max(0.5, layer.level) / 255);
    gl.uniform4f(marcher.at(`colour${i}`), ...linear(layer.colour), layer.alpha);
    if (i > 0) return;
    const other = layer.other && layer.other.amount > 0 ? (all.get(layer.other.map.key) as Loaded) : loaded;
    gl.uniform1f(marcher.at("amount"), layer.other?.amount ?? 0);
    gl.uniform1f(marcher.at("fine"), loaded.fine[0] === this.shape[0] ? 1 : 2);
    this.sampler(marcher, "other", 6, other.map);
    this.sampler(marcher, "otherBlocks", 7, other.blocks);
    gl.uniform1i(marcher.at("tinted"), !layer.tint ? 0 : layer.tint.hides ? 2 : 1);
    this.sampler(marcher, "tint", 8, layer.tint ? this.tint(layer.tint) : loaded.map);
  }

  /** The box of all blocks that any layer reaches its level in. */
  private bound(marcher: Program, layers: Layer[], loaded: Map<string, Loaded>): void {
    const blocks = blocksOf(this.shape);
    const low = [Infinity, Infinity, Infinity];
    const high = [-Infinity, -Infinity, -Infinity];
    for (const layer of layers) {
      for (const map of [layer.map, layer.other?.map]) {
        const box = map && filled((loaded.get(map.key) as Loaded).bright, blocks, layer.level);
        if (!box) continue;
        for (const axis of [0, 1, 2]) {
          low[axis] = Math.min(low[axis], Math.max(0, box.low[axis] * BLOCK - 0.5));
          high[axis] = Math.max(high[axis], Math.min(this.shape[axis] - 1, box.high[axis] * BLOCK - 0.5));
        }
      }
    }
    this.gl.uniform3fv(marcher.at("low"), low);
    this.gl.uniform3fv(marcher.at("high"), high);
  }

  private sampler(marcher: Program, name: string, unit: number, texture: WebGLTexture): void {
    this.gl.activeTexture(this.gl.TEXTURE0 + unit);
    this.gl.bindTexture(this.gl.TEXTURE_3D, texture);
    this.gl.uniform1i(marcher.at(name), unit);
  }

  private marcher(layers: number): Program {
    let found = this.programs.get(layers);
    if (!found) this.programs.set(layers, (found = program(this.gl, VERTEX, fragment(layers))));
    return found;
  }

  /** Have a map on the graphics card, refined, before it is shown. */
  prepare(solid: Solid): void {
    this.load(solid, this.fine);
  }

  private load(solid: Solid, known: Recent<Loaded>): Loaded {
    const found = known.get(solid.key);
    if (found) return found;
    const { map, shape: fine } = known === this.fine ? refined(solid.bytes, this.shape) : { map: solid.bytes, shape: this.shape };
    const bright = brightest(map, fine, this.shape);
    this.gl.activeTexture(this.gl.TEXTURE15);
    return known.set(solid.key, {
      map: texture3d(this.gl, map, fine, "levels"),
      blocks: texture3d(this.gl, bright, blocksOf(this.shape), "nearest"),
      fine, bright,
    });
  }

  private tint(tint: { key: string; bytes: Uint8Array }): WebGLTexture {
    const known = this.tints.get(tint.key);
    if (known) return known;
    this.gl.activeTexture(this.gl.TEXTURE15);
    return this.tints.set(tint.key, texture3d(this.gl, tint.bytes, this.shape, "linear"));
  }

  private present(passes: number): void {
    const { gl } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    this.composed(passes, this.canvas.width, this.canvas.height);
  }

  private composed(passes: number, width: number, height: number): void {
    const { gl } = this;
    gl.viewport(0, 0, width, height);
    gl.disable(gl.BLEND);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.useProgram(this.compose.handle);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, (this.sum as Sheet).texture);
    gl.uniform1i(this.compose.at("sum"), 0);
    gl.uniform1f(this.compose.at("passes"), passes);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** The picture at once and at its finest, `width` by `height`, as straight (not premultiplied) colours. */
  snapshot(width: number, height: number, passes = this.deep ? PASSES : 1): ImageData {
    const { gl } = this;
    if (this.sum) discard(gl, this.sum);
    this.sum = sheet(gl, width, height, this.deep);
    this.passes = passes; // refined maps are drawn
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    for (let i = 1; i <= passes; i++) {
      const [x, y] = halton(i);
      this.pass([(2 * x - 1) / width, (2 * y - 1) / height]);
    }
    const flat = sheet(gl, width, height, false);
    this.composed(passes, width, height);
    const image = pixelsOf(gl, width, height);
    discard(gl, flat);
    this.moved();
    return image;
  }
}

function linear(colour: Rgb): Rgb {
  return colour.map((value) => (value / 255) ** 2) as Rgb;
}
