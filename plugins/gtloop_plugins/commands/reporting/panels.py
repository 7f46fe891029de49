"""Which plots a run has something to show in, with the words that go with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gtloop.plots import Draw
from gtloop_plugins.commands.reporting import audits, figures
from gtloop_plugins.commands.reporting.measure import (
    Facts,
    Floats,
    Measured,
    by_confidence,
    by_figure,
    called,
    category_counts,
    confusion,
)


@dataclass(frozen=True)
class Plot:
    """A plot of the page: file name, heading, what one sees, and its size in inches."""

    name: str
    title: str
    caption: str
    draw: Draw
    size: tuple[float, float] = (9.2, 3.1)


def plots(facts: Facts, categories_of_run: Sequence[str]) -> list[Plot]:
    """The plots that this run has something to show in, in the order of the page."""
    masks = any("regions" in m.label.payload for m in facts.measured)
    things = "categories" if masks else "objects"
    found = _of_iterations(facts, things) + _of_audits(facts) + _of_quality(facts)
    counts = category_counts(facts.measured, categories_of_run)
    named = [m.objects for m in facts.measured]
    if named and max(named) > 1:
        human, machine = ([m.objects for m in facts.of(s)] for s in ("human", "machine"))
        found.append(
            Plot(
                "objects",
                f"{things.capitalize()} in an image",
                f"How many images have a label with so many {things}.",
                figures.objects(human, machine, things),
            )
        )
    return found + _of_categories(facts, counts, categories_of_run, masks) + _of_people(facts)


def _of_iterations(facts: Facts, things: str) -> list[Plot]:
    status = facts.status
    iterations = [i for i in status["iterations"] if i["human"] or i["machine"] or i["cost_usd"]]
    if not iterations:
        return []
    objects = any(i["objects"][s] != i[s] for i in iterations for s in ("human", "machine"))
    words = f": images on the left, the {things} in them on the right." if objects else "."
    caption = "Labels that each iteration brought" + words
    found = [Plot("iterations", "Who labelled when", caption, figures.progress(iterations, things if objects else ""))]
    cost = status["cost_usd"]
    if cost["if_all_human"]:
        machine_fee = cost["machine"] / max(1, status["items"]["machine"])
        found.append(
            Plot(
                "cost",
                "What it cost",
                "Dollars paid in each iteration, and their sum against what people would have cost for every image.",
                figures.cost(iterations, machine_fee, cost["if_all_human"]),
            )
        )
    return found


def _of_quality(facts: Facts) -> list[Plot]:
    promise = facts.status["promise"]
    metric = promise["metric"]
    points = {s: _columns(facts.of(s)) for s in ("human", "machine")}
    points = {s: p for s, p in points.items() if len(p[0])}
    if not points:
        return []
    quality = {s: points[s][1] if s in points else np.zeros(0) for s in ("human", "machine")}
    of = "machine" if "machine" in points else "human"
    selective = promise["kind"] == "selective" and "machine" in points
    words = " The promise is about the mean of the machine labels, not about every one." if selective else ""
    return [
        Plot(
            "quality",
            "Quality against the truth",
            f"Images by {metric} in 16 bins.{words}",
            figures.histogram(quality, promise["target"], metric),
        ),
        Plot(
            "confidence",
            "Does confidence know?",
            "Left, every image with the least-squares line of each source; confidences of people and machine are on "
            "different scales. Right, groups of equal size, from the surest to the least sure: where confidence "
            "is of use, quality falls.",
            figures.confidence(points, by_confidence(*points[of]), metric, of),
        ),
    ]


def _of_audits(facts: Facts) -> list[Plot]:
    shown = facts.audits[: audits.SHOWN]
    if not shown:
        return []
    promise = facts.status["promise"]
    line = "" if promise["target"] is None else " The dashed line is what was promised."
    sure, every = 1 - promise["delta"], promise["audit"]["sure"]
    others = f", those of all regions with {every:g} at least" if every < sure - 1e-6 else ""
    caption = (
        "Machine labels that people have checked, blind and in a random order: their mean, and the bounds of the mean "
        f"of all that were accepted. All bounds of a region hold at once with probability {sure:g}{others}.{line}"
    )
    draw = audits.running_bound(shown, promise["target"], promise["metric"])
    return [Plot("audit", "Audited", caption, draw)]


def _columns(measured: Sequence[Measured]) -> tuple[Floats, Floats]:
    known = [(m.label.confidence, m.quality) for m in measured if m.quality is not None]
    table = np.array(known, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _of_people(facts: Facts) -> list[Plot]:
    known = [] if facts.people is None else [w for w in facts.people.workers if w.quality is not None]
    if not known:
        return []
    timed = all(w.seconds is not None for w in known)
    words = "the median time of an answer" if timed else "the number of answers"
    caption = (
        f"Every person by {words} and by quality: how far their answers agree with the label that the other people's "
        "answers to the same image make. Larger dots have more answers; ringed and named ones stand out."
    )
    return [Plot("people", "People", caption, figures.people(known, timed, facts.status["promise"]["metric"]))]


def _of_categories(
    facts: Facts, counts: Mapping[str, Mapping[str, int]], order: Sequence[str], masks: bool
) -> list[Plot]:
    found = []
    labelled = [c for c in counts if counts[c]["human"] + counts[c]["machine"]]
    if len(labelled) > 1 or (labelled and len(counts) > 1):
        shown = min(len(counts), figures.MAX_CATEGORIES)
        cut = (
            f" The {figures.MAX_CATEGORIES} most frequent of {len(counts)}."
            if len(counts) > figures.MAX_CATEGORIES
            else ""
        )
        mark = " The green mark is the true number in the same images." if facts.truth else ""
        what = "Images that show a category," if masks else "Objects of every category"
        caption = f"{what} by who labelled them.{mark}{cut}"
        plot = figures.categories(counts, facts.truth is not None)
        found.append(Plot("categories", "Categories", caption, plot, (9.2, 1.1 + 0.3 * shown)))
    everything = confusion(facts.measured, order)
    if everything is None:
        found += _of_figures(facts, figures.most_frequent(counts))
    else:
        names = everything[0]
        tables = {s: confusion(facts.of(s), names) for s in ("human", "machine")}
        panels = [(s, t[1]) for s, t in tables.items() if t is not None]
        size = (9.2, min(9.0, 2.2 + 0.32 * len(names)))
        caption = (
            "Rows are the truth, columns the label, numbers are images; a stronger colour is a larger share of its row."
        )
        found.append(Plot("confusion", "What is taken for what", caption, figures.confusion(names, panels), size))
    return found


def _of_figures(facts: Facts, names: Sequence[str]) -> list[Plot]:
    """The task's figures of every category, where it has some."""
    evaluation = facts.status["evaluation"] or {}
    panels: dict[str, dict[str, dict[str, float | None]]] = {}
    for source in ("human", "machine"):
        for figure, values in by_figure(evaluation.get(source, {})).items():
            panels.setdefault(called(figure), {})[source] = values
    known = [c for c in names if any(c in values for by in panels.values() for values in by.values())]
    if not known:
        return []
    title = " and ".join(panels) + " of every category"
    caption = "Labels of people and of the machine against the truth, each over all its images together."
    return [Plot("figures", title, caption, figures.by_category(known, panels), (9.2, 1.1 + 0.38 * len(known)))]
