// How far it is and how fast; and whether answers are safe.

import { byId, h, icon } from "./dom.js";
import { connection, get } from "./api.js";

const EVERY_MS = 15_000;

function show(progress) {
  const { mine, today, per_hour: pace, left, total } = progress;
  const box = byId("progress");
  box.hidden = false;
  const done = total ? Math.min(1, Math.max(0, 1 - left / total)) : 0;
  const fill = h("span", { class: "fill" });
  fill.style.width = `${100 * done}%`;
  const figure = (value, unit, wide) =>
    h("span", { class: wide ? "figure wide" : "figure" }, h("b", { text: value }), ` ${unit}`);
  box.replaceChildren(
    h(
      "span",
      {
        class: "track",
        role: "progressbar",
        "aria-valuemin": 0,
        "aria-valuemax": total,
        "aria-valuenow": total - left,
        "aria-label": "This batch",
      },
      fill,
    ),
    figure(mine, "by you"),
    (today !== mine && figure(today, "today", true)) || "",
    pace ? figure(Math.round(pace), "an hour", true) : "",
    figure(left, "left"),
  );
}

/** Keeps the header up to date with the work and its outbox. */
export function setUpProgress(work, outbox) {
  let known = 0;
  const fetchNow = async () => {
    try {
      show(await get("/api/progress"));
    } catch {
      /* the next one will do */
    }
    known = Date.now();
  };
  outbox.addEventListener("sent", (event) => {
    if (event.detail.progress) show(event.detail.progress);
    known = Date.now();
  });
  setInterval(() => {
    if (!document.hidden && Date.now() - known > EVERY_MS) fetchNow();
  }, 2000);
  fetchNow();

  const sync = byId("sync");
  const tell = () => {
    const waiting = outbox.entries.length;
    const kept = outbox.entries.filter((entry) => entry.kept).length;
    const [kind, iconName, text] = !connection.online
      ? ["away", "cloud", kept ? `Offline · ${kept} kept here` : "Offline"]
      : waiting
        ? ["busy", "cloud", `Sending ${waiting}`]
        : ["safe", "check", "All sent"];
    if (sync.dataset.text === text) return;
    sync.dataset.text = text;
    sync.className = `sync ${kind}`;
    sync.replaceChildren(icon(iconName), h("span", { text }));
    sync.title = outbox.store.lasting ? "" : "This browser keeps nothing on disk: stay on this page until all is sent.";
  };
  connection.addEventListener("change", tell);
  outbox.addEventListener("change", tell);
  tell();
}
