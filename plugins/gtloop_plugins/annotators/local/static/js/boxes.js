// Boxes: drawn by a drag, moved inside, resized at eight handles.

import { Objects } from "./objects.js";
import { handle, outline, tag, tenth } from "./marks.js";

// Which sides a handle moves: [x, y], -1 the first, 1 the second, 0 none.
const HANDLES = [
  [-1, -1],
  [0, -1],
  [1, -1],
  [1, 0],
  [1, 1],
  [0, 1],
  [-1, 1],
  [-1, 0],
];
const CURSORS = [
  "nwse-resize",
  "ns-resize",
  "nesw-resize",
  "ew-resize",
  "nwse-resize",
  "ns-resize",
  "nesw-resize",
  "ew-resize",
];
const LEAST = 2;

export class Boxes extends Objects {
  key = "xyxy";
  noun = "box";
  nouns = "boxes";
  hint = "Drag to draw a box. Keys alone: N, arrows, N, arrows, N.";
  drag = null;
  corner = null;

  points({ xyxy: [x1, y1, x2, y2] }) {
    return [
      [x1, y1],
      [x2, y2],
    ];
  }

  setPoints(object, [[x1, y1], [x2, y2]]) {
    object.xyxy = [x1, y1, x2, y2];
  }

  hits({ xyxy: [x1, y1, x2, y2] }, { x, y }) {
    return x >= x1 && x <= x2 && y >= y1 && y <= y2;
  }

  handles({ xyxy: [x1, y1, x2, y2] }) {
    const at = (side, a, b) => (side < 0 ? a : side > 0 ? b : (a + b) / 2);
    return HANDLES.map(([h, v]) => [at(h, x1, x2), at(v, y1, y2)]);
  }

  /** Position in HANDLES of the selected box's handle at a point, or -1. */
  handleAt(point, event) {
    const object = this.current;
    if (!object) return -1;
    const reach = this.view.reach(event);
    const away = this.handles(object).map(([x, y]) => Math.hypot(x - point.x, y - point.y));
    const nearest = away.indexOf(Math.min(...away));
    return away[nearest] <= reach ? nearest : -1;
  }

  cursor(point, event) {
    if (!point) return "";
    const handle = this.handleAt(point, event);
    if (handle >= 0) return CURSORS[handle];
    return this.current && !event?.shiftKey && this.hits(this.current, point) ? "move" : "crosshair";
  }

  // ------------------------------------------------------------------------------------------ pointer

  down(point, event) {
    if (this.readOnly) return false;
    const before = structuredClone(this.objects);
    const handle = this.handleAt(point, event);
    const start = this.view.inside(point);
    this.corner = null;
    if (handle >= 0) {
      this.drag = { kind: "resize", sides: HANDLES[handle], from: [...this.current.xyxy], start, before };
    } else if (this.current && !event.shiftKey && this.hits(this.current, point)) {
      this.drag = { kind: "move", from: [...this.current.xyxy], start, before };
    } else {
      this.drag = { kind: "draw", start, end: start, at: this.at(point, 0)?.id ?? null, far: false, before };
    }
  }

  move(point) {
    const drag = this.drag;
    if (!drag) return;
    const at = this.view.inside(point);
    if (drag.kind === "draw") {
      drag.end = at;
      drag.far ||= Math.hypot(at.x - drag.start.x, at.y - drag.start.y) * this.view.scale > 5;
      if (drag.far) this.selected = null;
    } else if (drag.kind === "move") {
      this.current.xyxy = [...drag.from];
      this.shift(this.current, point.x - drag.start.x, point.y - drag.start.y);
    } else {
      this.current.xyxy = resized(drag.from, drag.sides, at);
    }
    this.render();
  }

  up(point) {
    const drag = this.drag;
    if (!drag) return;
    this.move(point);
    this.drag = null;
    if (drag.kind === "draw") {
      if (drag.far) this.finish(drag.start, drag.end);
      else this.select(drag.at);
    } else if (JSON.stringify(drag.before) !== JSON.stringify(this.objects)) {
      this.remember(drag.before);
    }
    this.render();
  }

  /** A box between two corners, if it is large enough to be meant. */
  finish(a, b) {
    const xyxy = [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.max(a.x, b.x), Math.max(a.y, b.y)].map(tenth);
    if (xyxy[2] - xyxy[0] < LEAST || xyxy[3] - xyxy[1] < LEAST) return this.render();
    return this.add(xyxy);
  }

  /** Drop what is half done; false where nothing is. */
  cancel() {
    if (!this.drag && !this.corner) return false;
    if (this.drag && this.drag.kind !== "draw") this.objects = this.drag.before;
    this.drag = this.corner = null;
    this.render();
    return true;
  }

  // ------------------------------------------------------------------------------------------ keyboard

  press(point) {
    if (!this.corner) {
      this.select(null);
      this.corner = { start: point, end: point };
      this.bench.announce("First corner set. Move to the other corner and press N again.");
    } else {
      const { start } = this.corner;
      this.corner = null;
      if (this.finish(start, point)) return true; // done: the crosshair goes
    }
    this.render();
    return false;
  }

  crossed(point) {
    if (!this.corner) return;
    this.corner.end = point;
    this.render();
  }

  get drafting() {
    return Boolean(this.corner);
  }

  /** Move the second corner. */
  grow(object, dx, dy) {
    const [x1, y1, x2, y2] = object.xyxy;
    object.xyxy = [
      x1,
      y1,
      tenth(Math.min(this.view.width, Math.max(x1 + 1, x2 + dx))),
      tenth(Math.min(this.view.height, Math.max(y1 + 1, y2 + dy))),
    ];
  }

  // ------------------------------------------------------------------------------------------ drawing

  paint(object, group, selected) {
    const [x1, y1, x2, y2] = object.xyxy;
    const colour = this.bench.colour(object.category);
    const corners = [
      [x1, y1],
      [x2, y1],
      [x2, y2],
      [x1, y2],
    ];
    group.add(...outline(corners, colour, { closed: true, selected, fill: `${colour}${selected ? "2e" : "12"}` }));
    if (this.bench.names || selected) group.add(tag(this.view, object.category, [x1, y1], colour));
    if (selected) for (const at of this.handles(object)) group.add(handle(this.bench, at, "#000c", { square: true }));
  }

  paintDraft(group) {
    const draft = this.drag?.kind === "draw" && this.drag.far ? this.drag : this.corner;
    if (!draft) return;
    const { start: a, end: b } = draft;
    const colour = this.bench.colour(this.bench.category(this));
    const corners = [
      [a.x, a.y],
      [b.x, a.y],
      [b.x, b.y],
      [a.x, b.y],
    ];
    group.add(...outline(corners, colour, { closed: true, fill: `${colour}2e` }));
    if (this.corner) group.add(handle(this.bench, [a.x, a.y], colour));
  }
}

/** A box with one corner or side at a point; dragged over the opposite side it turns over. */
function resized([x1, y1, x2, y2], [h, v], { x, y }) {
  const xs = h < 0 ? [x, x2] : h > 0 ? [x1, x] : [x1, x2];
  const ys = v < 0 ? [y, y2] : v > 0 ? [y1, y] : [y1, y2];
  const [left, right] = spread(xs);
  const [top, bottom] = spread(ys);
  return [left, top, right, bottom].map(tenth);
}

function spread([a, b]) {
  const [low, high] = a < b ? [a, b] : [b, a];
  return high - low < LEAST ? [low, low + LEAST] : [low, high];
}
