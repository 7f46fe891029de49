// The answers below the picture, with their keys: send, nothing here, can't tell, skip; yes, no.

import { button, byId, h, toast } from "./dom.js";

const SURE_MS = 4000;

/** What may be said about the task in work. `said(outcome)` gives the answer. */
export class Actions {
  constructor(bench, work, said) {
    Object.assign(this, { bench, work, said });
    this.element = byId("actions");
    this.asked = null;
    for (const type of ["change", "touch"]) bench.addEventListener(type, () => this.update());
  }

  get mode() {
    return this.work.current?.task.mode ?? null;
  }

  get masks() {
    return this.bench.form.primitives.some((p) => p.kind === "mask");
  }

  /** Whether "nothing here" can be said: as an outcome of its own, or as masks without a region. */
  get canBeEmpty() {
    return this.bench.form.empty_allowed || (this.masks && this.bench.editors.length === 1);
  }

  build() {
    const { mode } = this;
    const broken = this.work.current?.broken;
    if (!mode || broken) return this.element.replaceChildren();
    const make = (text, key, outcome, kind, iconName) =>
      button(text, { key, kind, iconName, run: () => this.try(outcome) });
    const side = [make("Skip", "S", mode === "verify" ? "cannot_tell" : "declined", "quiet")];
    const main = [];
    if (mode === "verify") {
      main.push(make("No", "N", "wrong", "no big", "cross"), make("Yes", "Y", "label", "yes big", "check"));
    } else {
      side.unshift(make("Can't tell / bad image", "C", "cannot_tell", "quiet"));
      if (this.canBeEmpty) main.push(make("Nothing here", "E", "empty", "big"));
      this.send =
        this.bench.beside.some((e) => e.immediate) && mode === "draw"
          ? null
          : make("Submit", "⏎", "submit", "primary big", "check");
      if (this.send) main.push(this.send);
    }
    this.element.replaceChildren(h("div", { class: "side" }, side), h("div", { class: "main" }, main));
    this.update();
  }

  update() {
    this.asked = null;
    if (!this.send || this.mode === "verify") return;
    this.send.classList.toggle("unready", !this.ready());
  }

  ready() {
    return !this.bench.problem() && (this.bench.count > 0 || this.mode === "adjust" || !this.needsSomething);
  }

  /** Forms that can say "nothing here" are not sent bare: that would be a slip as often as not. */
  get needsSomething() {
    return this.canBeEmpty;
  }

  try(outcome) {
    if (!this.work.current) return;
    if (outcome === "submit") return this.submit();
    const drops = this.mode !== "verify" && this.bench.dirty && this.bench.count > 0;
    if (drops && this.asked !== outcome) {
      this.asked = outcome;
      setTimeout(() => {
        this.asked = null;
      }, SURE_MS);
      return toast("This drops what you drew. Press again if you mean it.", { kind: "warn", seconds: SURE_MS / 1000 });
    }
    this.said(outcome);
  }

  submit() {
    const problem = this.bench.problem();
    if (problem) return toast(problem, { kind: "warn" });
    if (this.bench.count > 0 || !this.needsSomething) return this.said("label");
    if (this.mode === "adjust") return this.said("empty");
    return toast("Nothing is drawn yet. If there is nothing, press E for “Nothing here”.", { kind: "warn" });
  }

  bindings() {
    const drawn = () => Boolean(this.mode) && this.mode !== "verify";
    const verify = () => this.mode === "verify";
    const act = (key, text, outcome, when) => ({
      keys: [key],
      text,
      group: "Answers",
      when,
      listed: when,
      once: true,
      run: () => this.try(outcome),
    });
    return [
      act("y", "yes, this is right", "label", verify),
      act("n", "no, it is wrong", "wrong", verify),
      act("s", "skip", "cannot_tell", verify),
      act("Enter", "submit", "submit", () => drawn() && Boolean(this.send)),
      act("e", "nothing here", "empty", () => drawn() && this.canBeEmpty),
      act("c", "can't tell, or a bad image", "cannot_tell", drawn),
      act("s", "skip: somebody else gets it", "declined", drawn),
    ];
  }
}
