// The labelling page: puts the parts together and shows one task after the other.

import { Actions } from "./actions.js";
import { Bench } from "./bench.js";
import { Clock } from "./clock.js";
import { GRACE_MS, Outbox } from "./outbox.js";
import { HandKeys } from "./handkeys.js";
import { Keys } from "./keys.js";
import { Panel } from "./panel.js";
import { Refused, Unreachable, get, pause } from "./api.js";
import { Store } from "./store.js";
import { Toolbar } from "./toolbar.js";
import { View } from "./view.js";
import { Work } from "./work.js";
import { announce, button, byId, fillIcons, h, toast } from "./dom.js";
import { hideScreen, showBroken, showScreen } from "./screens.js";
import { setUpGuide } from "./guide.js";
import { setUpHelp } from "./help.js";
import { setUpProgress } from "./progress.js";
import { tellQuestion } from "./question.js";

const SAID = { label: "Label", empty: "Nothing here", cannot_tell: "Can't tell", declined: "Skipped", wrong: "No" };

class App {
  constructor(form) {
    const owner = `${form.person.role}:${form.person.name}`;
    this.form = form;
    this.store = new Store(owner);
    this.outbox = new Outbox(this.store);
    this.clock = new Clock();
    this.work = new Work(this.outbox, this.store, this.clock);
    this.view = new View(byId("canvas"));
    this.bench = new Bench(form, this.view);
    this.toolbar = new Toolbar(this.bench);
    this.panel = new Panel(this.bench);
    this.actions = new Actions(this.bench, this.work, (outcome) => this.answer(outcome));
    this.hand = new HandKeys(this.bench);
    this.setUpKeys();
    this.listen();
    for (const editor of this.bench.beside.filter((e) => e.element.tagName === "IFRAME"))
      byId("stage").append(editor.element);
    document.body.classList.toggle("own-page", this.bench.own);
    document.body.classList.toggle("choosing", this.bench.beside.some((e) => e.big) && !this.bench.drawn.length);
  }

  setUpKeys() {
    const keys = new Keys();
    keys.add([setUpGuide(this.form), setUpHelp(keys)]);
    keys.add([
      {
        keys: ["z", "Ctrl+z"],
        text: "take the last answer back, as long as it waits",
        group: "Answers",
        run: () => this.takeBack(),
        shown: ["Z"],
      },
    ]);
    keys.add(this.actions.bindings());
    keys.add(this.toolbar.bindings());
    const choices = this.bench.beside.filter((e) => e.picker);
    const picker = () => (this.bench.active && !this.bench.active.readOnly ? this.panel.picker : choices[0]?.picker);
    if (this.form.primitives.some((p) => p.categories.length)) {
      keys.add(this.pickerKeys(picker));
    }
    keys.add(this.hand.bindings());
  }

  pickerKeys(picker) {
    const works = () => Boolean(this.bench.task && picker()) && this.work.current?.task.mode !== "verify";
    const keys = Array.from({ length: 9 }, (_, n) => String(n + 1));
    return [
      {
        keys,
        shown: ["1", "…", "9"],
        text: "choose a category",
        group: "Labels",
        when: works,
        listed: works,
        once: true,
        run: (event) => picker().byKey(Number(/^\d$/.test(event.key) ? event.key : event.code.slice(5))),
      },
      {
        keys: ["/"],
        text: "search categories",
        group: "Labels",
        when: () => works() && picker().searchable,
        listed: () => works() && picker().searchable,
        run: () => picker().search.focus(),
      },
    ];
  }

  listen() {
    const { bench, work, view } = this;
    work.addEventListener("show", () => this.show());
    work.addEventListener("lost", () => this.lost());
    work.addEventListener("notice", (event) => toast(event.detail.text, { kind: "warn", seconds: 8 }));
    bench.addEventListener("change", () => work.current && work.drafts.soon(work.current, () => bench.state()));
    bench.addEventListener("submit", () => this.actions.try("submit"));
    this.outbox.addEventListener("change", () => {
      if (!work.current) this.show();
    });
    view.addEventListener("hover", ({ detail }) => {
      byId("readout").textContent =
        detail && bench.drawn.length ? `${Math.floor(detail.x)}, ${Math.floor(detail.y)}` : "";
    });
    // After a click on a button the keys are for the picture again: Enter sends, and presses nothing twice.
    document.addEventListener("click", (event) => {
      const pressed = event.detail > 0 && event.target.closest("button");
      if (pressed && pressed === document.activeElement) byId("canvas").focus({ preventScroll: true });
    });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) work.drafts.send();
    });
  }

  show() {
    const item = this.work.current;
    this.hand.leave();
    this.undoChip?.();
    byId("banner").hidden = true;
    document.body.dataset.state = item && !item.broken ? "task" : item ? "broken" : this.work.state;
    document.body.dataset.mode = item?.task.mode ?? "";
    byId("question").hidden = true;
    if (!item) {
      this.bench.clear();
      showScreen(this.work.state, this.work.why, this.outbox.entries.length, this.work.leave);
    } else if (item.broken) {
      this.bench.clear();
      showBroken(item.broken, { skip: () => this.answer("declined"), cannotTell: () => this.answer("cannot_tell") });
    } else {
      hideScreen();
      this.open(item);
    }
    this.actions.build();
    this.toolbar.update();
    this.offerUndo();
  }

  open(item) {
    const { task } = item;
    const readOnly = task.mode === "verify";
    const state = readOnly ? task.proposal : (item.draft?.state ?? task.proposal);
    this.bench.show(item, state ?? null, { readOnly });
    this.bench.dirty = !readOnly && Boolean(item.draft);
    this.panel.render();
    tellQuestion(task, this.bench);
    if (!document.activeElement?.matches("input[type=search]")) byId("canvas").focus({ preventScroll: true });
    announce(`New image, ${task.width} by ${task.height} pixels.`);
    if (item.lost) this.lost();
  }

  /** Give an answer to what is shown. */
  answer(outcome) {
    const { work, bench } = this;
    const { task, broken } = work.current;
    const state = broken ? null : bench.state();
    let said = outcome;
    let payload = null;
    if (outcome === "label") payload = task.mode === "verify" ? task.proposal : state;
    if (outcome === "empty" && !this.form.empty_allowed) {
      // Masks say that there is nothing by having no region.
      said = "label";
      const [mask] = bench.editors;
      mask.load([]);
      payload = bench.state();
    }
    this.lastSaid = task.mode === "verify" && outcome === "label" ? "Yes" : this.worded(outcome, payload);
    work.answer(said, payload, state);
  }

  worded(outcome, payload) {
    const only = this.form.primitives.length === 1 && this.form.primitives[0].kind === "choice";
    return outcome === "label" && only ? [payload[this.form.primitives[0].name]].flat().join(", ") : SAID[outcome];
  }

  /** As long as the last answer waits, it can be taken back. */
  offerUndo() {
    const last = this.outbox.entries.at(-1);
    if (!last || last.task !== this.work.answered?.task.id || !(last.due > Date.now()) || this.work.ahead) return;
    const left = Math.min(GRACE_MS, last.due - Date.now()) / 1000;
    this.undoChip = toast(`Sent in a moment: ${this.lastSaid}`, {
      kind: "undo",
      seconds: left,
      action: { text: "Undo", key: "Z", run: () => this.takeBack() },
    });
  }

  takeBack() {
    if (!this.work.takeBack(this.work.current && !this.work.current.broken ? this.bench.state() : null)) return false;
    announce("Taken back.");
    return true;
  }

  /** Somebody else may have the image now. */
  lost() {
    if (!this.bench.dirty) {
      toast("You were away for a while, so the image went to somebody else. Here is another one.", { seconds: 8 });
      return this.work.giveUp();
    }
    const banner = byId("banner");
    banner.hidden = false;
    banner.replaceChildren(
      h("span", {
        text: "Your time for this image has run out, and somebody else may have it. The first answer counts.",
      }),
      button("Go on without", { run: () => this.work.giveUp() }),
    );
    announce(banner.textContent);
  }
}

async function start() {
  fillIcons();
  showScreen("loading", "", 0);
  for (;;) {
    try {
      const app = new App(await get("/api/form"));
      app.show();
      setUpProgress(app.work, app.outbox);
      await app.work.start();
      return app;
    } catch (error) {
      if (error instanceof Refused) return showScreen(error.status === 401 ? "signedout" : "blocked", error.message, 0);
      if (!(error instanceof Unreachable)) throw error;
      showScreen("offline", "", 0);
      await pause(2000);
    }
  }
}

/** The running page, for tests and measurements. */
export const app = start();
