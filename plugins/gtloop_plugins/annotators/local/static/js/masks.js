// Segmentation: brush, eraser, polygon and fill on a map of categories; at most one category a pixel.

import { decodeInto, encode } from "./rle.js";
import { Raster } from "./raster.js";
import { Tiles } from "./tiles.js";
import { VOID_COLOUR, channels } from "./palette.js";
import { tenth } from "./objects.js";

const { Konva } = globalThis;
const OPACITIES = [0.55, 0.85, 0.25];
const HINTS = {
  brush: "Paint with the brush; [ and ] change its size.",
  eraser: "Rub out; [ and ] change the size.",
  polygon: "Click corner after corner; Enter, or a click on the first corner, fills the polygon.",
  fill: "Click an area to fill it, as far as it has one category.",
};

export class Masks {
  noun = "region";
  nouns = "regions";

  constructor(bench, primitive) {
    this.bench = bench;
    this.view = bench.view;
    this.primitive = primitive;
    this.name = primitive.name;
    this.tool = "brush";
    this.voiding = false;
    this.opacity = 0;
    this.corners = null;
    this.group = new Konva.Group();
    this.view.layers.shapes.add(this.group);
    this.ring = [["#000a", 3], ["#fff", 1.5]].map(([stroke, strokeWidth]) => new Konva.Circle({
      stroke, strokeWidth, strokeScaleEnabled: false, visible: false, radius: 1,
    }));
    this.view.layers.cross.add(...this.ring);
    this.rescale = () => this.renderDraft();
    this.view.addEventListener("moved", this.rescale);
  }

  destroy() {
    this.view.removeEventListener("moved", this.rescale);
    this.tiles?.destroy();
    this.group.destroy();
    for (const ring of this.ring) ring.destroy();
    this.view.layers.paint.getNativeCanvasElement().style.opacity = "";
  }

  // ------------------------------------------------------------------------------------------ values

  load(value, payload = {}) {
    const { width, height } = this.view;
    const names = this.primitive.categories;
    this.tiles?.destroy();
    this.raster = new Raster(width, height, names.length);
    const colours = names.map((name, n) => [n + 1, channels(this.bench.colour(name))]);
    this.tiles = new Tiles(this.view.layers.paint, this.raster, [...colours, [this.raster.void, channels(VOID_COLOUR)]]);
    for (const region of Array.isArray(value) ? value : []) {
      const n = names.indexOf(region.category);
      if (n >= 0) decodeInto(this.raster.map, width, height, region.counts, n + 1);
    }
    if (payload?.void) decodeInto(this.raster.map, width, height, payload.void, this.raster.void);
    this.raster.recount();
    this.raster.keep = this.keeping ?? false;
    if (this.bench.task) this.radius ??= Math.max(1, Math.round(Math.max(width, height) / 60));
    this.cancel();
    this.setOpacity();
    this.changed();
  }

  value() {
    this.texts = encode(this.raster.map, this.raster.width, this.raster.height);
    const names = this.primitive.categories;
    return names.map((category, n) => ({ category, counts: this.texts.get(n + 1) })).filter((region) => region.counts);
  }

  /** What a payload has beside the regions; after `value`. */
  extras() {
    const unclear = this.texts.get(this.raster.void);
    return { size: [this.raster.height, this.raster.width], ...(unclear ? { void: unclear } : {}) };
  }

  get count() {
    return this.primitive.categories.filter((_, n) => this.raster?.areas[n + 1] > 0).length
      + (this.raster?.areas[this.raster.void] > 0 ? 1 : 0);
  }

  /** Share of the image that a category has, in [0, 1]. */
  share(category) {
    const n = this.primitive.categories.indexOf(category);
    return this.raster ? this.raster.areas[n + 1] / this.raster.map.length : 0;
  }

  get drafting() {
    return Boolean(this.corners);
  }

  problem() {
    return this.corners ? "Finish the polygon you began (Enter), or drop it (Esc)." : "";
  }

  get hint() {
    return HINTS[this.tool];
  }

  // ------------------------------------------------------------------------------------------ settings

  use(tool) {
    this.cancel();
    this.tool = tool;
    this.bench.changed(this, false);
  }

  resize(radius) {
    this.radius = Math.min(Math.max(this.view.width, this.view.height) / 2, Math.max(0.5, radius));
    this.hover(this.last ?? null);
    this.bench.changed(this, false);
  }

  setKeep(keep) {
    this.keeping = this.raster.keep = keep;
    this.bench.changed(this, false);
  }

  setOpacity(step = 0) {
    this.opacity = (this.opacity + step) % OPACITIES.length;
    const opacity = this.hidden ? 0 : OPACITIES[this.opacity];
    this.view.layers.paint.getNativeCanvasElement().style.opacity = String(opacity);
  }

  get paintValue() {
    if (this.tool === "eraser") return 0;
    if (this.voiding) return this.raster.void;
    return this.primitive.categories.indexOf(this.bench.category(this)) + 1;
  }

  // ------------------------------------------------------------------------------------------ tool

  down(point, event) {
    if (this.readOnly) return false;
    if (this.tool === "brush" || this.tool === "eraser") {
      this.raster.begin();
      this.stroking = point;
      this.paint(point);
    } else if (this.tool === "polygon") {
      this.placing = true;
    } else {
      this.step(() => this.raster.fill(Math.floor(point.x), Math.floor(point.y), this.paintValue));
    }
  }

  paint(point) {
    this.raster.stroke(this.stroking, point, this.radius, this.paintValue);
    this.stroking = point;
    this.queue();
  }

  /** Draw once a frame, however many moves there are. */
  queue() {
    if (this.queued) return;
    this.queued = requestAnimationFrame(() => {
      this.queued = null;
      this.tiles.refresh();
    });
  }

  move(point) {
    if (this.stroking) this.paint(point);
  }

  up(point, event) {
    if (this.stroking) {
      this.stroking = null;
      this.keepStep(this.raster.end());
    } else if (this.placing) {
      this.placing = false;
      const reach = this.view.reach(event);
      const near = ([x, y], most) => Math.hypot(x - point.x, y - point.y) <= most;
      const closes = this.corners?.length > 2 && (near(this.corners[0], reach) || near(this.corners.at(-1), reach / 3));
      if (closes) this.finish();
      else this.addCorner(this.view.inside(point));
    }
  }

  addCorner({ x, y }) {
    this.corners = [...(this.corners ?? []), [tenth(x), tenth(y)]];
    this.renderDraft();
    this.bench.changed(this, false);
  }

  finish() {
    if (!this.corners) return false;
    if (this.corners.length < 3) return this.bench.say("A polygon needs at least 3 corners.");
    const corners = this.corners;
    this.corners = null;
    this.renderDraft();
    this.step(() => this.raster.polygon(corners, this.paintValue));
    return true;
  }

  back() {
    if (!this.corners) return false;
    this.corners = this.corners.length > 1 ? this.corners.slice(0, -1) : null;
    this.renderDraft();
    return true;
  }

  cancel() {
    const had = this.stroking || this.corners;
    if (this.stroking) this.raster.abort();
    this.stroking = this.corners = null;
    this.placing = false;
    this.tiles?.refresh();
    this.renderDraft();
    return Boolean(had);
  }

  /** One change of the raster, which can be undone. */
  step(work) {
    this.raster.begin();
    work();
    this.keepStep(this.raster.end());
  }

  keepStep(step) {
    this.tiles.refresh();
    if (!step) return;
    const then = (run) => () => {
      run();
      this.bench.activate(this);
      this.changed();
    };
    this.bench.history.push(then(step.undo), then(step.redo), step.bytes);
    this.changed();
  }

  changed() {
    this.tiles.refresh();
    this.bench.changed(this);
  }

  // ------------------------------------------------------------------------------------------ keyboard

  press(point) {
    if (this.tool === "polygon") this.addCorner(point);
    else if (this.tool === "fill") this.down(point);
    else if (this.stroking) this.up(point);
    else this.down(point);
    return false;
  }

  crossed(point) {
    this.move(point);
    this.hover(point);
  }

  // ------------------------------------------------------------------------------------------ drawing

  hover(point) {
    this.last = point;
    const shows = Boolean(point) && !this.readOnly && (this.tool === "brush" || this.tool === "eraser");
    for (const ring of this.ring) {
      ring.visible(shows);
      if (shows) ring.setAttrs({ ...point, radius: this.radius });
    }
    this.view.layers.cross.batchDraw();
    this.view.container.style.cursor = shows ? "none" : this.readOnly ? "" : "crosshair";
    if (this.corners) this.renderDraft();
  }

  renderDraft() {
    this.group.destroyChildren();
    if (this.corners) {
      const points = this.last ? [...this.corners, [this.last.x, this.last.y]] : this.corners;
      const colour = this.voiding ? VOID_COLOUR : this.bench.colour(this.bench.category(this));
      const common = { points: points.flat(), closed: true, strokeScaleEnabled: false };
      this.group.add(new Konva.Line({ ...common, stroke: "#000a", strokeWidth: 4, fill: `${colour}44` }));
      this.group.add(new Konva.Line({ ...common, stroke: colour, strokeWidth: 2 }));
      const radius = (this.bench.coarse ? 10 : 5) / this.view.scale;
      for (const [x, y] of this.corners) {
        this.group.add(new Konva.Circle({ x, y, radius, fill: "#fff", stroke: colour, strokeWidth: 2, strokeScaleEnabled: false }));
      }
    }
    this.view.layers.shapes.batchDraw();
  }

  render() {
    this.setOpacity();
    this.renderDraft();
  }
}
