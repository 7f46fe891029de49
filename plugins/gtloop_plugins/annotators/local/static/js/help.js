// The overlay that shows all keys.

import { button, byId, h } from "./dom.js";

/** Lets a button and `?` open the overlay of what `keys` knows at that moment. */
export function setUpHelp(keys) {
  const dialog = byId("help");
  const open = () => {
    dialog.replaceChildren(
      h(
        "header",
        {},
        h("h2", { id: "help-title", text: "Keys" }),
        button("Close", { key: "Esc", run: () => dialog.close(), kind: "quiet" }),
      ),
      h(
        "div",
        { class: "key-groups" },
        keys.described().map(([group, rows]) =>
          h(
            "section",
            {},
            h("h3", { text: group }),
            h(
              "dl",
              {},
              rows.map(([names, text]) =>
                h(
                  "div",
                  {},
                  h(
                    "dt",
                    {},
                    names.map((name) => h("kbd", { text: name })),
                  ),
                  h("dd", { text }),
                ),
              ),
            ),
          ),
        ),
      ),
      h("p", { class: "soft", text: "Touch: one finger draws, two fingers move and zoom the picture." }),
    );
    byId("canvas").focus({ preventScroll: true }); // where the focus is to return to
    dialog.showModal();
  };
  byId("help-button").addEventListener("click", open);
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "?") dialog.close();
  });
  return { keys: ["?"], text: "show or hide this overview", run: open };
}
