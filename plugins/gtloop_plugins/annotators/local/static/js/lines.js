// Polylines and polygons: drawn corner by corner, moved whole or by their corners.

import { Corners } from "./corners.js";
import { Objects } from "./objects.js";
import { away, handle, ink, outline, pair, tag } from "./marks.js";

/** Distance from a point to the segment a-b. */
function toSegment([ax, ay], [bx, by], { x, y }) {
  const [dx, dy] = [bx - ax, by - ay];
  const t = Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

export class Polylines extends Objects {
  static shape = { closed: false, least: 2 };

  key = "xy";
  noun = "line";
  nouns = "lines";
  hint = "Click corner after corner; Enter or a double click ends the line.";
  drag = null;

  constructor(bench, primitive) {
    super(bench, primitive);
    Object.assign(this, this.constructor.shape);
    this.draft = new Corners(bench, this.closed, this.least);
  }

  points({ xy }) {
    return xy;
  }

  setPoints(object, xy) {
    object.xy = xy;
  }

  edges({ xy }) {
    const n = this.closed ? xy.length : xy.length - 1;
    return Array.from({ length: n }, (_, i) => [xy[i], xy[(i + 1) % xy.length]]);
  }

  hits(object, point, reach) {
    return this.edges(object).some(([a, b]) => toSegment(a, b, point) <= reach);
  }

  cornerAt(point, event) {
    return this.current ? this.current.xy.findIndex((p) => away(p, point) <= this.view.reach(event)) : -1;
  }

  cursor(point, event) {
    if (!point || this.drafting) return "crosshair";
    if (this.cornerAt(point, event) >= 0) return "grab";
    return this.current && this.hits(this.current, point, this.view.reach(event)) ? "move" : "crosshair";
  }

  get drafting() {
    return this.draft.drawing;
  }

  down(point, event) {
    if (this.readOnly) return false;
    const inside = this.view.inside(point);
    const before = structuredClone(this.objects);
    const reach = this.view.reach(event);
    if (this.drafting || event.shiftKey) {
      this.drag = { kind: "add" };
    } else if (this.cornerAt(point, event) >= 0) {
      const corner = this.cornerAt(point, event);
      if (event.altKey) return this.dropCorner(corner);
      this.drag = { kind: "corner", corner, before };
    } else if (this.current && this.hits(this.current, point, reach)) {
      const edge = this.edges(this.current).findIndex(([a, b]) => toSegment(a, b, point) <= reach);
      if (edge >= 0 && event.detail === 2) return this.addCorner(edge, inside);
      this.drag = { kind: "move", start: point, from: structuredClone(this.current.xy), before };
    } else {
      this.drag = { kind: "add", over: this.at(point, reach)?.id ?? null };
    }
  }

  move(point) {
    const { drag } = this;
    if (!drag || drag.kind === "add") return;
    drag.moved = true;
    if (drag.kind === "corner") {
      this.current.xy[drag.corner] = pair(this.view.inside(point));
    } else {
      this.current.xy = structuredClone(drag.from);
      this.shift(this.current, point.x - drag.start.x, point.y - drag.start.y);
    }
    this.render();
  }

  up(point, event) {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    if (drag.kind !== "add") {
      if (drag.moved) this.remember(drag.before);
    } else if (drag.over) {
      this.select(drag.over);
    } else {
      const inside = this.view.inside(point);
      if (this.draft.endsAt(inside, this.view.reach(event))) this.finish();
      else this.press(inside);
    }
  }

  hover(point, event) {
    super.hover(point, event);
    if (!this.drafting) return;
    this.draft.pointer = point;
    this.render();
  }

  crossed(point) {
    this.hover(point);
  }

  press(point) {
    if (!this.drafting) this.select(null);
    this.draft.add(point);
    this.bench.touch();
    this.render();
    return false;
  }

  /** End the shape that is being drawn; false where there is none. */
  finish() {
    if (!this.drafting) return false;
    const xy = this.draft.take();
    if (!xy) return this.bench.say(`A ${this.noun} needs at least ${this.least} corners.`);
    this.add(xy);
    return true;
  }

  /** Take back the last corner of the shape that is being drawn. */
  back() {
    const had = this.draft.back();
    if (had) this.render();
    return had;
  }

  cancel() {
    const had = this.drafting || this.drag;
    if (this.drag?.moved) this.objects = this.drag.before;
    this.drag = null;
    this.draft.clear();
    this.render();
    return Boolean(had);
  }

  addCorner(edge, point) {
    const object = this.current;
    this.commit(() => object.xy.splice(edge + 1, 0, pair(point)));
  }

  dropCorner(corner) {
    const object = this.current;
    if (object.xy.length > this.least) this.commit(() => object.xy.splice(corner, 1));
  }

  /** Make it larger or smaller about its centre. */
  grow(object, dx, dy) {
    const { x: cx, y: cy } = this.centre(object);
    const [w, h] = [0, 1].map((n) => Math.max(1, ...object.xy.map((p) => Math.abs(p[n] - (n ? cy : cx)))));
    const scaled = object.xy.map(([x, y]) => ({ x: cx + (x - cx) * (1 + dx / w), y: cy + (y - cy) * (1 + dy / h) }));
    if ((dx < 0 && w < 2) || (dy < 0 && h < 2)) return;
    object.xy = scaled.map((p) => pair(this.view.inside(p)));
  }

  paint(object, group, selected) {
    const colour = this.bench.colour(object.category);
    const fill = this.closed ? `${colour}${selected ? "33" : "1c"}` : null;
    group.add(...outline(object.xy, colour, { closed: this.closed, selected, fill }));
    if (selected)
      for (const at of object.xy) group.add(handle(this.bench, at, ink(colour) === "#111" ? "#111" : colour));
    const top = object.xy.reduce((a, b) => (b[1] < a[1] ? b : a));
    if (this.bench.names || selected) group.add(tag(this.view, object.category, top, colour));
  }

  paintDraft(group) {
    this.draft?.paint(group, this.bench.colour(this.bench.category(this)));
  }
}

export class Polygons extends Polylines {
  static shape = { closed: true, least: 3 };

  noun = "polygon";
  nouns = "polygons";
  hint = "Click corner after corner; Enter, or a click on the first corner, closes the polygon.";

  hits(object, point, reach) {
    if (super.hits(object, point, reach)) return true;
    let inside = false;
    for (const [[ax, ay], [bx, by]] of this.edges(object)) {
      if (ay > point.y !== by > point.y && point.x < ax + ((point.y - ay) * (bx - ax)) / (by - ay)) inside = !inside;
    }
    return inside;
  }
}
