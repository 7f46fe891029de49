// What is answered beside the picture: a choice, a text, and a task's own page.

import { h } from "./dom.js";
import { Picker } from "./picker.js";

/** One category, or several where the form says so. With `big` it is the whole answer, and one press gives it. */
export class Choice {
  constructor(bench, primitive, big) {
    this.bench = bench;
    this.primitive = primitive;
    this.name = primitive.name;
    this.chosen = [];
    this.big = big;
    this.immediate = big && !primitive.multiple;
    this.picker = new Picker({
      names: primitive.categories,
      pick: (name, bySearch) => this.pick(name, bySearch),
      isOn: (name) => this.chosen.includes(name),
      big,
      label: primitive.name,
    });
    this.element = this.picker.element;
  }

  pick(name, bySearch) {
    if (this.readOnly) return;
    const on = this.chosen.includes(name);
    if (!this.primitive.multiple) this.chosen = on && !this.immediate ? [] : [name];
    else this.chosen = on ? this.chosen.filter((n) => n !== name) : [...this.chosen, name];
    this.picker.render();
    this.bench.changed();
    // Who searches once will search again.
    this.searching = Boolean(bySearch);
    if (this.immediate) this.bench.submit();
  }

  load(value) {
    this.chosen = [value].flat().filter((name) => typeof name === "string");
    this.picker.render();
    if (this.searching) this.picker.search.focus();
  }

  value() {
    return this.primitive.multiple ? this.primitive.categories.filter((n) => this.chosen.includes(n)) : this.chosen[0];
  }

  get count() {
    return this.chosen.length;
  }

  problem() {
    return this.chosen.length || this.primitive.multiple ? "" : `Choose one for “${this.name}”.`;
  }

  destroy() {}
}

export class Text {
  constructor(bench, primitive) {
    this.bench = bench;
    this.primitive = primitive;
    this.name = primitive.name;
    this.area = h("textarea", {
      rows: 4,
      maxlength: 20_000,
      spellcheck: "true",
      on: {
        input: () => bench.changed(),
        keydown: (event) => {
          if (event.key === "Escape") document.getElementById("canvas").focus();
          if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
          event.preventDefault();
          bench.submit();
        },
      },
    });
    this.element = h(
      "label",
      { class: "text-field" },
      h("span", { text: primitive.name }),
      this.area,
      h("small", { class: "soft" }, h("kbd", { text: "Ctrl + Enter" }), " sends"),
    );
  }

  load(value) {
    this.area.value = typeof value === "string" ? value : "";
  }

  value() {
    return this.area.value.trim();
  }

  get count() {
    return this.area.value.trim() ? 1 : 0;
  }

  problem() {
    return "";
  }

  set readOnly(on) {
    this.area.readOnly = on;
  }

  destroy() {}
}

const dataUrl = (blob) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });

/** A task's own page in a frame without rights: it is handed the picture, and hands back an answer. */
export class Frame {
  constructor(bench, primitive) {
    this.bench = bench;
    this.primitive = primitive;
    this.name = primitive.name;
    this.answer = null;
    this.frame = h("iframe", { sandbox: "allow-scripts", title: "The task's own form", class: "own-form" });
    this.listen = (event) => this.hear(event);
    addEventListener("message", this.listen);
    this.frame.addEventListener("load", () => this.send());
    this.element = this.frame;
  }

  load(value) {
    this.answer = value ?? null;
    if (this.loaded === this.bench.task?.id) return;
    this.loaded = this.bench.task?.id;
    this.answer = null;
    this.handed = false;
    if (this.loaded) this.frame.src = `/frame/${encodeURIComponent(this.loaded)}`;
  }

  async send() {
    const { task, blob } = this.bench;
    if (!task || !blob) return;
    const url = await dataUrl(blob);
    if (task.id !== this.loaded) return;
    // The frame has an origin of its own that nobody can name, so "*" it is; it gets its picture and nothing else.
    this.frame.contentWindow?.postMessage(
      {
        type: "gtloop:image",
        url,
        width: task.width,
        height: task.height,
        categories: this.primitive.categories,
      },
      "*",
    );
    this.handed = true;
  }

  hear(event) {
    if (event.source !== this.frame.contentWindow || event.data?.type !== "gtloop:answer") return;
    // The page of the task before has the same window, and may still speak.
    if (!this.handed) return;
    if (typeof event.data.payload !== "object" || !event.data.payload) return;
    try {
      this.answer = JSON.parse(JSON.stringify(event.data.payload));
    } catch {
      return;
    }
    this.bench.changed();
  }

  value() {
    return this.answer;
  }

  get count() {
    return this.answer ? 1 : 0;
  }

  problem() {
    return this.answer ? "" : "Fill in the form first.";
  }

  destroy() {
    removeEventListener("message", this.listen);
  }
}

/** What shows a category chosen by somebody else. */
export function verdictTag(text, colour = null) {
  const swatch = colour && h("span", { class: "swatch" });
  if (swatch) swatch.style.background = colour;
  return h(
    "span",
    { class: colour ? "shown-label small" : "shown-label", title: text },
    swatch,
    h("b", { class: "cut", text }),
  );
}
