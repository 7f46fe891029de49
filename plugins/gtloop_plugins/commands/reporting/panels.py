"""Which plots a run has something to show in, with the words that go with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gtloop.plots import Draw
from gtloop_plugins.commands.reporting import audits, categories, crowd, figures, learning, money, picking, risk
from gtloop_plugins.commands.reporting.groups import (
    SOURCES,
    by_confidence,
    by_figure,
    by_iteration,
    called,
    category_confidence,
    category_counts,
    columns,
)
from gtloop_plugins.commands.reporting.measure import Facts


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
    return [
        *_of_risk(facts),
        *_of_audits(facts),
        *_of_money(facts),
        *_of_iterations(facts, things),
        *_of_models(facts),
        *_of_picking(facts, things),
        *_of_quality(facts),
        *_of_objects(facts, things),
        *_of_categories(facts, categories_of_run, masks),
        *_of_people(facts),
    ]


def _of_risk(facts: Facts) -> Iterator[Plot]:
    promise = facts.status["promise"]
    looks = [look for look in facts.status["risk"] if look["spent"]]
    if not looks or promise["rule"] == "empirical":
        return
    tests = risk.tested(promise["certificates"])
    right = (
        " Right, every test that was made: it passes, filled, where its p is at most its share of delta, the upright "
        "mark; the share may be less than the look had, as images fall into slices."
        if tests
        else ""
    )
    caption = (
        f"The promise may be broken with a probability of {promise['delta']:g}, delta. Every look that tests spends "
        f"some of it, whether it passes or not; a look that was never made costs nothing.{right}"
    )
    draw = risk.spent(looks, promise["certificates"], promise["delta"])
    yield Plot("risk", "The risk", caption, draw, (9.2, 2.6 + 0.12 * len(tests)))


def _of_audits(facts: Facts) -> Iterator[Plot]:
    shown = facts.audits[: audits.SHOWN]
    if not shown:
        return
    promise = facts.status["promise"]
    line = "" if promise["target"] is None else " The dashed line is what was promised."
    sure, every = 1 - promise["delta"], promise["audit"]["sure"]
    others = f", those of all regions with {every:g} at least" if every < sure - 1e-6 else ""
    caption = (
        "Machine labels that people have checked, blind and in a random order: their mean, and the bounds of the mean "
        f"of all that were accepted. All bounds of a region hold at once with probability {sure:g}{others}.{line}"
    )
    yield Plot("audit", "Audited", caption, audits.running_bound(shown, promise["target"], promise["metric"]))


def _of_money(facts: Facts) -> Iterator[Plot]:
    cost, hours = facts.status["cost_usd"], facts.status["hours"]
    if cost["if_all_human"]:
        caption = "What was paid, and for what, above what people alone would have cost by the same worker policy."
        if not money.unpriced(facts.status["money"]):
            caption += (
                " Right, what a label cost: one of people with its answers and the platform's fees, one of the machine "
                "with its fee and the machine's work, and the mean of all."
            )
        yield Plot("money", "The money", caption, money.paid(cost, facts.status["money"]), (9.2, 2.0))
    elif hours["human"]:
        caption = (
            "Active hours of people, who are not paid in this run, above those that people alone would have taken."
        )
        yield Plot("money", "People's time", caption, money.worked(hours), (9.2, 1.7))


def _of_iterations(facts: Facts, things: str) -> Iterator[Plot]:
    status = facts.status
    iterations = [i for i in status["iterations"] if i["human"] or i["machine"] or i["cost_usd"]]
    if not iterations:
        return
    objects = any(i["objects"][s] != i[s] for i in iterations for s in SOURCES)
    words = f": images on the left, the {things} in them on the right." if objects else "."
    caption = "Labels by the iteration that gave them" + words
    yield Plot("iterations", "Who labelled when", caption, figures.progress(iterations, things if objects else ""))
    cost = status["cost_usd"]
    if cost["if_all_human"]:
        yield Plot(
            "cost",
            "What it cost",
            "Dollars paid in each iteration, and their sum against what people would have cost for every image.",
            figures.cost(iterations, cost["if_all_human"]),
        )


def _of_models(facts: Facts) -> Iterator[Plot]:
    promise, shown = facts.status["promise"], facts.lessons
    if learning.has_quality(shown):
        caption = (
            "The labels that each model would have given, with 95 % intervals: against people's labels of the images "
            "that were validation by then, which it never saw"
        )
        if any(lesson.fit.out_of_fold is not None for lesson in shown):
            caption += "; and, out of fold, for random images that were held back from it"
        caption += (
            ". All images count, the unsure ones too; the promise is about those above a threshold only. They are not "
            "the same for every model: the sampler takes some away, and random ones take their place."
        )
        draw = learning.learning(shown, promise["target"], promise["metric"])
        yield Plot("learning", "Learning", caption, draw)
    if learning.has_curves(shown):
        caption = (
            "What each fit said of itself, epoch by epoch; the warmer the colour, the more labels it had. The loss is "
            "that of its own examples; held out are some of them, by which it only chose its weights. Neither measures "
            "how good it is."
        )
        yield Plot("fits", "Fits", caption, learning.fitting(shown))


def _of_picking(facts: Facts, things: str) -> Iterator[Plot]:
    if not facts.picking.found:
        return
    verdict = facts.picking.verdict()
    caption = (
        f"In every batch the sampler ({facts.status['sampler']}) picks some images, and some are drawn at random "
        "from what it left, blind. Means with 95 % intervals, every batch compared with itself; error and confidence "
        "are those of the model that the sampler went by, before people labelled them."
        f"{' ' + verdict + '.' if verdict else ''} How much a model learns from either is another question: gtloop "
        "simulate answers it with whole runs."
    )
    yield Plot("picking", "Picked against random", caption, picking.arms(facts.picking.found, things), (9.2, 2.8))


def _of_quality(facts: Facts) -> Iterator[Plot]:
    promise = facts.status["promise"]
    metric = promise["metric"]
    points = {s: p for s in SOURCES if len((p := columns(facts.of(s)))[0])}
    if not points:
        return
    quality = {s: points[s][1] if s in points else np.zeros(0) for s in SOURCES}
    selective = promise["kind"] == "selective" and "machine" in points
    words = " The promise is about the mean of the machine labels, not about every one." if selective else ""
    yield Plot(
        "quality",
        "Quality against the truth",
        f"Images by {metric} in 16 bins.{words}",
        figures.histogram(quality, promise["target"], metric),
    )
    groups = {s: by_confidence(*p) for s, p in points.items()}
    yield Plot(
        "confidence",
        "Does confidence know?",
        "Left, every image with the least-squares line of each source; confidences of people and machine are on "
        "different scales, and so are those of models of different looks. Right, the effect of a rising threshold: "
        "the mean quality of the surest 100 %, 90 % ... 10 % of the images of each source, every image counting once, "
        "with 95 % intervals. Where confidence is of use, the lines rise.",
        figures.confidence(points, groups, metric),
    )


def _of_objects(facts: Facts, things: str) -> Iterator[Plot]:
    named = [m.objects for m in facts.measured]
    if named and max(named) > 1:
        yield Plot(
            "objects",
            f"{things.capitalize()} in an image",
            f"How many images have a label with so many {things}, and how sure these labels are; larger marks stand "
            "for more images.",
            figures.objects(facts.status["by_objects"], things),
        )


def _of_categories(facts: Facts, order: Sequence[str], masks: bool) -> Iterator[Plot]:
    counts, most = category_counts(facts.measured, order), categories.MAX_CATEGORIES
    frequent = categories.most_frequent(counts)
    labelled = [c for c in frequent if counts[c]["human"] + counts[c]["machine"]]
    if len(labelled) > 1 or (labelled and len(counts) > 1):
        cut = f" The {most} most frequent of {len(counts)}." if len(counts) > most else ""
        mark = " The green mark is the true number in the same images." if facts.truth else ""
        what = "Images that show a category," if masks else f"{_counted(facts)} of every category"
        caption = f"{what} by who labelled them, and how sure they are on average.{mark}{cut}"
        plot = categories.categories(counts, category_confidence(facts.measured), facts.truth is not None)
        yield Plot("categories", "Categories", caption, plot, (9.2, 1.1 + 0.3 * len(frequent)))
        yield from _over_time(facts, labelled, masks)
    if facts.status["confusion"]["categories"]:
        yield _of_confusion(facts.status["confusion"])
    else:
        yield from _of_figures(facts, frequent)


def _counted(facts: Facts) -> str:
    return "Images" if any("category" in m.label.payload for m in facts.measured) else "Objects"


def _over_time(facts: Facts, labelled: Sequence[str], masks: bool) -> Iterator[Plot]:
    rounds = by_iteration(facts.measured, labelled)
    if len({n for name in labelled for n in rounds[name]}) < 2:
        return
    most = categories.MAX_PANELS
    cut = f"; the {most} most frequent categories" if len(labelled) > most else ""
    what = "Images that show" if masks else f"{_counted(facts)} of"
    caption = f"{what} each category, by the iteration of their label{cut}."
    rows = -(-min(len(labelled), most) // categories.COLUMNS)
    draw = categories.over_iterations(labelled, rounds)
    yield Plot("categories-iterations", "Categories, batch by batch", caption, draw, (9.2, 0.8 + 1.5 * rows))


def _of_confusion(found: Mapping[str, Any]) -> Plot:
    known = [s for s in SOURCES if found[s]["count"]]
    names, tables = found["categories"], {s: found[s] for s in (("all", *SOURCES) if len(known) > 1 else known)}
    which = "All labels, those of people, and those of the machine."
    if len(known) == 1:
        which = "The labels are all of people." if known == ["human"] else "The labels are all of the machine."
    caption = (
        "Rows are the truth, columns the label, numbers are images; a stronger colour is a larger share of its row. "
        + which
    )
    height = 0.9 + 8.2 / max(len(tables), 1) * 0.95 + 0.05 * max(map(len, names))
    return Plot(
        "confusion", "What is taken for what", caption, categories.confusion(names, tables), (9.2, min(height, 5.0))
    )


def _of_figures(facts: Facts, names: Sequence[str]) -> Iterator[Plot]:
    """The task's figures of every category, where it has some."""
    evaluation = facts.status["evaluation"] or {}
    panels: dict[str, dict[str, dict[str, float | None]]] = {}
    for source in SOURCES:
        for figure, values in by_figure(evaluation.get(source, {})).items():
            panels.setdefault(called(figure), {})[source] = values
    known = [c for c in names if any(c in values for by in panels.values() for values in by.values())]
    if len(known) < 2:
        return
    *most, last = panels
    title = (", ".join(most) + " and " if most else "") + f"{last} of every category"
    title = title if title.startswith("IoU") else title.capitalize().replace("iou", "IoU")
    caption = "Labels of people and of the machine against the truth, each over all its images together."
    yield Plot("figures", title, caption, categories.by_category(known, panels), (9.2, 1.1 + 0.38 * len(known)))


def _of_people(facts: Facts) -> Iterator[Plot]:
    if any(len(times) > 1 and times[-1] > times[0] for times in facts.answers.values()):
        most = crowd.NAMED
        cut = f" The {most} with most answers have a colour." if len(facts.answers) > most else ""
        over = "from answer to answer; a long pause would hide the rest" if crowd.gap(facts.answers) else "over time"
        caption = f"Answers of every person, one line each, added up {over}.{cut}"
        yield Plot("pace", "Who answered when", caption, crowd.pace(facts.answers))
    known = [] if facts.people is None else [w for w in facts.people.workers if w.quality is not None]
    if not known:
        return
    timed = all(w.seconds is not None for w in known)
    words = "the median time of an answer" if timed else "the number of answers"
    caption = (
        f"Every person by {words} and by quality: how far their answers agree with the label that the other people's "
        "answers to the same image make. Larger dots have more answers; ringed and named ones stand out."
    )
    yield Plot("people", "People", caption, crowd.people(known, timed, facts.status["promise"]["metric"]))
