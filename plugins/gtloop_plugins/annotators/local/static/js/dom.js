// Making and filling elements. Text is set as text, never as HTML: names and instructions are hostile.

const ICONS = {
  book: "M4 5a2 2 0 0 1 2-2h5v18H6a2 2 0 0 1-2-2zM20 5a2 2 0 0 0-2-2h-5v18h5a2 2 0 0 0 2-2z",
  chart: "M4 20V4M4 20h16M8 16v-4M12 16V8M16 16v-6",
  keyboard: "M3 6h18v12H3zM7 10h.01M11 10h.01M15 10h.01M8 14h8",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4 21c0-4 3.6-6 8-6s8 2 8 6",
  pen: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  pause: "M8 5v14M16 5v14",
  undo: "M9 6L4 11l5 5M4 11h10a5 5 0 0 1 5 5v3",
  redo: "M15 6l5 5-5 5M20 11H10a5 5 0 0 0-5 5v3",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  box: "M5 5h14v14H5z",
  brush: "M20 4L10 14M10 14c-2-1-4 0-4.5 2S4 20 3 20c4 1 8 0 8-3 0-1.5-.4-2.300-1-3z",
  polygon: "M12 3l8 6-3 11H7L4 9z",
  polyline: "M3 18l6-9 6 5 6-9",
  point: "M12 5v14M5 12h14M12 12m-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0",
  eraser: "M9 20l-5-5L15 4l6 6-10 10zM9 20h11M8 11l6 6",
  fill: "M4 13l8-8 8 8-8 7zM12 5L9 2M21 16c1 2 1.5 3 0 4-1.5-1-1-2 0-4",
  void: "M12 12m-8 0a8 8 0 1 0 16 0a8 8 0 1 0-16 0M6.5 6.5l11 11",
  lock: "M6 11h12v9H6zM9 11V8a3 3 0 0 1 6 0v3",
  eye: "M2 12c3-5 6-7 10-7s7 2 10 7c-3 5-6 7-10 7s-7-2-10-7zM12 12m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  check: "M5 13l4 4L19 7",
  cross: "M6 6l12 12M18 6L6 18",
  cloud: "M7 18a4 4 0 0 1 0-8 5 5 0 0 1 9.600-1A4.5 4.5 0 0 1 17 18z",
  hand: "M8 13V6a1.5 1.5 0 0 1 3 0v5-7a1.5 1.5 0 0 1 3 0v7-5a1.5 1.5 0 0 1 3 0v8c0 4-2 7-6 7s-5-2-7-6l-1-3q1-1 3 1z",
  copy: "M8 8h11v12H8zM5 16V4h11",
  link: "M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1",
};

/** An element with attributes (`class`, `aria-label`, ...), `text`, `on` ({event: handler}) and children. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") element.textContent = value;
    else if (key === "on") for (const [event, run] of Object.entries(value)) element.addEventListener(event, run);
    else if (key === "value") element.value = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** A drawn icon; it says nothing to screen readers, so its button needs text or a label. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of [
    ["viewBox", "0 0 24 24"],
    ["class", "icon"],
    ["aria-hidden", "true"],
  ]) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name] ?? "");
  svg.append(path);
  return svg;
}

/** Put icons where a template asks for them. */
export function fillIcons(root = document) {
  for (const slot of root.querySelectorAll("[data-icon]")) slot.replaceChildren(icon(slot.dataset.icon));
}

/** A button with an icon, text, and the key that does the same. */
export function button(text, { run, iconName, key, kind = "", label, pressed, id, title } = {}) {
  const properties = { type: "button", class: kind, id, title, on: run ? { click: run } : {} };
  if (label) properties["aria-label"] = label;
  if (pressed !== undefined) properties["aria-pressed"] = String(pressed);
  return h(
    "button",
    properties,
    iconName ? icon(iconName) : null,
    text ? h("span", { text }) : null,
    key ? h("kbd", { text: key, "aria-hidden": "true" }) : null,
  );
}

export const byId = (id) => document.getElementById(id);

/** Say something to people who listen to the page. */
export function announce(text) {
  const live = byId("live");
  if (live.textContent === text) live.textContent = "";
  requestAnimationFrame(() => {
    live.textContent = text;
  });
}

/** A short message at the edge of the page; with `action` a button that is there as long as the message. */
export function toast(text, { kind = "", seconds = 5, action = null } = {}) {
  for (const old of byId("toasts").children) if (old.firstChild.textContent === text) old.remove();
  const note = h("div", { class: `toast ${kind}` }, h("span", { text }));
  const close = () => note.remove();
  if (action)
    note.append(
      button(action.text, {
        key: action.key,
        run: () => {
          close();
          action.run();
        },
      }),
    );
  byId("toasts").append(note);
  announce(text);
  if (seconds) setTimeout(close, seconds * 1000);
  return close;
}
