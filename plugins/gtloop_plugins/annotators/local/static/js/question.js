// What a reviewer is asked, above the picture.

import { byId } from "./dom.js";
import { verdictTag } from "./fields.js";

/** Ask about the label that is shown; nothing is asked where a person labels from nothing. */
export function tellQuestion(task, bench) {
  const box = byId("question");
  box.hidden = task.mode === "draw";
  if (box.hidden) return;
  const strong = Object.assign(document.createElement("strong"), {
    textContent: task.mode === "adjust" ? "Correct this label where it is wrong, then submit." : asked(bench),
  });
  const legend = bench.drawn
    .filter((editor) => editor.primitive.kind === "mask")
    .flatMap((editor) => editor.value())
    .map(({ category }) => verdictTag(category, bench.colour(category)));
  const tags = bench.beside.flatMap((editor) =>
    [editor.value()]
      .flat()
      .filter((value) => typeof value === "string" && value)
      .map((value) => verdictTag(value)),
  );
  box.replaceChildren(strong, ...(task.mode === "verify" ? [...tags, ...legend] : []));
}

function asked(bench) {
  if (!bench.count) return "The label says that there is nothing here. Is that right?";
  const parts = bench.drawn.filter((e) => e.count).map((e) => `${e.count} ${e.count === 1 ? e.noun : e.nouns}`);
  if (!parts.length) return "Is this right?";
  const names = new Set(bench.drawn.flatMap((e) => e.value().map((o) => o.category)));
  const what = names.size === 1 && [...names][0].length < 40 ? ` of “${[...names][0]}”` : "";
  return `${parts.join(", ")}${what}. Is everything there, and all of it right?`;
}
