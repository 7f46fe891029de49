// What to do next: the task in work, the one fetched ahead, their leases, drafts and answers.

import { Drafts } from "./drafts.js";
import { Refused, Unreachable, connection, pause, picture, post } from "./api.js";

const HOLD = 2;
const LEAST_RENEW_MS = 1000;
const MOST_RENEW_MS = 60_000;

/**
 * Fires `show` (`current` has changed; it may be null, then `state` says why: loading, wait, offline, done, blocked,
 * signedout, with `why`), `lost` (the lease of `current` has run out) and `notice` with `detail.text`.
 */
export class Work extends EventTarget {
  constructor(outbox, store, clock) {
    super();
    Object.assign(this, { outbox, clock });
    this.current = this.ahead = null;
    this.state = "loading";
    this.why = "";
    this.leave = null;
    this.failures = 0;
    this.drafts = new Drafts(store, clock, (task) => this.lose([task]));
    outbox.addEventListener("sent", () => this.ask());
    outbox.addEventListener("refused", (event) => {
      this.notice(`An answer was not needed: ${event.detail.text}.`);
      this.ask();
    });
    outbox.addEventListener("rejected", (event) => this.reopen(event.detail));
    outbox.addEventListener("signedout", (event) => this.idle("signedout", event.detail.text));
    addEventListener("online", () => this.ask());
    connection.addEventListener("change", () => {
      if (connection.online) this.ask();
      else if (!this.current) this.idle("offline");
    });
  }

  notice(text) {
    this.dispatchEvent(new CustomEvent("notice", { detail: { text } }));
  }

  async start() {
    await this.outbox.load();
    this.ask();
    this.renewSoon();
  }

  get held() {
    return [this.current, this.ahead].filter(Boolean).map((item) => item.task.id);
  }

  // ------------------------------------------------------------------------------------------ fetching

  /** Fetch what is missing, one request at a time. */
  async ask() {
    clearTimeout(this.timer);
    if (this.asking) {
      this.again = true;
      return;
    }
    if (this.state === "signedout" || this.held.length + this.outbox.tasks.length >= HOLD) return;
    if (!this.current && !connection.online) this.idle("offline");
    this.asking = true;
    let retry = null;
    try {
      retry = await this.fetchOne([...this.held, ...this.outbox.tasks]);
      this.failures = 0;
    } catch (error) {
      retry = this.failed(error);
    }
    this.asking = false;
    if (this.again) {
      this.again = false;
      this.ask();
    } else if (retry !== null) {
      this.timer = setTimeout(() => this.ask(), retry);
    }
  }

  /** Milliseconds after which to ask again; null: no need to. */
  async fetchOne(holding) {
    const said = await post("/api/next", { holding });
    if (said.state === "task") {
      if ([...this.held, ...this.outbox.tasks].includes(said.task.id)) return 500;
      const item = await this.load(said.task);
      if (this.current) this.ahead = item;
      else this.put(item);
      return 0;
    }
    this.leave = said.leave ?? null;
    if (!this.current) this.idle(said.state, said.why);
    if (said.state === "done") return 15_000;
    return (said.retry_s ?? 10) * 1000;
  }

  failed(error) {
    if (error instanceof Unreachable) {
      if (!this.current) this.idle("offline");
      this.failures += 1;
      return Math.min(15_000, 500 * 2 ** this.failures);
    }
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401 || error.code === "bad_csrf") {
      this.outbox.stopped = true;
      this.idle("signedout", error.message);
      return null;
    }
    if (!this.current) this.idle("wait", error.message);
    return 5000;
  }

  /** A task with its picture and its draft: `{task, blob, bitmap, draft, broken}`. */
  async load(task) {
    const item = { task, draft: await this.drafts.newest(task), bitmap: null, blob: null, broken: "" };
    while (!item.bitmap && !item.broken) {
      try {
        item.blob = await picture(task.image);
        item.bitmap = await createImageBitmap(item.blob);
        if (!task.width) Object.assign(task, { width: item.bitmap.width, height: item.bitmap.height });
      } catch (error) {
        if (error instanceof Unreachable) {
          if (!this.current) this.idle("offline");
          await pause(1500);
        } else {
          item.broken = error instanceof Refused ? error.message : "this browser can't show the image";
        }
      }
    }
    return item;
  }

  put(item) {
    this.current = item;
    this.state = item ? "task" : connection.online ? "loading" : "offline";
    this.clock.restart(item?.draft?.seconds ?? 0);
    this.dispatchEvent(new Event("show"));
  }

  idle(state, why = "") {
    if (this.state === state && this.why === why && !this.current) return;
    if (state === "signedout" || state === "blocked") this.current = this.ahead = null;
    this.state = state;
    this.why = why;
    this.dispatchEvent(new Event("show"));
  }

  // ------------------------------------------------------------------------------------------ answering

  /** Answer the task in work and go on; `state` is what the bench shows, in case the answer is taken back. */
  async answer(outcome, payload, state) {
    const item = this.current;
    const seconds = this.clock.seconds;
    this.drafts.drop(item);
    item.draft = { at: Date.now(), seconds, state };
    this.answered = item;
    const kept = this.outbox.add({ task: item.task.id, outcome, payload, active_seconds: seconds });
    this.next();
    await kept;
  }

  next() {
    const { ahead } = this;
    this.ahead = null;
    this.put(ahead);
    this.ask();
  }

  /** The last answer again, where it has not been sent; the task that is shown waits. */
  takeBack(state) {
    const item = this.answered;
    if (!item || this.outbox.entries.at(-1)?.task !== item.task.id) return false;
    if (this.ahead || !this.outbox.takeBack()) return false;
    if (this.current) this.current.draft = { at: Date.now(), seconds: this.clock.seconds, state };
    this.ahead = this.current;
    this.answered = null;
    this.put(item);
    this.drafts.keep(item, item.draft.state);
    return true;
  }

  /** An answer does not fit, says the server: show it again. */
  reopen({ entry, text }) {
    const item = this.answered;
    this.notice(`Not accepted: ${text}.`);
    if (item?.task.id === entry.task) {
      if (this.ahead) this.release([this.ahead.task.id]);
      this.ahead = this.current;
      this.put(item);
    } else {
      this.drafts.restore(entry).then(() => this.ask());
    }
  }

  release(tasks) {
    post("/api/release", { tasks }).catch(() => {});
  }

  // ------------------------------------------------------------------------------------------ leases

  renewSoon() {
    const lease = (this.current?.task.lease_s ?? 60) * 1000;
    setTimeout(
      async () => {
        // Who has left the page does not keep others from the image.
        if (this.held.length && this.clock.quiet < lease) await this.renew();
        this.renewSoon();
      },
      Math.min(MOST_RENEW_MS, Math.max(LEAST_RENEW_MS, lease / 3)),
    );
  }

  async renew() {
    try {
      this.lose((await post("/api/renew", { tasks: this.held })).lost);
    } catch (error) {
      if (error instanceof Refused && error.status === 401) this.failed(error);
    }
  }

  lose(tasks) {
    if (this.ahead && tasks.includes(this.ahead.task.id)) {
      this.ahead = null;
      this.ask();
    }
    if (this.current && tasks.includes(this.current.task.id) && !this.current.lost) {
      this.current.lost = true;
      this.dispatchEvent(new Event("lost"));
    }
  }

  /** Go on without an answer. */
  giveUp() {
    if (!this.current) return;
    this.drafts.drop(this.current);
    this.next();
  }
}
