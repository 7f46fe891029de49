// What is shown in place of a picture: loading, waiting, done, blocked, offline, signed out.

import { button, byId, h, icon } from "./dom.js";

const SCREENS = {
  loading: { title: "Fetching the next image", busy: true },
  wait: { title: "Nothing to do right now", busy: true, text: "You can leave this page open." },
  offline: {
    title: "The server can't be reached",
    busy: true,
    iconName: "cloud",
    text: "What you have answered is kept in this browser, and is sent as soon as the server is back.",
  },
  done: { title: "All done", iconName: "check", text: "The run is over. Thank you for your work." },
  blocked: { title: "No more images for you", iconName: "hand" },
  signedout: {
    title: "You are signed out",
    iconName: "link",
    text: "Open your personal link again, or ask for a fresh one. What is not sent yet stays in this browser.",
  },
};

/**
 * Show the screen of a state, with the reason that the server gave, and how many answers wait here. `leave` is the way
 * back of somebody who came from elsewhere: {code, url, label}.
 */
export function showScreen(state, why, waiting, leave = null) {
  const { title, text = "", busy, iconName } = { ...(SCREENS[state] ?? SCREENS.wait), ...(leave ? { text: "" } : {}) };
  const kept = waiting ? `${waiting} ${waiting === 1 ? "answer waits" : "answers wait"} here to be sent.` : "";
  const screen = byId("screen");
  screen.hidden = false;
  screen.className = `screen ${state}`;
  screen.replaceChildren(
    busy ? h("div", { class: "spinner", "aria-hidden": "true" }) : h("div", { class: "medal" }, icon(iconName)),
    h("h1", { text: title }),
    ...[sentence(why), text, kept].filter(Boolean).map((line) => h("p", { text: line })),
    ...(leave?.code ? [h("p", {}, "Your code: ", h("code", { class: "code", text: leave.code }))] : []),
    ...(leave?.url ? [h("p", {}, h("a", { class: "button primary", href: leave.url, text: leave.label }))] : []),
  );
}

/** An image that can't be shown: it can only be passed on. */
export function showBroken(why, { skip, cannotTell }) {
  const screen = byId("screen");
  screen.hidden = false;
  screen.className = "screen broken";
  screen.replaceChildren(
    h("div", { class: "medal" }, icon("cross")),
    h("h1", { text: "This image can't be shown" }),
    h("p", { text: sentence(why) }),
    h(
      "div",
      { class: "row" },
      button("Skip it", { run: skip, kind: "primary", key: "S" }),
      button("Bad image", { run: cannotTell, key: "C" }),
    ),
  );
}

export const hideScreen = () => {
  byId("screen").hidden = true;
};

function sentence(text) {
  if (!text) return "";
  const first = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
