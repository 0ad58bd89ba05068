/** The few calls of WebGL2 that a ray marcher needs. */

export interface Program {
  handle: WebGLProgram;
  at(name: string): WebGLUniformLocation | null;
}

export function program(gl: WebGL2RenderingContext, vertex: string, fragment: string): Program {
  const handle = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]] as const) {
    const shader = gl.createShader(kind) as WebGLShader;
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(handle, shader);
  }
  gl.linkProgram(handle);
  if (!gl.getProgramParameter(handle, gl.LINK_STATUS) && !gl.isContextLost()) {
    const told = (gl.getAttachedShaders(handle) ?? []).map((shader) => gl.getShaderInfoLog(shader)).join("\n");
    throw new Error(`the graphics driver refused a shader: ${gl.getProgramInfoLog(handle)} ${told}`);
  }
  const known = new Map<string, WebGLUniformLocation | null>();
  const at = (name: string) => {
    if (!known.has(name)) known.set(name, gl.getUniformLocation(handle, name));
    return known.get(name) as WebGLUniformLocation | null;
  };
  return { handle, at };
}

/** A 3-D texture of bytes, one or four a voxel; lengths along x, y, z. */
export function texture3d(
  gl: WebGL2RenderingContext, bytes: Uint8Array, [x, y, z]: readonly number[], sampling: "nearest" | "linear" | "levels",
): WebGLTexture {
  const texture = gl.createTexture();
  const four = bytes.length === 4 * x * y * z;
  gl.bindTexture(gl.TEXTURE_3D, texture);
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  gl.texImage3D(
    gl.TEXTURE_3D, 0, four ? gl.RGBA8 : gl.R8, x, y, z, 0, four ? gl.RGBA : gl.RED, gl.UNSIGNED_BYTE, bytes,
  );
  const smooth = sampling === "nearest" ? gl.NEAREST : gl.LINEAR;
  if (sampling === "levels") gl.generateMipmap(gl.TEXTURE_3D);
  const shrink = sampling === "levels" ? gl.LINEAR_MIPMAP_LINEAR : smooth;
  gl.texParameteri(gl.TEXTURE_3D, gl.TEXTURE_MIN_FILTER, shrink);
  gl.texParameteri(gl.TEXTURE_3D, gl.TEXTURE_MAG_FILTER, smooth);
  for (const axis of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T, gl.TEXTURE_WRAP_R]) {
    gl.texParameteri(gl.TEXTURE_3D, axis, gl.CLAMP_TO_EDGE);
  }
  return texture;
}

/** A picture to draw into, of half floats where the driver can, so that many passes add up without steps. */
export interface Sheet {
  frame: WebGLFramebuffer;
  texture: WebGLTexture;
  width: number;
  height: number;
}

export function sheet(gl: WebGL2RenderingContext, width: number, height: number, deep: boolean): Sheet {
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texStorage2D(gl.TEXTURE_2D, 1, deep ? gl.RGBA16F : gl.RGBA8, width, height);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.LINEAR);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  const frame = gl.createFramebuffer();
  gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  return { frame, texture, width, height };
}

export function discard(gl: WebGL2RenderingContext, old: Sheet): void {
  gl.deleteTexture(old.texture);
  gl.deleteFramebuffer(old.frame);
}

/** What is bound, as a picture: rows from the top, colours divided by their opacity. */
export function pixelsOf(gl: WebGL2RenderingContext, width: number, height: number): ImageData {
  const pixels = new Uint8Array(4 * width * height);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  const image = new ImageData(width, height);
  for (let row = 0; row < height; row++) {
    image.data.set(pixels.subarray(4 * width * (height - 1 - row), 4 * width * (height - row)), 4 * width * row);
  }
  for (let i = 0; i < image.data.length; i += 4) {
    const alpha = image.data[i + 3];
    if (alpha === 0 || alpha === 255) continue;
    for (let k = 0; k < 3; k++) image.data[i + k] = (255 * image.data[i + k]) / alpha;
  }
  return image;
}
