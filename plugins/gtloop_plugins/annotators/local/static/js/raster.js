// A map of categories, one number a pixel, with brush, polygon and fill; kept in tiles for undo and for drawing.

export const TILE = 512;

/** `map` holds 0 (nothing), 1 to n (categories) and `empty.void`; `areas` counts pixels by value. */
export class Raster {
  constructor(width, height, values) {
    this.width = width;
    this.height = height;
    const Kind = values < 255 ? Uint8Array : Uint16Array;
    this.map = new Kind(width * height);
    this.void = values < 255 ? 255 : 65535;
    this.areas = new Float64Array(this.void + 1);
    this.areas[0] = this.map.length;
    this.across = Math.ceil(width / TILE);
    this.down = Math.ceil(height / TILE);
    this.before = null; // tiles as they were when the step began
    this.dirty = null; // what has changed since it was last drawn: [x1, y1, x2, y2)
    this.keep = false; // paint on free pixels only
  }

  recount() {
    this.areas.fill(0);
    for (const value of this.map) this.areas[value] += 1;
    this.soil(0, 0, this.width, this.height);
  }

  soil(x1, y1, x2, y2) {
    const d = this.dirty;
    this.dirty = d
      ? [Math.min(d[0], x1), Math.min(d[1], y1), Math.max(d[2], x2), Math.max(d[3], y2)]
      : [x1, y1, x2, y2];
  }

  /** What has changed, once. */
  clean() {
    const { dirty } = this;
    this.dirty = null;
    return dirty;
  }

  // ------------------------------------------------------------------------------------------ steps

  begin() {
    this.before = new Map();
  }

  /** End a step: {undo, redo, bytes}, or null where nothing has changed. */
  end() {
    const { before } = this;
    this.before = null;
    if (!before?.size) return null;
    const tiles = [];
    let bytes = 0;
    for (const [tile, old] of before) {
      const now = this.tile(tile);
      if (same(old, now)) continue;
      const step = { tile, old: squeeze(old), now: squeeze(now) };
      bytes += step.old.byteLength + step.now.byteLength + 64;
      tiles.push(step);
    }
    if (!tiles.length) return null;
    const put = (key) => () => {
      for (const step of tiles) this.setTile(step.tile, step[key]);
    };
    return { undo: put("old"), redo: put("now"), bytes };
  }

  /** Drop the step that has begun. */
  abort() {
    const before = this.before ?? [];
    this.before = null;
    for (const [tile, old] of before) this.setTile(tile, squeeze(old));
  }

  area(tile) {
    const x = (tile % this.across) * TILE;
    const y = Math.floor(tile / this.across) * TILE;
    return [x, y, Math.min(this.width, x + TILE), Math.min(this.height, y + TILE)];
  }

  tile(tile) {
    const [x1, y1, x2, y2] = this.area(tile);
    const copy = new this.map.constructor((x2 - x1) * (y2 - y1));
    for (let y = y1; y < y2; y++)
      copy.set(this.map.subarray(y * this.width + x1, y * this.width + x2), (y - y1) * (x2 - x1));
    return copy;
  }

  setTile(tile, squeezed) {
    const [x1, y1, x2, y2] = this.area(tile);
    let run = 0;
    let left = squeezed[1];
    for (let y = y1; y < y2; y++) {
      for (let i = y * this.width + x1, end = y * this.width + x2; i < end; i++) {
        while (left === 0) left = squeezed[(run += 2) + 1];
        this.areas[this.map[i]] -= 1;
        this.areas[squeezed[run]] += 1;
        this.map[i] = squeezed[run];
        left -= 1;
      }
    }
    this.soil(x1, y1, x2, y2);
  }

  /** Remember the tiles of a row's span before it changes. */
  touch(y, x1, x2) {
    if (!this.before) return;
    const row = Math.floor(y / TILE) * this.across;
    for (let tile = row + Math.floor(x1 / TILE), last = row + Math.floor((x2 - 1) / TILE); tile <= last; tile++) {
      if (!this.before.has(tile)) this.before.set(tile, this.tile(tile));
    }
  }

  // ------------------------------------------------------------------------------------------ painting

  /** Set the pixels x1 <= x < x2 of a row. */
  span(y, x1, x2, value) {
    if (y < 0 || y >= this.height) return;
    const from = Math.max(0, x1);
    const to = Math.min(this.width, x2);
    if (from >= to) return;
    this.touch(y, from, to);
    const keep = this.keep && value !== 0;
    const { map, areas } = this;
    for (let i = y * this.width + from, end = y * this.width + to; i < end; i++) {
      const old = map[i];
      if (old === value || (keep && old !== 0)) continue;
      areas[old] -= 1;
      areas[value] += 1;
      map[i] = value;
    }
    this.soil(from, y, to, y + 1);
  }

  /** A stroke from a to b: all pixels whose centre is within a radius of the line. */
  stroke(a, b, radius, value) {
    const length = Math.hypot(b.x - a.x, b.y - a.y);
    const [nx, ny] = length ? [(-(b.y - a.y) / length) * radius, ((b.x - a.x) / length) * radius] : [0, 0];
    const side = [
      [a.x + nx, a.y + ny],
      [b.x + nx, b.y + ny],
      [b.x - nx, b.y - ny],
      [a.x - nx, a.y - ny],
    ];
    const top = Math.floor(Math.min(a.y, b.y) - radius);
    const bottom = Math.ceil(Math.max(a.y, b.y) + radius);
    for (let y = top; y <= bottom; y++) {
      const xs = [];
      for (const c of [a, b]) {
        const rise = y + 0.5 - c.y;
        if (Math.abs(rise) > radius) continue;
        const half = Math.sqrt(radius * radius - rise * rise);
        xs.push(c.x - half, c.x + half);
      }
      if (length) xs.push(...crossings(side, y + 0.5));
      if (xs.length) this.span(y, Math.ceil(Math.min(...xs) - 0.5), Math.floor(Math.max(...xs) - 0.5) + 1, value);
    }
    // A brush thinner than a pixel still marks the one that it is on.
    if (radius < 0.75) this.span(Math.floor(b.y), Math.floor(b.x), Math.floor(b.x) + 1, value);
  }

  /** All pixels whose centre is in a polygon (even-odd). */
  polygon(points, value) {
    const ys = points.map((p) => p[1]);
    for (let y = Math.floor(Math.min(...ys)); y <= Math.ceil(Math.max(...ys)); y++) {
      const xs = crossings(points, y + 0.5).sort((p, q) => p - q);
      for (let i = 0; i + 1 < xs.length; i += 2)
        this.span(y, Math.ceil(xs[i] - 0.5), Math.ceil(xs[i + 1] - 0.5), value);
    }
  }

  /** Everything that hangs together with a pixel and has its value. */
  fill(x, y, value) {
    const { map, width, height } = this;
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    const old = map[y * width + x];
    if (old === value || (this.keep && old !== 0)) return;
    const stack = [[x, y]];
    while (stack.length) {
      const [sx, sy] = stack.pop();
      const row = sy * width;
      if (map[row + sx] !== old) continue;
      let from = sx;
      let to = sx + 1;
      while (from > 0 && map[row + from - 1] === old) from -= 1;
      while (to < width && map[row + to] === old) to += 1;
      this.span(sy, from, to, value);
      for (const ny of [sy - 1, sy + 1]) {
        if (ny < 0 || ny >= height) continue;
        for (let i = from; i < to; i++) {
          const at = ny * width + i;
          if (map[at] === old && (i === from || map[at - 1] !== old)) stack.push([i, ny]);
        }
      }
    }
  }
}

/** Where a closed polygon's edges cross the height y. */
function crossings(points, y) {
  const xs = [];
  for (let i = 0; i < points.length; i++) {
    const [ax, ay] = points[i];
    const [bx, by] = points[(i + 1) % points.length];
    if (ay > y !== by > y) xs.push(ax + ((y - ay) * (bx - ax)) / (by - ay));
  }
  return xs;
}

const same = (a, b) => a.every((value, i) => value === b[i]);

/** Runs of equal values: [value, length, value, length, ...]. */
function squeeze(values) {
  const runs = [];
  for (let i = 0, from = 0; i <= values.length; i++) {
    if (i === values.length || values[i] !== values[from]) {
      runs.push(values[from], i - from);
      from = i;
    }
  }
  return Uint32Array.from(runs);
}
