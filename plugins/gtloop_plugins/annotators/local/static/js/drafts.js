// What is drawn and not sent: kept in this browser at once, at the server a little later.

import { Refused, post } from "./api.js";

const KEEP_MS = 300;
const SEND_MS = 2500;
const MOST_BYTES = 900_000;
const LAST = "gtloop.last";
const FORGOTTEN_MS = 14 * 86_400_000; // nobody comes back to a drawing of that age, and the disk is theirs

const isDraft = (draft) => draft && typeof draft.at === "number";

/** A draft is `{at, seconds, state}`; `lost(task)` is called where the server says that somebody else has the image. */
export class Drafts {
  constructor(store, clock, lost) {
    Object.assign(this, { store, clock, lost });
    this.pending = null;
    addEventListener("pagehide", () => this.leave());
    store.prune("draft/", (draft) => draft.at < Date.now() - FORGOTTEN_MS);
  }

  /** The newest draft of a task, of those kept here and the server's; null: none. */
  async newest(task) {
    const found = [await this.store.get(`draft/${task.id}`), task.draft, this.left(task.id)].filter(isDraft);
    return found.sort((a, b) => b.at - a.at)[0] ?? null;
  }

  /** Keep what is drawn on an item soon; `make` gives the state when it is time. */
  soon(item, make) {
    clearTimeout(this.timer);
    this.pending = { item, make };
    this.timer = setTimeout(() => {
      this.pending = null;
      this.keep(item, make());
    }, KEEP_MS);
  }

  keep(item, state) {
    item.draft = { at: Date.now(), seconds: this.clock.seconds, state };
    this.latest = item;
    this.store.put(`draft/${item.task.id}`, item.draft);
    this.sending ??= setTimeout(() => this.send(), SEND_MS);
  }

  /** An answer that was not accepted is a draft again. */
  async restore({ task, payload, active_seconds: seconds }) {
    await this.store.put(`draft/${task}`, { at: Date.now(), seconds, state: payload });
  }

  /** Hand the latest draft to the server; that renews the lease, too. */
  async send() {
    clearTimeout(this.sending);
    this.sending = null;
    const item = this.latest;
    if (!item || item.sent === item.draft.at) return;
    item.sent = item.draft.at;
    if (JSON.stringify(item.draft).length > MOST_BYTES) return;
    try {
      await post("/api/draft", { task: item.task.id, draft: item.draft });
    } catch (error) {
      if (error instanceof Refused && error.code === "lease_lost") this.lost(item.task.id);
    }
  }

  /** The item is answered, or given up. */
  drop(item) {
    clearTimeout(this.timer);
    clearTimeout(this.sending);
    this.pending = this.latest = this.sending = null;
    this.store.remove(`draft/${item.task.id}`);
  }

  /** The page goes: only what is written at once is sure to be kept. */
  leave() {
    const { item, make } = this.pending ?? { item: this.latest, make: () => this.latest.draft.state };
    if (!item) return;
    const draft = { at: Date.now(), seconds: this.clock.seconds, state: make() };
    try {
      localStorage.setItem(LAST, JSON.stringify({ task: item.task.id, draft }));
    } catch {
      /* too large: what was kept before has to do */
    }
  }

  left(task) {
    try {
      const last = JSON.parse(localStorage.getItem(LAST));
      return last?.task === task ? last.draft : null;
    } catch {
      return null;
    }
  }
}
