// What boxes, points, polylines and polygons have in common: a list, a selection, categories, undo, keys.

import { tenth } from "./marks.js";

const { Konva } = globalThis;

/**
 * Objects of one primitive. A subclass gives `key` (of an object's place in a payload), `points(object)`,
 * `setPoints(object, points)`, `hits(object, point, reach)`, `paint(object, group, selected)`, what a tool has (see
 * `View`), `press(point)` for the keyboard, and `grow(object, dx, dy)` for Alt and arrows.
 */
export class Objects {
  constructor(bench, primitive) {
    this.bench = bench;
    this.view = bench.view;
    this.primitive = primitive;
    this.name = primitive.name;
    this.group = new Konva.Group();
    this.view.layers.shapes.add(this.group);
    this.objects = [];
    this.selected = null;
    this.hovered = null;
    this.hidden = false;
    this.readOnly = false;
    this.next = 1;
    this.rescale = () => this.render();
    this.view.addEventListener("moved", this.rescale);
  }

  destroy() {
    this.view.removeEventListener("moved", this.rescale);
    this.group.destroy();
  }

  // ------------------------------------------------------------------------------------------ values

  load(value) {
    const list = Array.isArray(value) ? value : [];
    this.objects = list.map((o) => ({
      id: this.next++,
      category: o.category,
      [this.key]: structuredClone(o[this.key]),
    }));
    this.selected = null;
    this.cancel?.();
    this.changed();
  }

  value() {
    return this.objects.map((o) => ({ category: o.category, [this.key]: o[this.key] }));
  }

  get count() {
    return this.objects.length;
  }

  /** What keeps this from being sent, one line; empty: nothing. */
  problem() {
    return this.drafting ? "Finish the shape you began (Enter), or drop it (Esc)." : "";
  }

  find(id) {
    return this.objects.find((o) => o.id === id) ?? null;
  }

  get current() {
    return this.find(this.selected);
  }

  // ------------------------------------------------------------------------------------------ changes

  /** Do something to the objects, so that it can be undone. */
  commit(work) {
    const before = structuredClone(this.objects);
    work();
    this.remember(before);
  }

  /** Objects have changed since `before`: make that one step. */
  remember(before) {
    const after = structuredClone(this.objects);
    const bytes = 80 * (before.length + after.length) + 200;
    const set = (state) => () => {
      this.objects = structuredClone(state);
      if (!this.current) this.selected = null;
      this.bench.activate(this);
      this.changed();
    };
    this.bench.history.push(set(before), set(after), bytes);
    this.changed();
  }

  changed() {
    this.render();
    this.bench.changed();
  }

  add(place) {
    const category = this.bench.category(this);
    const object = { id: this.next++, category, [this.key]: place };
    this.commit(() => {
      // A form for one object: the new one takes the place of the old.
      if (!this.primitive.multiple) this.objects = [];
      this.objects.push(object);
      this.selected = object.id;
    });
    return object;
  }

  remove(id = this.selected) {
    if (!this.find(id)) return false;
    this.commit(() => {
      this.objects = this.objects.filter((o) => o.id !== id);
      if (this.selected === id) this.selected = null;
    });
    return true;
  }

  select(id) {
    if (this.selected === id) return;
    this.selected = id;
    const object = this.current;
    if (object) this.bench.follow(this, object.category);
    this.render();
    this.bench.touch();
  }

  /** Give the selected object a category. */
  assign(category) {
    const object = this.current;
    if (!object || object.category === category) return;
    this.commit(() => {
      object.category = category;
    });
  }

  /** Go to the next object; false past the last one. */
  cycle(step) {
    if (!this.objects.length) return false;
    const at = this.objects.findIndex((o) => o.id === this.selected);
    const to = at < 0 ? (step > 0 ? 0 : this.objects.length - 1) : at + step;
    this.select(this.objects[to]?.id ?? null);
    if (!this.current) return false;
    this.view.reveal(this.centre(this.current));
    return true;
  }

  centre(object) {
    const points = this.points(object);
    const sum = points.reduce((a, [x, y]) => ({ x: a.x + x, y: a.y + y }), { x: 0, y: 0 });
    return { x: sum.x / points.length, y: sum.y / points.length };
  }

  /** Move an object, as far as the image goes. */
  shift(object, dx, dy) {
    const points = this.points(object);
    const xs = points.map((p) => p[0]);
    const ys = points.map((p) => p[1]);
    const x = Math.min(this.view.width - Math.max(...xs), Math.max(-Math.min(...xs), dx));
    const y = Math.min(this.view.height - Math.max(...ys), Math.max(-Math.min(...ys), dy));
    this.setPoints(
      object,
      points.map((p) => [tenth(p[0] + x), tenth(p[1] + y)]),
    );
  }

  /** Move the selected object by the keyboard; steps in quick succession are one to undo. */
  nudge(dx, dy, grow) {
    const object = this.current;
    if (!object) return false;
    const now = performance.now();
    const goesOn =
      this.nudging &&
      this.nudging.id === object.id &&
      now - this.nudging.at < 800 &&
      this.bench.history.done.at(-1) === this.nudging.step;
    const before = goesOn ? this.nudging.before : structuredClone(this.objects);
    if (grow) this.grow(object, dx, dy);
    else this.shift(object, dx, dy);
    if (goesOn) this.bench.history.forget();
    this.remember(before);
    this.nudging = { id: object.id, at: now, before, step: this.bench.history.done.at(-1) };
    return true;
  }

  /** The object at a point: of those that are hit, the smallest; the selected one comes first. */
  at(point, reach) {
    const hit = this.objects.filter((o) => this.hits(o, point, reach));
    return hit.find((o) => o.id === this.selected) ?? hit.sort((a, b) => this.extent(a) - this.extent(b))[0] ?? null;
  }

  extent(object) {
    const points = this.points(object);
    const side = (n) => Math.max(...points.map((p) => p[n])) - Math.min(...points.map((p) => p[n]));
    return side(0) * side(1);
  }

  hover(point, event) {
    if (this.readOnly) return;
    this.hovered = point ? (this.at(point, this.view.reach(event))?.id ?? null) : null;
    this.view.container.style.cursor = this.cursor?.(point, event) ?? "";
  }

  // ------------------------------------------------------------------------------------------ drawing

  render() {
    this.group.destroyChildren();
    this.group.visible(!this.hidden);
    const last = this.current;
    for (const object of [...this.objects.filter((o) => o !== last), last]) {
      if (object) this.paint(object, this.group, object === last && !this.readOnly);
    }
    this.paintDraft?.(this.group);
    this.view.layers.shapes.batchDraw();
  }
}
