// The picture on its stage: zoom, pan, crosshair, and pointers turned into pixels of the image for the tool in hand.

import { Gestures } from "./gestures.js";

const { Konva } = globalThis;
const MOST_SCALE = 40;
const MARGIN = 24;

/**
 * Layers from below: `picture`, `paint` (masks), `shapes`, `cross`. Coordinates of tools are image pixels. A tool may
 * have `down(point, event)`, `move(point, event)`, `up(point, event)`, `cancel()` and `hover(point, event)`; `down`
 * returns false where it does not want the pointer, which then moves the picture.
 */
export class View extends EventTarget {
  constructor(container) {
    super();
    this.container = container;
    this.stage = new Konva.Stage({ container, width: 10, height: 10, listening: false });
    this.layers = {};
    for (const name of ["picture", "paint", "shapes", "cross"]) {
      this.layers[name] = new Konva.Layer({ listening: false });
      this.stage.add(this.layers[name]);
    }
    this.width = this.height = 1;
    this.tool = null;
    this.pointer = null;
    this.touched = false;
    this.setUpCrosshair();
    this.gestures = new Gestures(container, this);
    new ResizeObserver(() => this.resize()).observe(container);
    this.resize();
  }

  get scale() {
    return this.stage.scaleX();
  }

  /** Show a picture (anything that a canvas draws) of so many pixels; null: none. */
  setPicture(source, width, height) {
    this.width = width;
    this.height = height;
    this.cross(null);
    this.pointer = null;
    this.layers.picture.destroyChildren();
    if (source) {
      this.picture = new Konva.Image({ image: source, width, height });
      this.layers.picture.add(this.picture);
    }
    this.fit();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.container;
    if (!width || !height) return;
    const centre = this.toImage({ x: this.stage.width() / 2, y: this.stage.height() / 2 });
    this.stage.size({ width, height });
    if (this.fitted) this.fit();
    else this.centreOn(centre);
  }

  /** The whole picture, as large as it goes. */
  fit() {
    const left = this.aside();
    const free = { width: this.stage.width() - MARGIN - left, height: this.stage.height() - 2 * MARGIN };
    const scale = Math.max(0.01, Math.min(free.width / this.width, free.height / this.height, MOST_SCALE));
    this.place(scale, {
      x: left + (free.width - this.width * scale) / 2,
      y: (this.stage.height() - this.height * scale) / 2,
    });
    this.fitted = true;
    this.fitScale = scale;
  }

  /** What the tool bar takes at the left. */
  aside() {
    const tools = document.getElementById("tools");
    return tools.offsetWidth ? tools.offsetLeft + tools.offsetWidth + 12 : MARGIN;
  }

  /** Zoom by a factor about a point of the stage (its centre by default). */
  zoom(factor, about = { x: this.stage.width() / 2, y: this.stage.height() / 2 }) {
    const least = Math.min(this.fitScale ?? 1, 1) / 2;
    const scale = Math.min(MOST_SCALE, Math.max(least, this.scale * factor));
    const at = this.toImage(about);
    this.place(scale, { x: about.x - at.x * scale, y: about.y - at.y * scale });
  }

  pan(dx, dy) {
    this.place(this.scale, { x: this.stage.x() + dx, y: this.stage.y() + dy });
  }

  centreOn(point) {
    this.place(this.scale, {
      x: this.stage.width() / 2 - point.x * this.scale,
      y: this.stage.height() / 2 - point.y * this.scale,
    });
  }

  /** Move the view where a point of the image is out of sight. */
  reveal(point) {
    const { x, y } = this.toStage(point);
    const edge = 30;
    if (x < edge || y < edge || x > this.stage.width() - edge || y > this.stage.height() - edge) this.centreOn(point);
  }

  place(scale, position) {
    const keep = 60; // so much of the picture always stays in sight
    const within = (value, size, full) => Math.min(full - keep, Math.max(keep - size * scale, value));
    this.stage.scale({ x: scale, y: scale });
    this.stage.position({
      x: within(position.x, this.width, this.stage.width()),
      y: within(position.y, this.height, this.stage.height()),
    });
    this.fitted = false;
    const smooth = scale < 4;
    this.layers.picture.imageSmoothingEnabled(smooth);
    this.dispatchEvent(new Event("moved"));
    this.stage.batchDraw();
  }

  toImage({ x, y }) {
    return { x: (x - this.stage.x()) / this.scale, y: (y - this.stage.y()) / this.scale };
  }

  toStage({ x, y }) {
    return { x: x * this.scale + this.stage.x(), y: y * this.scale + this.stage.y() };
  }

  /** The nearest point inside the image. */
  inside({ x, y }) {
    return { x: Math.min(this.width, Math.max(0, x)), y: Math.min(this.height, Math.max(0, y)) };
  }

  /** How near is near, in image pixels: wider for fingers. */
  reach(event) {
    return (event?.pointerType === "touch" ? 24 : 9) / this.scale;
  }

  setUpCrosshair() {
    const line = (stroke, dash) =>
      new Konva.Line({ stroke, dash, strokeWidth: 1, strokeScaleEnabled: false, visible: false });
    this.lines = [line("#000b"), line("#000b"), line("#fff", [6, 6]), line("#fff", [6, 6])];
    this.layers.cross.add(...this.lines);
    this.crosshair = true;
  }

  /** Show the crosshair at a point of the image; null hides it. */
  cross(point) {
    const show = Boolean(point && this.crosshair);
    const across = point && [0, point.y, this.width, point.y];
    const down = point && [point.x, 0, point.x, this.height];
    this.lines.forEach((line, n) => {
      line.visible(show);
      if (show) line.points(n % 2 ? down : across);
    });
    this.layers.cross.batchDraw();
  }

  hover(point, event) {
    this.pointer = point && { ...point };
    const over = point && point.x >= 0 && point.y >= 0 && point.x <= this.width && point.y <= this.height;
    this.cross(over && event?.pointerType !== "touch" ? point : null);
    this.dispatchEvent(new CustomEvent("hover", { detail: over ? point : null }));
    this.tool?.hover?.(over ? point : null, event);
  }
}
