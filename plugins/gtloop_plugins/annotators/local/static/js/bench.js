// The workbench: the editors of one form round one picture, what they share, and the payload they make.

import { Boxes } from "./boxes.js";
import { Choice, Frame, Text } from "./fields.js";
import { History } from "./history.js";
import { Masks } from "./masks.js";
import { Points } from "./points.js";
import { Polygons, Polylines } from "./lines.js";
import { announce, toast } from "./dom.js";
import { colour } from "./palette.js";

const DRAWN = { box: Boxes, point: Points, polyline: Polylines, polygon: Polygons, mask: Masks };
const BESIDE = { choice: Choice, text: Text, html: Frame };

/** Fires `change` (an answer changed), `touch` (only the looks) and `submit`. */
export class Bench extends EventTarget {
  constructor(form, view) {
    super();
    this.form = form;
    this.view = view;
    this.names = form.primitives.some((p) => p.categories.length > 1);
    this.order = [...new Set(form.primitives.flatMap((p) => p.categories))];
    this.categories = new Map(form.primitives.map((p) => [p.name, p.categories[0] ?? "object"]));
    this.history = new History(() => this.touch());
    this.coarse = matchMedia("(pointer: coarse)").matches;
    const alone = form.primitives.length === 1;
    this.editors = form.primitives.map((p) => new (DRAWN[p.kind] ?? BESIDE[p.kind])(this, p, alone));
    this.drawn = this.editors.filter((e) => e.primitive.kind in DRAWN);
    this.beside = this.editors.filter((e) => e.primitive.kind in BESIDE);
    this.own = this.beside.some((e) => e instanceof Frame);
    this.active = this.drawn[0] ?? null;
    this.loading = true;
  }

  // ------------------------------------------------------------------------------------------ tasks

  /** Show a task with an answer to begin with: `{task, bitmap, blob}`, and a payload or what `state` gave. */
  show(shown, state, { readOnly = false } = {}) {
    this.loading = true;
    this.task = shown.task;
    this.blob = shown.blob;
    this.view.setPicture(shown.bitmap, shown.task.width, shown.task.height);
    for (const editor of this.editors) {
      editor.readOnly = readOnly;
      editor.load(state?.[editor.name], state ?? {});
    }
    this.history.clear();
    this.activate(this.drawn[0] ?? null);
    this.dirty = false;
    this.loading = false;
    this.touch();
  }

  clear() {
    this.task = this.blob = null;
    this.view.setPicture(null, 1, 1);
    this.view.tool = null;
    for (const editor of this.drawn) editor.load([]);
    this.history.clear();
  }

  /** The answer as it stands: a payload, also good to begin with later. */
  state() {
    const payload = {};
    for (const editor of this.editors) {
      const value = editor.value();
      if (value !== undefined && value !== null) payload[editor.name] = value;
      if (editor.extras) Object.assign(payload, editor.extras());
    }
    // A page of the task's own answers with the whole payload.
    if (this.own && this.editors.length === 1) return payload[this.editors[0].name] ?? {};
    return payload;
  }

  get count() {
    return this.editors.reduce((sum, editor) => sum + editor.count, 0);
  }

  problem() {
    return this.editors.map((editor) => editor.problem()).find(Boolean) ?? "";
  }

  // ------------------------------------------------------------------------------------------ what editors use

  activate(editor) {
    if (this.active !== editor) this.active?.cancel?.();
    this.active = editor;
    this.view.tool = editor;
    this.view.crosshair = editor?.primitive.kind === "box" || editor?.primitive.kind === "point";
    this.touch();
  }

  colour(name) {
    return colour(this.order.indexOf(name));
  }

  /** The category of what is drawn next. */
  category(editor) {
    return this.categories.get(editor.name);
  }

  /** A category was picked: for the selected object, and for what is drawn next. */
  choose(name) {
    const editor = this.active;
    this.categories.set(editor.name, name);
    if (editor.primitive.kind === "mask") editor.voiding = false;
    editor.assign?.(name);
    editor.render();
    this.touch();
  }

  /** An object was selected: what is drawn next is of its category. */
  follow(editor, category) {
    if (editor.primitive.categories.includes(category)) this.categories.set(editor.name, category);
  }

  /** After a point: the next category that has none yet. */
  advance(editor) {
    const { categories } = editor.primitive;
    if (categories.length < 2) return;
    const placed = new Set(editor.objects.map((o) => o.category));
    const from = categories.indexOf(this.category(editor));
    const next = [...categories.slice(from + 1), ...categories.slice(0, from)].find((name) => !placed.has(name));
    if (next) this.categories.set(editor.name, next);
    this.touch();
  }

  /** What is drawn or filled in has changed. */
  changed() {
    if (this.loading) return;
    this.dirty = true;
    this.dispatchEvent(new Event("change"));
  }

  touch() {
    if (!this.loading) this.dispatchEvent(new Event("touch"));
  }

  announce(text) {
    announce(text);
  }

  say(text) {
    toast(text, { kind: "warn" });
    return true;
  }

  submit() {
    this.dispatchEvent(new Event("submit"));
  }
}
