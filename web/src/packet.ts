/** Arrays as bytes: inside a report (base64 of gzip), and in a server's answer (header, then arrays). */

import type { ArrayReference } from "./scene";

export type Values = Uint8Array | Int32Array | Float32Array;

/** The numbers that bytes stand for; copied where an offset would not be aligned. */
export function values(bytes: Uint8Array, reference: ArrayReference): Values {
  const size = reference.shape.reduce((product, length) => product * length, 1);
  const width = reference.kind === "uint8" ? 1 : 4;
  if (bytes.byteLength !== size * width) {
    throw new Error(`array ${reference.name} has ${bytes.byteLength} bytes, its shape asks for ${size * width}`);
  }
  const aligned = bytes.byteOffset % width === 0 ? bytes : bytes.slice();
  if (reference.kind === "uint8") return aligned;
  const Kind = reference.kind === "int32" ? Int32Array : Float32Array;
  return new Kind(aligned.buffer as ArrayBuffer, aligned.byteOffset, size);
}

/** A server's packet: its header, and the bytes of each of its arrays by name. */
export function unpack<T extends { arrays: ArrayReference[] }>(
  packet: ArrayBuffer,
): { header: T; arrays: Map<string, Values> } {
  const length = new DataView(packet).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(packet, 4, length))) as T;
  let at = padded(4 + length);
  const arrays = new Map<string, Values>();
  for (const reference of header.arrays) {
    const size = reference.shape.reduce((product, side) => product * side, reference.kind === "uint8" ? 1 : 4);
    arrays.set(reference.name, values(new Uint8Array(packet, at, size), reference));
    at += padded(size);
  }
  return { header, arrays };
}

const padded = (size: number): number => 4 * Math.ceil(size / 4);

/** Bytes of base64 text. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const native = Uint8Array as unknown as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> };
  if (native.fromBase64) return native.fromBase64(text);
  const binary = atob(text);
  const found = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) found[i] = binary.charCodeAt(i);
  return found;
}

/** What gzip made small. */
export async function unzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
