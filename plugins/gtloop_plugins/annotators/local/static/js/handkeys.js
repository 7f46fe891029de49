// The keyboard at the picture: selection, small steps, and a crosshair that arrows move.

import { spoken } from "./keys.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const FAST_AFTER = 6; // repeats of a held arrow before the crosshair speeds up

const withArrows = (prefix) => Object.keys(ARROWS).map((arrow) => prefix + arrow);
const GROUP = "Drawing";

/** Bindings for what is drawn on the picture of a bench. */
export class HandKeys {
  constructor(bench) {
    this.bench = bench;
    this.view = bench.view;
    this.cross = null;
    this.repeats = 0;
  }

  get editor() {
    return this.bench.active;
  }

  get working() {
    return Boolean(this.bench.task && this.editor && !this.editor.readOnly);
  }

  /** Show the crosshair where the pointer was last, or in the middle; or press it. */
  press() {
    if (!this.cross) {
      const { stage } = this.view;
      const middle = this.view.toImage({ x: stage.width() / 2, y: stage.height() / 2 });
      this.cross = this.view.inside(this.view.pointer ?? middle);
      this.cross = { x: Math.round(this.cross.x), y: Math.round(this.cross.y) };
      this.editor.select?.(null);
      this.bench.announce("Crosshair on. Arrows move it, N sets a corner, Escape takes it away.");
      this.show();
      return;
    }
    if (this.editor.press(this.cross)) this.leave();
    else this.show();
  }

  leave() {
    if (!this.cross) return false;
    this.cross = null;
    this.show();
    return true;
  }

  show() {
    const { crosshair } = this.view;
    this.view.crosshair = true;
    this.view.cross(this.cross);
    this.view.crosshair = crosshair;
    this.view.dispatchEvent(new CustomEvent("hover", { detail: this.cross }));
  }

  arrow(event, step, grow) {
    const [x, y] = ARROWS[event.key];
    if (!this.cross) return this.editor.nudge?.(x * step, y * step, grow) ?? false;
    if (grow) return false;
    this.repeats = event.repeat ? this.repeats + 1 : 0;
    const speed = Math.min(12, 1 + Math.floor(this.repeats / FAST_AFTER));
    this.cross = this.view.inside({ x: this.cross.x + x * step * speed, y: this.cross.y + y * step * speed });
    this.editor.crossed?.(this.cross);
    this.view.reveal(this.cross);
    this.show();
    return true;
  }

  bindings() {
    const when = () => this.working;
    const objects = () => when() && Boolean(this.editor.cycle);
    const bind = (keys, text, run, more = {}) => ({ keys, text, group: GROUP, when, listed: when, run, ...more });
    return [
      bind(["n", " "], "crosshair by keyboard; again: set a corner or point", () => this.press(), {
        shown: ["N"],
        when: () => when(),
        run: (e) => (e.key === " " && !this.cross ? false : this.press()),
      }),
      bind(withArrows(""), "move the selection or crosshair by 1 px", (e) => this.arrow(e, 1, false), {
        shown: ["← → ↑ ↓"],
      }),
      bind(withArrows("Shift+"), "the same by 10 px", (e) => this.arrow(e, 10, false), {
        shown: [spoken("Shift"), "← → ↑ ↓"],
      }),
      bind([...withArrows("Alt+")], "resize the selection by 1 px; with Shift by 10", (e) => this.arrow(e, 1, true), {
        shown: ["Alt", "← → ↑ ↓"],
        listed: objects,
      }),
      bind(withArrows("Alt+Shift+"), null, (e) => this.arrow(e, 10, true)),
      bind(["Tab"], "select the next object; with Shift the one before", () => this.tab(1), {
        when: () => objects() && this.atCanvas(),
        listed: objects,
      }),
      bind(["Shift+Tab"], null, () => this.tab(-1), { when: () => objects() && this.atCanvas() }),
      bind(
        ["Delete", "Backspace"],
        "delete the selection, or the last corner",
        () => this.editor.back?.() || (this.editor.remove?.() ?? false),
      ),
      bind(["Escape"], "drop what is half done; select nothing", () => this.escape()),
      bind(["Enter"], null, () => (this.editor.finish ? this.editor.finish() : false), {
        when: () => when() && this.editor.drafting,
      }),
    ];
  }

  atCanvas() {
    return document.activeElement === this.view.container || document.activeElement === document.body;
  }

  tab(step) {
    this.leave();
    if (!this.editor.cycle(step)) return false;
    const { current, objects } = this.editor;
    const at = objects.indexOf(current) + 1;
    this.bench.announce(`${current.category}, ${this.editor.noun} ${at} of ${objects.length}`);
    return true;
  }

  escape() {
    if (this.editor.cancel?.()) return true;
    if (this.leave()) return true;
    if (this.editor.current) this.editor.select(null);
    return true;
  }
}
