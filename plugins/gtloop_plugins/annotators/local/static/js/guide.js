// Instructions, with pictures of how it is done and how not.

import { button, byId, fillIcons, h, icon } from "./dom.js";

const KEY = "gtloop.guide";

function remembered() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function remember(open) {
  try {
    localStorage.setItem(KEY, open ? "open" : "shut");
  } catch {
    /* then it opens again next time */
  }
}

const sample = ({ url, caption, good }) =>
  h(
    "figure",
    { class: good ? "good" : "bad" },
    h("img", { src: url, alt: caption || (good ? "A good example" : "A bad example"), loading: "lazy" }),
    h(
      "figcaption",
      {},
      h("span", { class: "verdict" }, icon(good ? "check" : "cross"), good ? "Right" : "Wrong"),
      caption ? h("span", { text: caption }) : null,
    ),
  );

/** Fills the guide of a form, open until it is shut once; gives its key. */
export function setUpGuide(form) {
  const guide = byId("guide");
  const opener = byId("guide-button");
  const show = (open) => {
    guide.hidden = !open;
    document.body.classList.toggle("guided", open);
    opener.setAttribute("aria-expanded", String(open));
  };
  const set = (open) => {
    show(open);
    remember(open);
    if (!open) byId("canvas").focus({ preventScroll: true });
  };
  guide.replaceChildren(
    h("header", {}, h("h2", { text: "Instructions" }), button("Got it", { run: () => set(false), kind: "quiet" })),
    h("div", { class: "instructions", text: form.instructions }),
    ...(form.samples.length ? [h("div", { class: "samples" }, form.samples.map(sample))] : []),
  );
  fillIcons();
  opener.addEventListener("click", () => set(guide.hidden));
  show(remembered() !== "shut");
  return { keys: ["i"], text: "show or hide the instructions", run: () => set(guide.hidden) };
}
