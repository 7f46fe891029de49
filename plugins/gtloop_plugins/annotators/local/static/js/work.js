// What to do next: the task in work, the one fetched ahead, their leases, drafts and answers.

import { Refused, Unreachable, connection, pause, picture, post } from "./api.js";

const HOLD = 2;
const LEAST_RENEW_MS = 1000;
const MOST_RENEW_MS = 60_000;
const DRAFT_KEEP_MS = 300;
const DRAFT_SEND_MS = 2500;
const MOST_DRAFT = 900_000;

/**
 * Fires `show` (`current` has changed; it may be null, then `state` says why: loading, wait, offline, done, blocked,
 * signedout, with `why`), `lost` (the lease of `current` has run out) and `notice` with `detail.text`.
 */
export class Work extends EventTarget {
  constructor(outbox, store, clock) {
    super();
    Object.assign(this, { outbox, store, clock });
    this.current = this.ahead = null;
    this.state = "loading";
    this.why = "";
    this.failures = 0;
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
    const kept = await this.store.get(`draft/${task.id}`);
    const drafts = [kept, task.draft].filter((draft) => draft && typeof draft.at === "number");
    const item = { task, draft: drafts.sort((a, b) => b.at - a.at)[0] ?? null, bitmap: null, blob: null, broken: "" };
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
    this.dropDraft(item);
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
    this.keepDraft(item.draft.state);
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
      this.ask();
    }
  }

  release(tasks) {
    post("/api/release", { tasks }).catch(() => {});
  }

  // ------------------------------------------------------------------------------------------ drafts and leases

  /** Keep what is drawn: here at once, at the server a little later. `make` gives the state when it is time. */
  draftSoon(make) {
    const item = this.current;
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => {
      if (this.current === item) this.keepDraft(make());
    }, DRAFT_KEEP_MS);
  }

  keepDraft(state) {
    const item = this.current;
    item.draft = { at: Date.now(), seconds: this.clock.seconds, state };
    this.store.put(`draft/${item.task.id}`, item.draft);
    this.sending ??= setTimeout(() => this.sendDraft(), DRAFT_SEND_MS);
  }

  async sendDraft() {
    this.sending = null;
    const item = this.current;
    if (!item?.draft || item.sent === item.draft.at) return;
    item.sent = item.draft.at;
    if (JSON.stringify(item.draft).length > MOST_DRAFT) return;
    try {
      await post("/api/draft", { task: item.task.id, draft: item.draft });
    } catch (error) {
      if (error instanceof Refused && error.code === "lease_lost") this.lose([item.task.id]);
    }
  }

  dropDraft(item) {
    clearTimeout(this.keeping);
    clearTimeout(this.sending);
    this.sending = null;
    this.store.remove(`draft/${item.task.id}`);
  }

  renewSoon() {
    const lease = (this.current?.task.lease_s ?? 60) * 1000;
    setTimeout(async () => {
      // Who has left the page does not keep others from the image.
      if (this.held.length && this.clock.quiet < lease) await this.renew();
      this.renewSoon();
    }, Math.min(MOST_RENEW_MS, Math.max(LEAST_RENEW_MS, lease / 3)));
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
    this.dropDraft(this.current);
    this.next();
  }
}
