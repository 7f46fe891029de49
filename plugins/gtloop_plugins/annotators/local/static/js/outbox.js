// Answers on their way: kept on disk until the server has them, held back a moment so that a slip can be undone.

import { Refused, Unreachable, post } from "./api.js";

export const GRACE_MS = 3000;
const LONGEST_WAIT_MS = 15_000;

/**
 * Fires `change` (the number of waiting answers has changed), `sent`, `refused` (not wanted any more), `rejected` (does
 * not fit) and `signedout`; the last three with `detail.entry` and `detail.text`.
 */
export class Outbox extends EventTarget {
  constructor(store) {
    super();
    this.store = store;
    this.entries = [];
    this.sending = null;
    this.failures = 0;
    this.stopped = false;
    addEventListener("online", () => this.retry());
    // The page may go for good: what is held back is sent now, as long as the browser still lets us.
    addEventListener("pagehide", () => this.leave());
  }

  async load() {
    this.entries = (await this.store.all("answer/")).sort((a, b) => a.at - b.at);
    for (const entry of this.entries) Object.assign(entry, { due: 0, kept: true });
    this.changed();
    this.pump();
  }

  get tasks() {
    return this.entries.map((entry) => entry.task);
  }

  /** Keep an answer and send it after the moment of grace; those before it go now. */
  async add(answer) {
    for (const entry of this.entries) entry.due = 0;
    const entry = { ...answer, at: Date.now(), due: Date.now() + GRACE_MS };
    this.entries.push(entry);
    this.changed();
    this.pump();
    await this.store.put(`answer/${entry.task}`, entry);
    entry.kept = true; // on disk: only now may anybody be told so
    this.changed();
  }

  /** The last answer back, where it is not on its way yet; else null. */
  takeBack() {
    const entry = this.entries.at(-1);
    if (!entry || entry === this.sending || entry.due === 0) return null;
    this.entries.pop();
    this.store.remove(`answer/${entry.task}`);
    this.changed();
    return entry;
  }

  retry() {
    this.failures = 0;
    this.pump();
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  async pump() {
    clearTimeout(this.timer);
    if (this.sending || this.stopped || !this.entries.length) return;
    const entry = this.entries[0];
    const wait = entry.due - Date.now();
    if (wait > 0) {
      this.timer = setTimeout(() => this.pump(), wait);
      return;
    }
    this.sending = entry;
    const outcome = await this.send(entry);
    this.sending = null;
    if (outcome === "later") {
      this.failures += 1;
      this.timer = setTimeout(() => this.pump(), Math.min(LONGEST_WAIT_MS, 500 * 2 ** this.failures));
      this.changed();
    } else if (outcome !== "stop") {
      this.failures = 0;
      this.pump();
    }
  }

  async send(entry, options = {}) {
    try {
      const said = await post("/api/submit", wire(entry), options);
      await this.drop(entry);
      this.dispatchEvent(new CustomEvent("sent", { detail: { entry, progress: said.progress } }));
    } catch (error) {
      if (error instanceof Unreachable) return "later";
      if (!(error instanceof Refused)) throw error;
      if (error.status === 401 || (error.status === 403 && error.code !== "blocked")) {
        this.stopped = true;
        this.dispatchEvent(new CustomEvent("signedout", { detail: { entry, text: error.message } }));
        return "stop";
      }
      await this.drop(entry);
      const gone = error.status === 409 || error.status === 404 || error.status === 403;
      const detail = { entry, text: error.message };
      this.dispatchEvent(new CustomEvent(gone ? "refused" : "rejected", { detail }));
    }
    return "done";
  }

  async drop(entry) {
    this.entries = this.entries.filter((e) => e !== entry);
    this.changed();
    await this.store.remove(`answer/${entry.task}`);
  }

  leave() {
    if (this.stopped) return;
    for (const entry of this.entries.filter((e) => e !== this.sending)) {
      post("/api/submit", wire(entry), { keepalive: true }).catch(() => {});
    }
  }
}

const wire = ({ task, outcome, payload, active_seconds }) => ({ task, outcome, payload, active_seconds });
