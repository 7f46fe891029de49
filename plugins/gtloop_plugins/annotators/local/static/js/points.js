// Points, polylines and polygons: placed by clicks, their corners dragged.

import { Objects, ink, tenth } from "./objects.js";

const pair = ({ x, y }) => [tenth(x), tenth(y)];
const away = ([x, y], p) => Math.hypot(x - p.x, y - p.y);

/** Distance from a point to the segment a-b. */
function toSegment([ax, ay], [bx, by], { x, y }) {
  const [dx, dy] = [bx - ax, by - ay];
  const t = Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

export class Points extends Objects {
  key = "xy";
  noun = "point";
  nouns = "points";
  hint = "Click to set a point. Keys alone: N, arrows, N.";
  drag = null;

  points({ xy }) {
    return [xy];
  }

  setPoints(object, [xy]) {
    object.xy = xy;
  }

  hits({ xy }, point, reach) {
    return away(xy, point) <= reach * 1.3;
  }

  extent() {
    return 0;
  }

  cursor(point) {
    return point && this.hovered ? "move" : "crosshair";
  }

  down(point, event) {
    if (this.readOnly) return false;
    const object = event.shiftKey ? null : this.at(point, this.view.reach(event));
    if (object) {
      this.select(object.id);
      this.drag = { before: structuredClone(this.objects), moved: false };
    } else {
      this.drag = { fresh: true };
    }
  }

  move(point) {
    if (!this.drag || this.drag.fresh) return;
    this.current.xy = pair(this.view.inside(point));
    this.drag.moved = true;
    this.render();
  }

  up(point) {
    const { drag } = this;
    this.drag = null;
    if (drag?.fresh) this.press(this.view.inside(point));
    else if (drag?.moved) this.remember(drag.before);
  }

  cancel() {
    const { drag } = this;
    this.drag = null;
    if (drag?.moved) this.objects = drag.before;
    this.render();
    return Boolean(drag);
  }

  press(point) {
    this.add(pair(point));
    this.bench.advance(this);
    return true;
  }

  grow(object, dx, dy) {
    this.shift(object, dx, dy);
  }

  paint(object, group, selected) {
    const colour = this.bench.colour(object.category);
    const [x, y] = object.xy;
    const arm = (selected ? 13 : 9) / this.view.scale;
    group.add(...this.outline([[x - arm, y], [x + arm, y]], colour), ...this.outline([[x, y - arm], [x, y + arm]], colour));
    if (selected) group.add(this.handle(object.xy, colour));
    if (this.bench.names || selected) group.add(this.tag(object.category, [x + arm, y - arm], colour));
  }
}

export class Polylines extends Objects {
  key = "xy";
  noun = "line";
  nouns = "lines";
  hint = "Click corner after corner; Enter or a double click ends the line.";
  closed = false;
  least = 2;
  drag = null;
  draft = null;
  at_ = null;

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
    if (!point || this.draft) return "crosshair";
    if (this.cornerAt(point, event) >= 0) return "grab";
    return this.current && this.hits(this.current, point, this.view.reach(event)) ? "move" : "crosshair";
  }

  get drafting() {
    return Boolean(this.draft);
  }

  down(point, event) {
    if (this.readOnly) return false;
    const inside = this.view.inside(point);
    const before = structuredClone(this.objects);
    const reach = this.view.reach(event);
    if (this.draft || event.shiftKey) {
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
      const reach = this.view.reach(event);
      const closes = this.draft?.length >= this.least
        && ((this.closed && away(this.draft[0], inside) <= reach) || away(this.draft.at(-1), inside) <= reach / 3);
      if (closes) this.finish();
      else this.press(inside);
    }
  }

  hover(point, event) {
    super.hover(point, event);
    if (!this.draft) return;
    this.at_ = point;
    this.render();
  }

  crossed(point) {
    this.hover(point);
  }

  press(point) {
    if (!this.draft) this.select(null);
    this.draft = [...(this.draft ?? []), pair(point)];
    this.bench.changed(this);
    this.render();
    return false;
  }

  /** End the shape that is being drawn; false where there is none. */
  finish() {
    if (!this.draft) return false;
    const xy = this.draft;
    if (xy.length < this.least) return this.bench.say(`A ${this.noun} needs at least ${this.least} corners.`);
    this.draft = this.at_ = null;
    this.add(xy);
    return true;
  }

  /** Take back the last corner of the shape that is being drawn. */
  back() {
    if (!this.draft) return false;
    this.draft = this.draft.length > 1 ? this.draft.slice(0, -1) : null;
    this.render();
    return true;
  }

  cancel() {
    const had = this.draft || this.drag;
    if (this.drag?.moved) this.objects = this.drag.before;
    this.draft = this.drag = this.at_ = null;
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
    group.add(...this.outline(object.xy, colour, { closed: this.closed, selected, fill }));
    if (selected) for (const at of object.xy) group.add(this.handle(at, ink(colour)));
    const top = object.xy.reduce((a, b) => (b[1] < a[1] ? b : a));
    if (this.bench.names || selected) group.add(this.tag(object.category, top, colour));
  }

  paintDraft(group) {
    if (!this.draft) return;
    const colour = this.bench.colour(this.bench.category(this));
    const points = this.at_ ? [...this.draft, [this.at_.x, this.at_.y]] : this.draft;
    if (points.length > 1) {
      group.add(...this.outline(points, colour, { closed: this.closed, fill: this.closed ? `${colour}22` : null }));
    }
    for (const at of this.draft) group.add(this.handle(at, colour));
  }
}

export class Polygons extends Polylines {
  noun = "polygon";
  nouns = "polygons";
  hint = "Click corner after corner; Enter, or a click on the first corner, closes the polygon.";
  closed = true;
  least = 3;

  hits(object, point, reach) {
    if (super.hits(object, point, reach)) return true;
    let inside = false;
    for (const [[ax, ay], [bx, by]] of this.edges(object)) {
      if (ay > point.y !== by > point.y && point.x < ax + ((point.y - ay) * (bx - ax)) / (by - ay)) inside = !inside;
    }
    return inside;
  }
}
