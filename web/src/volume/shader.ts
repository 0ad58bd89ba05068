/** The ray marcher: rays through maps on 3-D textures, to the surfaces at given levels. */

export const LAYERS = 3;

export const VERTEX = `#version 300 es
out vec2 place;
void main() {
  vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  place = corner;
  gl_Position = vec4(corner, 0.0, 1.0);
}`;

/**
 * The marcher for `layers` surfaces. Positions are in voxels of the unrefined map, colours linear.
 *
 * A layer is a map, the brightest value of its blocks, a level, a colour and an opacity. The first may be mixed with
 * a second map (`amount`), and may take its colour from the parts (`tinted`), of which some may be hidden (alpha 0).
 */
export function fragment(layers: number): string {
  const each = <T>(make: (i: number) => T) => Array.from({ length: layers }, (_, i) => make(i));
  return `#version 300 es
precision highp float;
precision highp sampler3D;
in vec2 place;
out vec4 painted;

uniform vec3 shape, blocks, low, high;
uniform vec3 right, up, back, centre;
uniform float eye;         // distance of the eye from the centre, 0: looks from infinitely far
uniform float reach;       // radius of the sphere that holds the map
uniform float fine;        // voxels of the refined map in one of the unrefined
uniform float amount;
uniform vec2 jitter, span;
uniform vec3 fog;
uniform int tinted;        // 0: plain, 1: colours of the parts, 2: and some are hidden
uniform sampler3D other, otherBlocks, tint;
${each((i) => `uniform sampler3D map${i}, blocks${i};
uniform float level${i};
uniform vec4 colour${i};`).join("\n")}

vec3 coordinates(vec3 p) { return (p * fine + 0.5) / ((shape - 1.0) * fine + 1.0); }

// levels are always named: neighbours in a branch tell nothing of how fast a place changes
vec4 tintAt(vec3 p) { return textureLod(tint, (p + 0.5) / shape, 0.0); }

float shown(vec3 p, float value, float level) {
  return min(value, level + (tintAt(p).a - 0.5) * 0.2);
}

float value0(vec3 p) {
  vec3 at = coordinates(p);
  float value = textureLod(map0, at, 0.0).r;
  if (amount > 0.0) value = mix(value, textureLod(other, at, 0.0).r, amount);
  return tinted == 2 && value > level0 ? shown(p, value, level0) : value;
}
float blurred0(vec3 p, float lod) {
  vec3 at = coordinates(p);
  float value = textureLod(map0, at, lod).r;
  return amount > 0.0 ? mix(value, textureLod(other, at, lod).r, amount) : value;
}
float block0(ivec3 b) {
  float value = texelFetch(blocks0, b, 0).r;
  return amount > 0.0 ? max(value, texelFetch(otherBlocks, b, 0).r) : value;
}
${each((i) => i === 0 ? "" : `
float value${i}(vec3 p) { return textureLod(map${i}, coordinates(p), 0.0).r; }
float blurred${i}(vec3 p, float lod) { return textureLod(map${i}, coordinates(p), lod).r; }
float block${i}(ivec3 b) { return texelFetch(blocks${i}, b, 0).r; }`).join("\n")}

vec3 lit(vec3 base, vec3 n, vec3 ray, float openness) {
  vec3 toEye = -ray;
  vec3 key = normalize(-0.45 * right + 0.6 * up + 0.75 * back);
  float diffuse = max(dot(n, key), 0.0);
  float wrap = 0.5 + 0.5 * dot(n, key);
  float fill = max(dot(n, normalize(0.8 * right - 0.3 * up + 0.5 * back)), 0.0);
  float gleam = pow(max(dot(n, normalize(key + toEye)), 0.0), 40.0);
  vec3 light = vec3(0.20) + 0.22 * wrap + 0.58 * diffuse + 0.16 * fill * vec3(0.86, 0.93, 1.0);
  return base * light * mix(0.45, 1.08, openness) + 0.13 * gleam * openness;
}

${each(marcher).join("\n")}

void main() {
  vec2 at = place + jitter;
  vec3 through = centre + at.x * span.x * right + at.y * span.y * up;
  vec3 origin = eye > 0.0 ? centre + eye * back : through + 2.0 * reach * back;
  vec3 ray = eye > 0.0 ? normalize(through - origin) : -back;

  vec3 safe = mix(ray, vec3(1e-9), lessThan(abs(ray), vec3(1e-9)));
  vec3 near = (low - origin) / safe;
  vec3 far = (high - origin) / safe;
  vec3 first = min(near, far);
  vec3 last = max(near, far);
  float from = max(max(first.x, max(first.y, first.z)), 0.0);
  float to = min(last.x, min(last.y, last.z));

  painted = vec4(0.0);
  if (to <= from) return;
  float depths[${layers}];
  vec4 inks[${layers}];
  ${each((i) => `inks[${i}] = surface${i}(origin, ray, safe, from, to, depths[${i}]);`).join("\n  ")}
  for (int pass = 0; pass < ${layers}; pass++) {
    int nearest = 0;
    for (int i = 1; i < ${layers}; i++) if (depths[i] < depths[nearest]) nearest = i;
    if (depths[nearest] > 1e8) break;
    painted += (1.0 - painted.a) * vec4(inks[nearest].rgb * inks[nearest].a, inks[nearest].a);
    depths[nearest] = 1e9;
  }
}`;
}

function marcher(i: number): string {
  return `
vec4 surface${i}(vec3 origin, vec3 ray, vec3 safe, float from, float to, out float depth) {
  float stride = 0.9 / fine;
  float t = from;
  float before = from;
  bool met = false;
  depth = 1e9;
  for (int k = 0; k < 900; k++) {
    if (t > to) return vec4(0.0);
    vec3 p = origin + t * ray;
    ivec3 b = clamp(ivec3(floor((p + 0.5) / 4.0)), ivec3(0), ivec3(blocks) - 1);
    if (block${i}(b) < level${i}) {
      vec3 wall = (vec3(b) + step(0.0, safe)) * 4.0 - 0.5;
      // a wall that the ray runs along is never reached, though rounding may put the ray on it
      vec3 steps = max((wall - p) / safe, 0.0) + 1e9 * vec3(lessThan(abs(ray), vec3(1e-4)));
      before = t;
      t += min(steps.x, min(steps.y, steps.z)) + 0.02;
      continue;
    }
    if (value${i}(p) >= level${i}) { met = true; break; }
    before = t;
    t += stride;
  }
  if (!met) return vec4(0.0);
  float inner = t;
  for (int k = 0; k < 6; k++) {
    float middle = 0.5 * (before + inner);
    if (value${i}(origin + middle * ray) >= level${i}) inner = middle; else before = middle;
  }
  depth = inner;
  vec3 p = origin + inner * ray;
  float e = 0.8;
  vec3 slope = vec3(
    value${i}(p + vec3(e, 0, 0)) - value${i}(p - vec3(e, 0, 0)),
    value${i}(p + vec3(0, e, 0)) - value${i}(p - vec3(0, e, 0)),
    value${i}(p + vec3(0, 0, e)) - value${i}(p - vec3(0, 0, e)));
  vec3 n = dot(slope, slope) > 1e-12 ? -normalize(slope) : back;
  if (dot(n, ray) > 0.0) n = reflect(n, ray);
  float closed = 0.0;
  for (int k = 1; k <= 3; k++) {
    float away = float(1 << k);
    closed += clamp(blurred${i}(p + n * away, float(k) - 1.0 + log2(fine)) / level${i}, 0.0, 1.0);
  }
  float openness = 1.0 - 0.85 * closed / 3.0;
  vec3 base = colour${i}.rgb;
  ${i === 0 ? "if (tinted > 0) { vec3 colour = tintAt(p - 0.4 * n).rgb; base = colour * colour; }" : ""}
  vec3 seen = lit(base, n, ray, openness);
  // what lies behind the centre fades, so that depth is seen and colours in front stay what they are
  float far = clamp(dot(p - centre, -back) / reach, 0.0, 1.0);
  float grazing = 1.0 - abs(dot(n, ray));
  seen *= 1.0 - 0.55 * pow(grazing, 3.0);
  seen = mix(seen, fog, 0.3 * far * far);
  float alpha = colour${i}.a >= 1.0 ? 1.0 : mix(colour${i}.a, 0.95, grazing * grazing * grazing);
  return vec4(seen, alpha);
}`;
}

/** Puts the sum of some passes on the screen, with the eye's curve of brightness. */
export const COMPOSE = `#version 300 es
precision highp float;
in vec2 place;
out vec4 painted;
uniform sampler2D sum;
uniform float passes;
void main() {
  vec4 mean = texture(sum, 0.5 + 0.5 * place) / passes;
  vec3 colour = mean.a > 0.0 ? pow(max(mean.rgb / mean.a, 0.0), vec3(1.0 / 2.0)) : vec3(0.0);
  painted = vec4(min(colour, 1.0) * mean.a, mean.a);
}`;

/** Points that fill a pixel evenly, whatever their number. */
export function halton(i: number): [number, number] {
  const along = (base: number) => {
    let found = 0;
    for (let n = i, share = 1 / base; n > 0; n = Math.floor(n / base), share /= base) found += share * (n % base);
    return found;
  };
  return [along(2), along(3)];
}
