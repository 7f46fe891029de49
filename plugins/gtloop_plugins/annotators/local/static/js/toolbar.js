// The buttons on the picture: what to draw with, undo, zoom.

import { button, byId, h } from "./dom.js";

const MASK_TOOLS = [
  ["brush", "Brush", "b"],
  ["eraser", "Eraser", "x"],
  ["polygon", "Polygon", "p"],
  ["fill", "Fill", "f"],
];
const SIZE_STEP = 1.25;

/** Fills the tool bar of a bench, and gives the keys that do the same. */
export class Toolbar {
  constructor(bench) {
    this.bench = bench;
    this.view = bench.view;
    this.element = byId("tools");
    this.tools = [];
    for (const type of ["touch", "change"]) bench.addEventListener(type, () => this.update());
    this.build();
  }

  get mask() {
    return this.bench.drawn.find((editor) => editor.primitive.kind === "mask");
  }

  build() {
    const tool = (text, iconName, key, run, isOn) => {
      const element = button("", {
        iconName,
        label: text,
        title: `${text} (${key})`,
        run: () => {
          run();
          this.update();
        },
        pressed: isOn ? false : undefined,
      });
      this.tools.push({ element, isOn });
      return element;
    };
    const { bench, view } = this;
    const groups = [];
    if (bench.drawn.length > 1) {
      groups.push(
        bench.drawn.map((editor, n) =>
          tool(
            `Draw ${editor.name}`,
            editor.primitive.kind === "mask" ? "brush" : editor.primitive.kind,
            `Ctrl + ${n + 1}`,
            () => bench.activate(editor),
            () => bench.active === editor,
          ),
        ),
      );
    }
    if (this.mask) {
      groups.push([
        ...MASK_TOOLS.map(([name, text, key]) =>
          tool(
            text,
            name,
            key.toUpperCase(),
            () => this.useMask(name),
            () => bench.active === this.mask && this.mask.tool === name,
          ),
        ),
        tool(
          "Unclear (void)",
          "void",
          "V",
          () => this.toggleVoid(),
          () => this.mask.voiding,
        ),
        tool(
          "Paint free pixels only",
          "lock",
          "K",
          () => this.mask.setKeep(!this.mask.keeping),
          () => Boolean(this.mask.keeping),
        ),
      ]);
    }
    if (bench.drawn.length) {
      this.undo = tool("Undo", "undo", "Ctrl + Z", () => bench.history.undo());
      this.redo = tool("Redo", "redo", "Ctrl + Shift + Z", () => bench.history.redo());
      groups.push([this.undo, this.redo]);
    }
    groups.push([
      tool("Zoom in", "plus", "+", () => view.zoom(1.4)),
      tool("Zoom out", "minus", "-", () => view.zoom(1 / 1.4)),
      tool("Fit", "fit", "0", () => view.fit()),
    ]);
    const last = groups.length - 1;
    this.element.replaceChildren(
      ...groups.map((group, n) => h("div", { class: n < last ? "tool-group edits" : "tool-group" }, group)),
    );
  }

  useMask(name) {
    this.bench.activate(this.mask);
    this.mask.use(name);
  }

  toggleVoid() {
    this.mask.voiding = !this.mask.voiding;
    if (this.mask.tool === "eraser") this.mask.use("brush");
    this.bench.touch();
  }

  update() {
    for (const { element, isOn } of this.tools) if (isOn) element.setAttribute("aria-pressed", String(isOn()));
    if (!this.undo) return;
    this.undo.disabled = !this.bench.history.done.length;
    this.redo.disabled = !this.bench.history.undone.length;
  }

  bindings() {
    const { bench, view } = this;
    const shown = () => Boolean(bench.task) && !bench.own;
    const drawing = () => shown() && bench.drawn.length > 0 && !bench.active?.readOnly;
    const masking = () => drawing() && Boolean(this.mask);
    const zoom = (keys, text, run) => ({ keys, text, group: "View", when: shown, listed: shown, run });
    const mask = (keys, text, run) => ({ keys, text, group: "Masks", when: masking, listed: masking, run });
    return [
      zoom(["+", "="], "zoom in (or the wheel)", () => view.zoom(1.25)),
      zoom(["-", "_"], "zoom out", () => view.zoom(0.8)),
      zoom(["0"], "show the whole picture", () => view.fit()),
      {
        keys: [" "],
        text: "hold and drag to move the picture",
        group: "View",
        when: shown,
        listed: shown,
        run: () => view.gestures.hold(true),
      },
      zoom(["h"], "hide or show what is drawn", () => this.hide()),
      {
        keys: ["Ctrl+z"],
        text: "undo",
        group: "Drawing",
        when: () => drawing() && bench.history.done.length > 0,
        listed: drawing,
        run: () => bench.history.undo(),
      },
      {
        keys: ["Ctrl+Shift+z", "Ctrl+y"],
        text: "redo",
        group: "Drawing",
        when: drawing,
        listed: drawing,
        run: () => bench.history.redo(),
      },
      ...MASK_TOOLS.map(([name, text, key]) => mask([key], text.toLowerCase(), () => this.useMask(name))),
      mask(["v"], "paint what is unclear (void)", () => this.toggleVoid()),
      mask(["k"], "paint free pixels only, or over others", () => this.mask.setKeep(!this.mask.keeping)),
      mask(["["], "smaller brush", () => this.mask.resize(this.mask.radius / SIZE_STEP)),
      mask(["]"], "larger brush", () => this.mask.resize(this.mask.radius * SIZE_STEP)),
      mask(["o"], "how much the colours cover", () => this.mask.setOpacity(1)),
      ...bench.drawn.slice(0, 9).map((editor, n) => ({
        keys: [`Ctrl+${n + 1}`],
        text: `draw ${editor.name}`,
        group: "Drawing",
        when: drawing,
        listed: () => bench.drawn.length > 1,
        run: () => bench.activate(editor),
      })),
    ];
  }

  hide() {
    for (const editor of this.bench.drawn) {
      editor.hidden = !editor.hidden;
      editor.render();
    }
  }
}
