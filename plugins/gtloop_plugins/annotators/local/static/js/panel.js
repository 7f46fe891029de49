// The side panel: categories, what is drawn, and the fields of a form.

import { Picker } from "./picker.js";
import { byId, h, icon } from "./dom.js";

const percent = (share) =>
  share === 0 ? "" : share < 0.001 ? "<0.1%" : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;

export class Panel {
  constructor(bench) {
    this.bench = bench;
    this.element = byId("panel");
    this.pickers = new Map();
    for (const type of ["touch", "change"]) bench.addEventListener(type, () => this.queue());
  }

  get picker() {
    const editor = this.bench.active;
    if (!editor || !editor.primitive.categories.length) return null;
    if (!this.pickers.has(editor.name)) this.pickers.set(editor.name, this.makePicker(editor));
    return this.pickers.get(editor.name);
  }

  makePicker(editor) {
    const mask = editor.primitive.kind === "mask";
    const count = (name) => editor.objects.filter((o) => o.category === name).length || "";
    return new Picker({
      names: editor.primitive.categories,
      colour: (name) => this.bench.colour(name),
      pick: (name) => this.bench.choose(name),
      isOn: (name) => this.bench.category(editor) === name && !editor.voiding,
      note: mask ? (name) => percent(editor.share(name)) : (name) => String(count(name)),
    });
  }

  /** Once a frame is enough. */
  queue() {
    this.queued ??= requestAnimationFrame(() => {
      this.queued = null;
      this.render();
    });
  }

  /** Lay out the panel for the active editor; `readOnly`: somebody's label is shown. */
  render() {
    const { bench } = this;
    const editor = bench.active;
    if (!bench.task) return;
    if (editor?.readOnly) return this.fill(`shown ${editor.name}`, []);
    const parts = [];
    const { picker } = this;
    if (picker) {
      parts.push(["picker", () => section("Categories", picker.element)]);
      picker.render();
    }
    if (editor?.primitive.kind === "mask") parts.push(["brush", () => this.brush(editor)]);
    if (editor?.objects)
      parts.push(["objects", () => section(null, (this.objects = h("div", { class: "objects", role: "list" })))]);
    for (const field of bench.beside) {
      if (field.element.tagName !== "IFRAME")
        parts.push([
          `field ${field.name}`,
          () => section(field.element.matches(".text-field") ? null : field.name, field.element),
        ]);
    }
    if (editor) parts.push(["hint", () => (this.hint = h("p", { class: "hint soft" }))]);
    this.fill(`${editor?.name} ${editor?.primitive.kind}`, parts);
    if (editor?.objects) this.list(editor);
    if (this.hint && editor) this.hint.textContent = editor.hint;
    if (this.size && editor?.radius) {
      this.size.value = String(Math.log(editor.radius));
      this.sizeText.textContent = `${Math.round(editor.radius * 2)} px`;
    }
  }

  /** Build the parts anew only where they are others than before, so that no field loses its focus. */
  fill(key, parts) {
    const wanted = `${key}: ${parts.map(([name]) => name)}`;
    if (this.laid === wanted) return;
    this.laid = wanted;
    this.element.replaceChildren(...parts.map(([, make]) => make()));
  }

  brush(editor) {
    const most = Math.log(Math.max(8, Math.max(editor.view.width, editor.view.height) / 3));
    this.size = h("input", {
      type: "range",
      min: "0",
      max: String(most),
      step: "0.05",
      "aria-label": "Brush size",
      on: { input: () => editor.resize(Math.exp(Number(this.size.value))) },
    });
    this.sizeText = h("output", { class: "note" });
    return section(
      "Brush size",
      h("div", { class: "brush-size" }, h("kbd", { text: "[" }), this.size, h("kbd", { text: "]" }), this.sizeText),
    );
  }

  list(editor) {
    const title = h("h2", {
      text: editor.count
        ? `${editor.count} ${editor.count === 1 ? editor.noun : editor.nouns}`
        : `No ${editor.nouns} yet`,
    });
    const rows = editor.objects.slice(0, 500).map((object, n) => {
      const on = object.id === editor.selected;
      const swatch = h("span", { class: "swatch" });
      swatch.style.background = this.bench.colour(object.category);
      const name = h(
        "button",
        {
          type: "button",
          class: "object",
          "aria-pressed": String(on),
          title: object.category,
          on: { click: () => editor.select(on ? null : object.id) },
        },
        swatch,
        h("span", { class: "cut", text: object.category }),
        h("span", { class: "note", text: `${n + 1}` }),
      );
      const drop = h(
        "button",
        {
          type: "button",
          class: "drop",
          "aria-label": `Delete ${editor.noun} ${n + 1}`,
          on: { click: () => editor.remove(object.id) },
        },
        icon("trash"),
      );
      return h("div", { class: "object-row", role: "listitem" }, name, drop);
    });
    this.objects.replaceChildren(title, ...rows);
    this.objects.querySelector("[aria-pressed=true]")?.scrollIntoView({ block: "nearest" });
  }
}

const section = (title, ...children) => h("section", {}, title ? h("h2", { text: title }) : null, ...children);
