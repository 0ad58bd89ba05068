/**
 * What a page shows: one JSON record, the scene, and arrays beside it. `morphem report` writes both into one
 * HTML file; `morphem view` serves them. Python writes what is declared here: `morphem.report.scene`.
 *
 * Lengths are in Å unless a name says otherwise. Arrays are little-endian and in C order.
 */

export type ArrayKind = "uint8" | "int32" | "float32";

/** An array beside the scene, fetched by its name when it is first needed. */
export interface ArrayReference {
  name: string;
  kind: ArrayKind;
  shape: number[];
}

export interface Scene {
  schema: 1;
  /** True where a server answers: maps of any latent, subsets, montages, exports. */
  live: boolean;
  /** Name of the run's folder. */
  title: string;
  /** Method and preset in words, e.g. "cryospire, preset fast". */
  subtitle: string;
  /** Label and value pairs: particles, box, pixel, version, seed, time taken, … */
  summary: [string, string][];
  /** What to know before trusting it; the worst first. */
  findings: Finding[];
  curves: Curve[];
  particles: ParticleTable;
  maps: MapFrame | null;
  /** The map of the mean latent. */
  mean: SceneMap | null;
  states: State[];
  series: Series[];
  parts: Part[];
  /** How views and defoci are covered. */
  coverage: Coverage;
  /** Commands that reproduce the run and go on from it. */
  commands: Command[];
  /** Papers to cite. */
  citations: string[];
  /** Name and version of what it was made with. */
  versions: [string, string][];
}

/** One thing that was examined: what was found, and what it means for the reader. */
export interface Finding {
  verdict: "good" | "note" | "warning" | "bad";
  title: string;
  text: string;
}

/** Lines over a common abscissa: loss by images seen, Fourier shell correlation by frequency. */
export interface Curve {
  name: string;
  title: string;
  abscissa: string;
  ordinate: string;
  /** "resolution" draws a second axis of 1/x Å; "plain" does not. */
  kind: "plain" | "resolution";
  lines: { label: string; x: number[]; y: number[] }[];
  /** Horizontal marks, e.g. FSC 0.143. */
  marks: { label: string; value: number }[];
}

/** What is known of each particle; every array has one value a particle, in the run's order. */
export interface ParticleTable {
  count: number;
  columns: Column[];
  /** Pairs of columns to plot against each other, the best first. */
  plots: { title: string; x: string; y: string }[];
  /** Names of the columns that together are the latent, in the order that a decoder wants. */
  latent: string[];
  /** Particles that are drawn in a report; all where null. Indices into the run's order. */
  drawn: ArrayReference | null;
}

export interface Column {
  name: string;
  label: string;
  /** "" where there is none. */
  unit: string;
  /** number: float32 values (NaN = unknown); category: int32 codes into `categories` (-1 = unknown). */
  kind: "number" | "category";
  categories: string[];
  values: ArrayReference;
}

/**
 * The grid that every map of the scene lies on. A map is uint8 [shape], z slowest: its value is
 * low + (high - low) q / 255. Voxel i of axis a lies at (first[a] + i - box / 2) pixel Å from the molecule's origin.
 */
export interface MapFrame {
  box: number;
  pixel: number;
  /** Of the crop around the molecule; z, y, x. */
  first: [number, number, number];
  shape: [number, number, number];
  low: number;
  high: number;
  /** The contour to begin with, in the map's units. */
  level: number;
}

export interface SceneMap {
  voxels: ArrayReference;
  /** Number of the part in each voxel, 0 outside; on the same grid. Null without parts. */
  labels: ArrayReference | null;
}

export interface State {
  name: string;
  /** Where it is decoded. */
  latent: number[];
  /** Particles nearer to it than to another state, and their share of all. */
  particles: number;
  share: number;
  /** Å at which the half maps of these particles alone still agree (FSC 0.143); null if not measured. */
  resolution: number | null;
  /** Å to which the state's map agrees with those half maps' mean (FSC 0.5); null if not measured. */
  agreement: number | null;
  map: SceneMap;
  /** PNG data URIs of the map seen along z, y and x. */
  pictures: string[];
}

/** Maps along a line through the latents, to be run through with a slider. */
export interface Series {
  name: string;
  title: string;
  /** Share of the latents' variance, 0 to 1; null where it has no meaning. */
  explained: number | null;
  frames: { latent: number[]; position: number; particles: number; map: SceneMap }[];
}

export interface Part {
  /** From 1: the label in the maps. */
  number: number;
  colour: string;
  /** Share of the mass, 0 to 1. */
  mass: number;
  gaussians: number;
  centre: [number, number, number];
  /** How far the farthest 5 % of particles are turned, and moved, from rest. */
  rotationDegrees: number;
  travel: number;
  /** Share of particles in which it is there. */
  present: number;
}

export interface Coverage {
  /**
   * Particles by viewing direction: counts [latitudes, longitudes], latitude from -90°, longitude from -180°.
   * `latitudes` are the edges of the rows in degrees; without them rows are equally high.
   */
  views: { counts: number[][]; latitudes?: number[] } | null;
  histograms: { title: string; abscissa: string; edges: number[]; counts: number[] }[];
}

export interface Command {
  purpose: string;
  command: string;
}

/**
 * A selection as the page saves it and `morphem select RUN --lasso FILE` reads it.
 */
export interface Selection {
  schema: 1;
  name: string;
  /** Title of the run it was drawn on, and its number of particles: another run's selection is refused. */
  run: string;
  count: number;
  /** How it was made, in words, and the polygon in the units of its two columns. */
  made: { how: string; x?: string; y?: string; polygon?: [number, number][] };
  /** Indices into the run's order, rising. */
  particles: number[];
}

/*
 * What a live server answers. Every request carries `Authorization: Bearer TOKEN` (the token is the query of the
 * page's address, which the page removes from the address bar after reading).
 *
 *   GET  /api/scene                            the scene
 *   GET  /api/array/NAME                       bytes of an array
 *   POST /api/map      {latent}                packet: map of that latent          { map: SceneMap }
 *   POST /api/subset   {particles: int32s}     packet: mean map of their images    { map: SceneMap, used, resolution }
 *   POST /api/montage  {particles: int32s}     packet: pictures of some of them    { rows: number[], box, raw, filtered, model }
 *   POST /api/select   Selection               {file, commands: Command[]}; keeps it in RUN/select/NAME.json
 *   POST /api/export   {select: name, to: "star" | "cs"}   the file
 *
 * Bodies are JSON but for subset and montage, whose body is the int32 indices. A packet is: uint32 length of the
 * header, the header (JSON, of the type named, with `arrays: ArrayReference[]`), then the arrays' bytes in that order,
 * header and each array padded to a multiple of 4. Array references in the header point into the packet. Errors are
 * `{ "error": "one sentence" }` with a status of 4xx or 5xx.
 */
export interface MapReply {
  map: SceneMap;
  arrays: ArrayReference[];
}

export interface SubsetReply extends MapReply {
  /** Images that went into it, of those asked for. */
  used: number;
  asked: number;
  /** Å, FSC 0.143 of its half maps; null where they agree nowhere. */
  resolution: number | null;
}

export interface MontageReply {
  /** Particles shown. */
  rows: number[];
  box: number;
  /** float32 [rows, box, box] each: as recorded; phase-flipped and low-passed; the model's projection (or null). */
  raw: ArrayReference;
  filtered: ArrayReference;
  model: ArrayReference | null;
  arrays: ArrayReference[];
}

/*
 * In a report the scene and its arrays are in the page itself:
 *   <script id="morphem-scene" type="application/json">…</script>
 *   <script id="morphem-arrays" type="application/json">{"NAME": "base64 of gzip of the bytes", …}</script>
 * The live page has neither and fetches.
 */
