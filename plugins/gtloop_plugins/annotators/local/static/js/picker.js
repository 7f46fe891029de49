// Choosing a category: buttons with the keys 1 to 9, and a search where there are more.

import { button, h, icon } from "./dom.js";

const KEYED = 9;
const MOST_SHOWN = 200;

/** Whether all letters of a search come in a name, in order; the better the lower, Infinity: not at all. */
function fit(name, search) {
  const [a, b] = [name.toLowerCase(), search.toLowerCase()];
  const at = a.indexOf(b);
  if (at >= 0) return at;
  let from = -1;
  for (const letter of b) {
    from = a.indexOf(letter, from + 1);
    if (from < 0) return Infinity;
  }
  return 1000 + from;
}

export class Picker {
  /**
   * `names` in order, `colour(name)` if they have colours, `pick(name, bySearch)`, `isOn(name)`, and `note(name)`, a
   * short text beside a name.
   */
  constructor({ names, colour, pick, isOn, note = () => "", big = false, label = "Categories" }) {
    Object.assign(this, { names, colour, pick, isOn, note });
    this.list = h("div", { class: big ? "choices big" : "choices", role: "group", "aria-label": label });
    this.searchable = names.length > KEYED;
    this.search = h("input", {
      type: "search",
      placeholder: `Search ${names.length} names`,
      "aria-label": "Search categories",
      autocomplete: "off",
      spellcheck: "false",
      on: {
        input: () => {
          this.lit = 0;
          this.render();
        },
        keydown: (event) => this.typed(event),
      },
    });
    this.field = h("label", { class: "search" }, this.search, h("kbd", { text: "/", "aria-hidden": "true" }));
    this.element = h("div", { class: "picker" }, this.searchable ? this.field : null, this.list);
    this.lit = 0;
    this.render();
  }

  get shown() {
    const search = this.search.value.trim();
    if (!search) return this.names;
    const rated = this.names.map((name) => [fit(name, search), name]).filter(([rate]) => rate < Infinity);
    return rated.sort((a, b) => a[0] - b[0]).map(([, name]) => name);
  }

  typed(event) {
    const { shown } = this;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) this.lit = Math.min(shown.length - 1, Math.max(0, this.lit + step));
    else if (event.key === "Enter" && shown[this.lit]) this.found(shown[this.lit]);
    else if (event.key === "Escape") this.leave();
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.render();
  }

  found(name) {
    this.leave();
    this.pick(name, true);
  }

  leave() {
    this.search.value = "";
    this.search.blur();
    document.getElementById("canvas").focus({ preventScroll: true });
    this.render();
  }

  /** Pick by the key 1 to 9; false where there is no such name. */
  byKey(digit) {
    const name = this.shown[digit - 1];
    if (name === undefined) return false;
    if (this.search.value) this.leave();
    this.pick(name, false);
    return true;
  }

  render() {
    const { shown } = this;
    const searching = Boolean(this.search.value.trim());
    const rows = shown.slice(0, MOST_SHOWN).map((name, n) => this.row(name, n, searching && n === this.lit));
    if (shown.length > MOST_SHOWN)
      rows.push(h("p", { class: "soft", text: `and ${shown.length - MOST_SHOWN} more; search` }));
    if (!shown.length) rows.push(h("p", { class: "soft", text: "No category has these letters." }));
    // A press of a button must not lose the focus to a new button.
    const focused = [...this.list.children].indexOf(document.activeElement);
    this.list.replaceChildren(...rows);
    if (focused >= 0) rows[focused]?.focus?.({ preventScroll: true });
    this.list.querySelector(".lit, [aria-pressed=true]")?.scrollIntoView({ block: "nearest" });
  }

  row(name, n, lit) {
    const on = this.isOn(name);
    const row = button("", {
      run: () => (this.search.value ? this.found(name) : this.pick(name, false)),
      pressed: on,
      kind: `choice${lit ? " lit" : ""}`,
      title: name,
    });
    const swatch = this.colour ? h("span", { class: "swatch" }) : "";
    if (swatch) swatch.style.background = this.colour(name);
    const note = this.note(name);
    row.replaceChildren(
      swatch,
      h("span", { class: "cut", text: name }),
      note ? h("span", { class: "note", text: note }) : "",
      n < KEYED ? h("kbd", { text: n + 1, "aria-hidden": "true" }) : "",
      on ? icon("check") : "",
    );
    return row;
  }
}
