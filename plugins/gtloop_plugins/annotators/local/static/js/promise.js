// What the run promises of machine labels, in words and as bars.

import { h } from "./dom.js";

const percent = (value) => `${(100 * value).toFixed(1)}%`;

function bar(name, value, target, look) {
  const fill = h("span");
  fill.style.width = percent(Math.min(1, Math.max(0, value)));
  const rail = h("span", { class: "rail" }, fill);
  if (Number.isFinite(target)) {
    const mark = h("i", { title: `target ${target}` });
    mark.style.left = percent(target);
    rail.append(mark);
  }
  return h(
    "div",
    { class: `scale ${look}` },
    h("span", { text: name }),
    h("span", { class: "n", text: value.toFixed(3) }),
    rail,
  );
}

function words(promise, machine) {
  const { metric, target, delta, certified, estimated, kind, max_loss: loss } = promise;
  const risk = `, wrong with probability at most ${delta}`;
  const aim =
    kind === "selective"
      ? `Machine labels are taken only where ${metric} is certified to be at least ${target}${risk}.`
      : `The mean loss of all labels is to stay below ${loss}${risk}.`;
  if (certified !== null)
    return [
      aim,
      `So far: certified at least ${certified.toFixed(3)}, estimated ${(estimated ?? certified).toFixed(3)}.`,
    ];
  if (machine && estimated !== null) return [aim, `So far: estimated ${estimated.toFixed(3)}, not certified.`];
  return [aim, "So far no machine labels are certified."];
}

/** Fill a box with the promise of a run's status. */
export function showPromise(box, status) {
  const { promise, items } = status;
  box.closest("section").hidden = !promise;
  if (!promise) return;
  const target = promise.kind === "selective" ? promise.target : 1 - promise.max_loss;
  const bars = [
    ["certified", promise.certified, "certified"],
    ["estimated", promise.estimated, ""],
    ["measured", promise.measured, ""],
  ]
    .filter(([, value]) => typeof value === "number")
    .map(([name, value, look]) => bar(name, value, target, look));
  const why = promise.why
    ? promise.why[0].toUpperCase() + promise.why.slice(1) + (/[.!?]$/.test(promise.why) ? "" : ".")
    : "";
  const looks = promise.looks === 1 ? "1 look" : `${promise.looks} looks`;
  box.replaceChildren(
    ...words(promise, items?.machine ?? 0).map((text) => h("p", { text })),
    ...bars,
    ...(why ? [h("p", { class: "soft", text: why })] : []),
    h("p", { class: "soft", text: `${looks} so far; ${promise.delta_spent} of ${promise.delta} spent.` }),
  );
}
