"""The galleries of a report: which labels are shown, in which order, and the legend of what is drawn on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from gtloop.plots import HUMAN, MACHINE, TRUTH
from gtloop_plugins.commands.reporting import overlays
from gtloop_plugins.commands.reporting.groups import category_counts, names_in
from gtloop_plugins.commands.reporting.marks import ANSWER
from gtloop_plugins.commands.reporting.measure import Facts, Measured
from gtloop_plugins.commands.reporting.picks import answers_of, best_and_worst, sample, surest
from gtloop_plugins.commands.reporting.pictures import Drawn, Part, Picture, apart, boxes, picture

if TYPE_CHECKING:
    from gtloop.interfaces import Task
    from gtloop.opened import Run
    from gtloop.records import Payload

SUREST, EXTREME, SAMPLE = 5, 6, 5
"""Pictures of a gallery: the surest of a source, the best or the worst of it, and people's at random."""


class Key(NamedTuple):
    """An entry of a legend: how something is drawn, and what it is."""

    look: Literal["line", "fill", "stripes"]
    colour: str
    what: str


STRIPES = Key("stripes", overlays.NOTHING, "wrong; the stripes have the colour of what is true")
PARTS: Mapping[Part, str] = {"answers": "single answers, each in a colour", "label": "the label", "truth": "the truth"}
OUTLINED = "the outlines of single answers on the label"


@dataclass(frozen=True)
class Gallery:
    """Some pictures with a heading and what they have in common; ``columns`` is how many stand in a row."""

    title: str
    caption: str
    key: tuple[Key, ...]
    pictures: tuple[Picture, ...]
    columns: int


def galleries(facts: Facts, run: Run, task: Task) -> list[Gallery]:
    """What labels look like: the surest, the best and the worst of either source, and some of people with answers."""
    return [g for g in _Maker(facts, run, task).all() if g.pictures]


class _Maker:
    """Draws galleries of one run."""

    def __init__(self, facts: Facts, run: Run, task: Task) -> None:
        self.facts, self.run, self.task = facts, run, task
        self.metric = facts.status["promise"]["metric"]
        self.classes = run.settings.run.classes
        self.categories = tuple(category_counts(facts.measured, self.classes))
        self.background = str(getattr(task.options, "background", ""))
        self.truth = any(m.truth is not None for m in facts.measured)

    def all(self) -> Iterator[Gallery]:
        for source, of in (("machine", "the machine"), ("human", "people")):
            labels = self.facts.of(source)
            beside = " Above the label, below the truth." if self.truth and _shaped(labels) else ""
            yield self.apart(
                f"Surest labels of {of}",
                f"Most confident first.{beside}",
                surest(labels, SUREST, self.truth),
                ("label", "truth") if self.truth else ("label",),
            )
            if self.truth:
                yield from self.extremes(of, labels)
            elif source == "machine":
                least = sorted(labels, key=lambda m: (m.label.confidence, m.label.row))[:EXTREME]
                yield self.together("Least sure labels of the machine", "Least confident first.", least)
        human = sample(self.facts.of("human"), SAMPLE, self.run.settings.run.seed)
        answers = answers_of(self.run, self.task, [m.label.row for m in human])
        title = "From answers to labels" if answers else "Labels of people, drawn at random"
        parts: list[Part] = [*(("answers",) if answers else ()), "label", *(("truth",) if self.truth else ())]
        said = {**PARTS, "answers": OUTLINED} if any(map(_has_masks, human)) else PARTS
        words = ", ".join(said[p] for p in parts)
        caption = (
            f"Drawn at random. From the top: {words}." if len(parts) > 1 and _shaped(human) else "Drawn at random."
        )
        yield self.apart(title, caption, human, parts, answers)

    def extremes(self, of: str, labels: Sequence[Measured]) -> Iterator[Gallery]:
        """The worst and the best of a source, as the truth has it."""
        known = [m.quality for m in labels if m.quality is not None]
        best, worst = best_and_worst(labels, EXTREME)
        if known and min(known) == 1:
            words = f"All {len(known)} are exactly as in truth; some of them."
            yield self.together(f"Labels of {of}", words, best or worst)
            return
        equal = "among equals, the surest."
        yield self.together(f"Worst labels of {of}", f"Lowest {self.metric} first; {equal}", worst)
        yield self.together(f"Best labels of {of}", f"Highest {self.metric} first; {equal}", best)

    def together(self, title: str, caption: str, shown: Sequence[Measured]) -> Gallery:
        """Pictures with label and truth in one."""
        of = [_foreground(m, self.background) for m in shown]
        drawn = tuple(
            picture(self.run.items[m.label.row], m, self.metric, len(self.classes) > 1, (), self.categories) for m in of
        )
        columns = 2 if any(map(_has_masks, of)) else 3 if _shaped(of) else 6
        return Gallery(title, caption, _key(of, False, self.categories), drawn, columns)

    def apart(
        self,
        title: str,
        caption: str,
        shown: Sequence[Measured],
        parts: Sequence[Part],
        answers: Mapping[int, Sequence[Payload]] | None = None,
    ) -> Gallery:
        """Pictures of the same image below each other; one, where nothing can be drawn on it."""
        of = [_foreground(m, self.background) for m in shown]
        shaped = _shaped(of)
        said = {} if shaped else {row: _said(given) for row, given in (answers or {}).items()}
        drawn = tuple(
            apart(
                self.run.items[m.label.row],
                m,
                self.metric,
                Drawn(
                    len(self.classes) > 1,
                    [_painted(a, self.background) for a in (answers or {}).get(m.label.row, ())],
                    self.categories,
                ),
                parts if shaped else ("label",),
                said.get(m.label.row, ""),
            )
            for m in of
        )
        return Gallery(title, caption, _key(of, False, self.categories, striped=False) if shaped else (), drawn, SUREST)


def _said(answers: Sequence[Payload]) -> str:
    """Answers that are categories in words, the most frequent first; empty for others."""
    found = Counter(name for a in answers for name in names_in(a))
    return "answers: " + ", ".join(f"{n} × {name}" for name, n in found.most_common()) if found else ""


def _shaped(measured: Sequence[Measured]) -> bool:
    """Whether labels have a shape that can be drawn."""
    return any(boxes(m.label.payload) or _has_masks(m) for m in measured)


def _foreground(m: Measured, background: str) -> Measured:
    """A label and its truth without the regions of a category that is background: nobody wants to see it painted."""
    label = m.label.model_copy(update={"payload": _painted(m.label.payload, background)})
    return replace(m, label=label, truth=None if m.truth is None else _painted(m.truth, background))


def _painted(payload: Payload, background: str) -> Payload:
    regions = payload.get("regions")
    if not background or not isinstance(regions, list):
        return payload
    return {**payload, "regions": [r for r in regions if r.get("category") != background]}


def _has_masks(m: Measured) -> bool:
    return overlays.has_masks(m.label.payload)


def _key(
    measured: Sequence[Measured], answers: bool, categories: Sequence[str], *, striped: bool = True
) -> tuple[Key, ...]:
    """The legend of what is drawn; empty where nothing is. ``striped``: where the truth differs, masks have stripes."""
    truth = any(m.truth is not None for m in measured)
    single = (Key("line", ANSWER, "single answers"), answers)
    if any(map(_has_masks, measured)):
        return (*_categories(measured, categories), *_drawn((STRIPES, truth and striped), single))
    payloads = (p for m in measured for p in (m.label.payload, m.truth) if p is not None)
    if not any(map(boxes, payloads)):
        return ()
    sources = {m.source for m in measured}
    return _drawn(
        (Key("line", HUMAN, "label of people"), "human" in sources),
        (Key("line", MACHINE, "label of the machine"), "machine" in sources),
        single,
        (Key("line", TRUTH, "truth"), truth),
    )


def _drawn(*entries: tuple[Key, bool]) -> tuple[Key, ...]:
    return tuple(key for key, drawn in entries if drawn)


def _categories(measured: Sequence[Measured], categories: Sequence[str]) -> tuple[Key, ...]:
    """The colours of the categories, and of void, that some mask has."""
    payloads = [p for m in measured for p in (m.label.payload, m.truth) if p is not None]
    found = {name for p in payloads for name in names_in(p)}
    keys = [Key("fill", overlays.colour(n), name) for n, name in enumerate(categories) if name in found]
    void = (Key("fill", overlays.NOTHING, "void, counts in nothing"), any(p.get("void") for p in payloads))
    return (*keys, *_drawn(void))
