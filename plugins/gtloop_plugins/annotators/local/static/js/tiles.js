// Draws a raster: a canvas for each tile, and only what has changed.

import { TILE } from "./raster.js";

const { Konva } = globalThis;
const EDGE = 1; // each tile shows its neighbours' first pixels too, so that no seam shines through between them

export class Tiles {
  /** `colours`: value to [r, g, b]. */
  constructor(layer, raster, colours) {
    this.layer = layer;
    this.raster = raster;
    this.canvases = new Map();
    this.colours = new Uint32Array(raster.void + 1);
    for (const [value, [r, g, b]] of colours) this.colours[value] = (255 << 24) | (b << 16) | (g << 8) | r;
    // Konva calls this for a whole redraw: after zoom, pan and resize.
    this.shape = new Konva.Shape({ sceneFunc: (context) => this.draw(context._context) });
    layer.add(this.shape);
  }

  destroy() {
    this.shape.destroy();
    this.layer.batchDraw();
  }

  /** Draw what the raster says has changed. */
  refresh() {
    const dirty = this.raster.clean();
    if (!dirty) return;
    const tiles = this.within(dirty);
    for (const tile of tiles) this.colour(tile, dirty);
    const native = this.layer.getContext()._context;
    const ratio = this.layer.getCanvas().getPixelRatio();
    const stage = this.layer.getStage();
    const scale = stage.scaleX() * ratio;
    const [left, top] = [stage.x() * ratio, stage.y() * ratio];
    // Whole device pixels, so that the border of the clip leaves no trace.
    const [x1, y1] = [Math.floor(dirty[0] * scale + left) - 1, Math.floor(dirty[1] * scale + top) - 1];
    const [x2, y2] = [Math.ceil(dirty[2] * scale + left) + 1, Math.ceil(dirty[3] * scale + top) + 1];
    native.save();
    native.setTransform(1, 0, 0, 1, 0, 0);
    native.beginPath();
    native.rect(x1, y1, x2 - x1, y2 - y1);
    native.clip();
    native.clearRect(x1, y1, x2 - x1, y2 - y1);
    native.setTransform(scale, 0, 0, scale, left, top);
    const seen = [(x1 - left) / scale, (y1 - top) / scale, (x2 - left) / scale, (y2 - top) / scale];
    this.draw(native, this.within(seen), seen);
    native.restore();
  }

  draw(context, tiles = this.canvases.keys(), seen = null) {
    context.imageSmoothingEnabled = this.layer.getStage().scaleX() < 1;
    for (const tile of tiles) {
      const canvas = this.canvases.get(tile);
      if (!canvas) continue;
      const [x, y] = this.origin(tile);
      if (!seen) {
        context.drawImage(canvas, x, y);
        continue;
      }
      const from = [Math.max(0, Math.floor(seen[0] - x) - 1), Math.max(0, Math.floor(seen[1] - y) - 1)];
      const w = Math.min(canvas.width, Math.ceil(seen[2] - x) + 1) - from[0];
      const h = Math.min(canvas.height, Math.ceil(seen[3] - y) + 1) - from[1];
      if (w > 0 && h > 0) context.drawImage(canvas, from[0], from[1], w, h, x + from[0], y + from[1], w, h);
    }
  }

  origin(tile) {
    const [x, y] = this.raster.area(tile);
    return [x - EDGE, y - EDGE];
  }

  /** Tiles that show any of a rectangle, borders included. */
  within([x1, y1, x2, y2]) {
    const { across, down } = this.raster;
    const range = (low, high, most) => {
      const from = Math.max(0, Math.floor((low - EDGE) / TILE));
      const to = Math.min(most - 1, Math.floor((high + EDGE - 1) / TILE));
      return Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i);
    };
    const columns = range(x1, x2, across);
    return range(y1, y2, down).flatMap((row) => columns.map((column) => row * across + column));
  }

  /** Bring a tile's canvas up to date inside a rectangle of the image. */
  colour(tile, [x1, y1, x2, y2]) {
    let canvas = this.canvases.get(tile);
    if (!canvas) {
      canvas = Object.assign(document.createElement("canvas"), { width: TILE + 2 * EDGE, height: TILE + 2 * EDGE });
      this.canvases.set(tile, canvas);
    }
    const { map, width, height } = this.raster;
    const [ox, oy] = this.origin(tile);
    const from = [Math.max(x1, ox, 0), Math.max(y1, oy, 0)];
    const to = [Math.min(x2, ox + canvas.width, width), Math.min(y2, oy + canvas.height, height)];
    const [w, h] = [to[0] - from[0], to[1] - from[1]];
    if (w <= 0 || h <= 0) return;
    const data = new ImageData(w, h);
    const pixels = new Uint32Array(data.data.buffer);
    for (let y = 0, at = 0; y < h; y++) {
      for (let i = (from[1] + y) * width + from[0], end = i + w; i < end; i++, at++) pixels[at] = this.colours[map[i]];
    }
    canvas.getContext("2d").putImageData(data, from[0] - ox, from[1] - oy);
  }
}
