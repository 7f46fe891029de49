// One listener for all keys. A binding: {keys, text, group, when, run}; the first that fits and applies runs.

const SPOKEN = {
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
  Delete: "Del",
  Escape: "Esc",
  " ": "Space",
};

/** The name of what was pressed, such as `Ctrl+Shift+z`, `Alt+ArrowUp`, `?`; Cmd counts as Ctrl. */
export function pressed(event) {
  let key = event.key;
  // Digits work on keyboards where they need Shift, too (AZERTY).
  if (/^Digit[1-9]$/.test(event.code) && !event.shiftKey && !/^\d$/.test(key)) key = event.code.slice(5);
  // Letters go by their place where the layout has no Latin ones.
  if (key.length === 1 && key > "\u024f" && /^Key[A-Z]$/.test(event.code)) key = event.code.slice(3);
  const letter = key.length === 1;
  if (letter) key = key.toLowerCase();
  const symbol = letter && key.toUpperCase() === key;
  const parts = [
    (event.ctrlKey || event.metaKey) && "Ctrl",
    event.altKey && "Alt",
    event.shiftKey && !(symbol && key !== " ") && "Shift",
    key,
  ];
  return parts.filter(Boolean).join("+");
}

/** How a key is written for people. */
export function spoken(name) {
  return (
    name
      .split("+")
      .map((part) => SPOKEN[part] ?? (part.length === 1 ? part.toUpperCase() : part))
      .join(" + ") || "+"
  );
}

const typing = (element) => element?.matches?.("input:not([type=range]), textarea, select, [contenteditable]");

export class Keys {
  constructor() {
    this.layers = [];
    addEventListener("keydown", (event) => this.down(event));
    // The frame round the picture helps who goes by Tab; others know where they are.
    addEventListener(
      "keydown",
      (event) => {
        if (event.key === "Tab") document.body.classList.add("by-keyboard");
      },
      true,
    );
    addEventListener("pointerdown", () => document.body.classList.remove("by-keyboard"), true);
  }

  /** Add bindings; they come before those that are there. Returns what takes them away again. */
  add(bindings) {
    this.layers.unshift(bindings);
    return () => {
      this.layers = this.layers.filter((layer) => layer !== bindings);
    };
  }

  down(event) {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    const name = pressed(event);
    const inField = typing(event.target);
    for (const binding of this.layers.flat()) {
      if (!binding.keys.includes(name) || (inField && !binding.inField)) continue;
      // Enter and Space press the button that has the focus.
      if (["Enter", " "].includes(name) && event.target.closest?.("button, a, summary")) return;
      if (event.repeat && binding.once) return event.preventDefault();
      if (binding.when && !binding.when()) continue;
      if (binding.run(event) === false) continue;
      event.preventDefault();
      return;
    }
  }

  /** Bindings that apply now, by group, for the overlay: [[group, [[keys, text], ...]], ...]. */
  described() {
    const groups = new Map();
    const seen = new Set();
    for (const binding of this.layers.flat()) {
      if (!binding.text || seen.has(binding.text) || (binding.listed && !binding.listed())) continue;
      seen.add(binding.text);
      const group = binding.group ?? "Everywhere";
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push([binding.shown ?? binding.keys.map(spoken), binding.text]);
    }
    return [...groups];
  }
}
