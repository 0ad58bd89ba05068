/** Where the scene and its arrays come from: the page itself (a report), or the server that sent it. */

import { fromBase64, unpack, unzip, values, type Values } from "./packet";
import type {
  ArrayReference, Command, MapReply, MontageReply, Scene, Selection, SubsetReply,
} from "./scene";

export interface Source {
  scene: Scene;
  array(reference: ArrayReference): Promise<Values>;
  /** Null in a report. */
  live: Live | null;
}

export interface Reply<T> {
  header: T;
  arrays: Map<string, Values>;
}

/** What a server can do besides. Errors are sentences for the reader. */
export interface Live {
  map(latent: number[]): Promise<Reply<MapReply>>;
  subset(particles: Int32Array): Promise<Reply<SubsetReply>>;
  montage(particles: Int32Array): Promise<Reply<MontageReply>>;
  select(selection: Selection): Promise<{ file: string; commands: Command[] }>;
  download(name: string, to: "star" | "cs"): Promise<{ name: string; contents: Blob }>;
}

export async function open(): Promise<Source> {
  const scene = document.getElementById("morphem-scene");
  return scene ? embedded(JSON.parse(scene.textContent ?? "") as Scene) : served();
}

function embedded(scene: Scene): Source {
  const element = document.getElementById("morphem-arrays");
  const packed = JSON.parse(element?.textContent ?? "{}") as Record<string, string>;
  const known = new Map<string, Promise<Values>>();
  const array = (reference: ArrayReference) => {
    let found = known.get(reference.name);
    if (!found) {
      const text = packed[reference.name];
      found = text === undefined
        ? Promise.reject(new Error(`the report has no array ${reference.name}; write it again: morphem report`))
        : unzip(fromBase64(text)).then((bytes) => values(bytes, reference));
      delete packed[reference.name];
      known.set(reference.name, found);
    }
    return found;
  };
  return { scene, array, live: null };
}

async function served(): Promise<Source> {
  const request = authorised(takeToken());
  const scene = (await (await request("api/scene")).json()) as Scene;
  const known = new Map<string, Promise<Values>>();
  const array = (reference: ArrayReference) => {
    let found = known.get(reference.name);
    if (!found) {
      found = request(`api/array/${encodeURIComponent(reference.name)}`)
        .then((reply) => reply.arrayBuffer())
        .then((bytes) => values(new Uint8Array(bytes), reference));
      known.set(reference.name, found);
      found.catch(() => known.delete(reference.name));
    }
    return found;
  };
  return { scene, array, live: scene.live ? live(request) : null };
}

type Request = (path: string, body?: BodyInit, kind?: string) => Promise<Response>;

/** The token of the page's address; it is taken out of the address bar, and kept for a reload of this tab. */
function takeToken(): string {
  const query = new URLSearchParams(location.search);
  const given = query.get("token");
  if (given !== null) {
    query.delete("token");
    const rest = query.toString();
    history.replaceState(null, "", location.pathname + (rest ? `?${rest}` : "") + location.hash);
    sessionStorage.setItem("morphem-token", given);
  }
  return given ?? sessionStorage.getItem("morphem-token") ?? "";
}

function authorised(token: string): Request {
  return async (path, body, kind = "application/json") => {
    const headers: Record<string, string> = { Authorization: `Bearer ${token}` };
    if (body !== undefined) headers["Content-Type"] = kind;
    let reply: Response;
    try {
      reply = await fetch(path, { method: body === undefined ? "GET" : "POST", body, headers });
    } catch {
      throw new Error("the server does not answer; is `morphem view` still running?");
    }
    if (!reply.ok) throw new Error(await complaint(reply));
    return reply;
  };
}

async function complaint(reply: Response): Promise<string> {
  try {
    return ((await reply.json()) as { error: string }).error;
  } catch {
    return `the server answered ${reply.status} ${reply.statusText}`;
  }
}

function live(request: Request): Live {
  const packet = async <T extends { arrays: ArrayReference[] }>(path: string, body: BodyInit, kind?: string) =>
    unpack<T>(await (await request(path, body, kind)).arrayBuffer());
  const rows = (particles: Int32Array) => particles.slice().buffer;
  const octets = "application/octet-stream";
  return {
    map: (latent) => packet<MapReply>("api/map", JSON.stringify({ latent })),
    subset: (particles) => packet<SubsetReply>("api/subset", rows(particles), octets),
    montage: (particles) => packet<MontageReply>("api/montage", rows(particles), octets),
    select: async (selection) => (await request("api/select", JSON.stringify(selection))).json(),
    download: async (name, to) => {
      const reply = await request("api/export", JSON.stringify({ select: name, to }));
      const named = /filename="?([^";]+)"?/.exec(reply.headers.get("Content-Disposition") ?? "");
      return { name: named?.[1] ?? `${name}.${to}`, contents: await reply.blob() };
    },
  };
}

/**
 * Of many wishes only the latest is fulfilled, one at a time: what comes in while one is under way replaces what
 * waits. The promise of a wish that was overtaken is fulfilled with null.
 */
export class Latest<Wish, Answer> {
  private busy = false;
  private turn: ((mine: boolean) => void) | null = null;

  constructor(private readonly fulfil: (wish: Wish) => Promise<Answer>) {}

  async ask(wish: Wish): Promise<Answer | null> {
    this.settle(false);
    if (this.busy && !(await new Promise<boolean>((turn) => { this.turn = turn; }))) return null;
    this.busy = true;
    try {
      return await this.fulfil(wish);
    } finally {
      // whoever waits goes on in its own time, and nobody may slip in before: still busy
      this.busy = this.turn !== null;
      this.settle(true);
    }
  }

  private settle(mine: boolean): void {
    const { turn } = this;
    this.turn = null;
    turn?.(mine);
  }
}

/** Things by key, of which the least recently used are forgotten when they are more than `most`. */
export class Recent<T> {
  private readonly kept = new Map<string, T>();

  constructor(private readonly most: number, private readonly forgotten: (thing: T) => void = () => {}) {}

  get(key: string): T | undefined {
    const found = this.kept.get(key);
    if (found !== undefined) {
      this.kept.delete(key);
      this.kept.set(key, found);
    }
    return found;
  }

  set(key: string, thing: T): T {
    this.kept.delete(key);
    this.kept.set(key, thing);
    while (this.kept.size > this.most) {
      const [oldest, dropped] = this.kept.entries().next().value as [string, T];
      this.kept.delete(oldest);
      this.forgotten(dropped);
    }
    return thing;
  }
}
