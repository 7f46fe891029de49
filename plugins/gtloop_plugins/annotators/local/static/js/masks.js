// Segmentation: brush, eraser, polygon and fill on a map of categories; at most one category a pixel.

import { decodeInto, encode } from "./rle.js";
import { Ring } from "./ring.js";
import { Raster } from "./raster.js";
import { Tiles } from "./tiles.js";
import { VOID_COLOUR, channels } from "./palette.js";
import { Corners } from "./corners.js";

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
    this.corners = new Corners(bench, true, 3);
    this.group = new Konva.Group();
    this.view.layers.shapes.add(this.group);
    this.ring = new Ring(this.view.layers.cross);
    this.rescale = () => this.renderDraft();
    this.view.addEventListener("moved", this.rescale);
  }

  destroy() {
    this.view.removeEventListener("moved", this.rescale);
    this.tiles?.destroy();
    this.group.destroy();
    this.ring.destroy();
    this.view.layers.paint.getNativeCanvasElement().style.opacity = "";
  }

  // ------------------------------------------------------------------------------------------ values

  load(value, payload = {}) {
    const { width, height } = this.view;
    const names = this.primitive.categories;
    this.tiles?.destroy();
    this.raster = new Raster(width, height, names.length);
    const colours = names.map((name, n) => [n + 1, channels(this.bench.colour(name))]);
    this.tiles = new Tiles(this.view.layers.paint, this.raster, [
      ...colours,
      [this.raster.void, channels(VOID_COLOUR)],
    ]);
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
    return (
      this.primitive.categories.filter((_, n) => this.raster?.areas[n + 1] > 0).length +
      (this.raster?.areas[this.raster.void] > 0 ? 1 : 0)
    );
  }

  /** Share of the image that a category has, in [0, 1]. */
  share(category) {
    const n = this.primitive.categories.indexOf(category);
    return this.raster ? this.raster.areas[n + 1] / this.raster.map.length : 0;
  }

  get drafting() {
    return this.corners.drawing;
  }

  problem() {
    return this.drafting ? "Finish the polygon you began (Enter), or drop it (Esc)." : "";
  }

  get hint() {
    return HINTS[this.tool];
  }

  // ------------------------------------------------------------------------------------------ settings

  use(tool) {
    this.cancel();
    this.tool = tool;
    this.bench.touch();
  }

  resize(radius) {
    this.radius = Math.min(Math.max(this.view.width, this.view.height) / 2, Math.max(0.5, radius));
    this.hover(this.last ?? null);
    this.bench.touch();
  }

  setKeep(keep) {
    this.keeping = this.raster.keep = keep;
    this.bench.touch();
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
      const inside = this.view.inside(point);
      if (this.corners.endsAt(inside, this.view.reach(event))) this.finish();
      else this.addCorner(inside);
    }
  }

  addCorner(point) {
    this.corners.add(point);
    this.renderDraft();
    this.bench.touch();
  }

  /** Fill the polygon that is being drawn; false where there is none. */
  finish() {
    if (!this.drafting) return false;
    const corners = this.corners.take();
    if (!corners) return this.bench.say("A polygon needs at least 3 corners.");
    this.renderDraft();
    this.step(() => this.raster.polygon(corners, this.paintValue));
    return true;
  }

  back() {
    const had = this.corners.back();
    if (had) this.renderDraft();
    return had;
  }

  cancel() {
    const had = this.stroking || this.drafting;
    if (this.stroking) this.raster.abort();
    this.stroking = null;
    this.placing = false;
    this.corners.clear();
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
    this.bench.changed();
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
    this.ring.show(shows ? point : null, this.radius);
    this.view.container.style.cursor = shows ? "none" : this.readOnly ? "" : "crosshair";
    this.corners.pointer = point;
    if (this.drafting) this.renderDraft();
  }

  renderDraft() {
    this.group.destroyChildren();
    this.corners.paint(this.group, this.voiding ? VOID_COLOUR : this.bench.colour(this.bench.category(this)));
    this.view.layers.shapes.batchDraw();
  }

  render() {
    this.setOpacity();
    this.renderDraft();
  }
}
