"""The report on workers: what each one did, and how good it is by the word of the others."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from gtloop import keyed
from gtloop.agreement import PAIRS, Alpha, Halves, krippendorff_alpha, split_half
from gtloop.errors import blame
from gtloop.facts import Facts
from gtloop.interfaces import Task
from gtloop.money import usd
from gtloop.outliers import ENOUGH, Asked, Scored, flags, values
from gtloop.people import fitting
from gtloop.records import Answer, Payload

if TYPE_CHECKING:
    from gtloop.opened import Run

ITEMS, MASKS = 1000, 150
"""Requests that agreement and quality are measured on, and those of masks, which take long; a random sample of more."""


@dataclass(frozen=True)
class Worker:
    """What one worker did.

    Attributes:
        worker: Who.
        answers: Answers, declined ones excepted.
        items: Items that they are about.
        declined: Share of what was offered that was declined.
        cannot_tell: Share of ``answers``.
        empty: Share of ``answers``.
        seconds: Median active seconds of an answer; None where times are not known.
        paid: Price of the answers, those rejected left out, micro-dollars, fees excluded.
        wage: Dollars for an active hour; None where nothing is paid or times are not known.
        quality: Mean of 1 - the task's error against the label that the other people's answers make; None without.
        scored: Answers that ``quality`` is of.
        skill: From the task, in [0, 1]; None where it knows none.
        flag: Why this worker stands out, in words; empty for most.
        gold: Mean quality on test images; None without.
        tested: Test images answered.
        out: Why this worker gets no more work; empty for most.
    """

    worker: str
    answers: int
    items: int
    declined: float
    cannot_tell: float
    empty: float
    seconds: float | None
    paid: int
    wage: float | None
    quality: float | None
    scored: int
    skill: float | None
    flag: str
    gold: float | None = None
    tested: int = 0
    out: str = ""


@dataclass(frozen=True)
class People:
    """All workers, and how far they agree.

    Attributes:
        workers: Worst first, by how far their answers are below those of others to the same items; the fewer answers,
            the less that counts (as ``ENOUGH`` more that are like the others').
        alpha: Krippendorff's, with the task's error as distance.
        halves: Reliability of the consolidated label.
        agreement: Mean quality of two people's answers to the same item, not corrected for chance; None without.
        items: Items that people answered.
        answers: Their answers, declined ones excepted.
        sampled: Requests that ``alpha``, ``halves``, ``agreement`` and qualities were measured on.
    """

    workers: list[Worker]
    alpha: Alpha
    halves: Halves
    agreement: float | None
    items: int
    answers: int
    sampled: int

    def figures(self) -> dict[str, Any]:
        """The figures of all workers together, as JSON."""
        a, h = self.alpha, self.halves
        return {
            "items": self.items,
            "answers": self.answers,
            "sampled": self.sampled,
            "agreement": self.agreement,
            "alpha": {"value": a.value, "error": a.error, "observed": a.observed, "expected": a.expected}
            | {"items": a.units, "pairs": a.pairs, "meaning": a.meaning},
            "split_half": {"quality": h.quality, "error": h.error, "items": h.items, "splits": h.splits},
        }

    def sentences(self, metric: str) -> list[str]:
        """The same in words, one line each; ``metric`` names the task's quality."""
        a, h = self.alpha, self.halves
        alpha = "alpha is " if a.value is None else f"alpha {a.value:.3f}{_give_or_take(a.error)}: "
        found = [f"Krippendorff's {alpha}{a.meaning}"]
        if h.quality is None:
            found.append("split halves: no item has two answers, so the reliability of labels is not known")
        else:
            found.append(
                f"split halves: labels of half the people agree with those of the other half by {metric} "
                f"{h.quality:.3f}{_give_or_take(h.error)}; labels of all of them are more reliable"
            )
        if self.agreement is not None:
            found.append(f"agreement: two people's answers to the same item agree by {metric} {self.agreement:.3f}")
        who = "1 person" if len(self.workers) == 1 else f"{len(self.workers):,} people"
        counts = f"{self.answers:,} answers of {who} to {self.items:,} items"
        drawn = "" if a.pairs is None else f"; alpha's chance agreement from {a.pairs:,} drawn pairs of answers"
        return [*found, f"{counts}; agreement and quality from {self.sampled:,} items{drawn}"]


def _give_or_take(error: float | None) -> str:
    return "" if error is None else f" (standard error {error:.3f})"


def of_run(run: Run, task: Task, limit: int | None = None) -> People:
    """``measure`` of what people said in a run so far, with how they did on test images.

    Labels that were imported are left out, and what people said of a label that they were shown.
    """
    said = run.answers(shown=False)
    asked = (Asked(run.items[row], answers) for row, purpose, answers in said if purpose != "review")
    found = measure(
        asked,
        task,
        run.skills(),
        run.settings.run.seed,
        limit,
        fit=lambda a: Asked(a.item, fitting(task, a.item, a.answers, run.state.facts.renamed)),
        unpaid=run.state.facts.rejected,
    )
    return replace(found, workers=[_tested(w, run.state.facts.people.get(w.worker)) for w in found.workers])


def _tested(worker: Worker, known: Facts.Person | None) -> Worker:
    if known is None:
        return worker
    return replace(worker, gold=known.quality / known.gold if known.gold else None, tested=known.gold, out=known.out)


def measure(
    asked: Iterable[Asked],
    task: Task,
    skills: Mapping[str, Any],
    seed: int = 0,
    limit: int | None = None,
    fit: Callable[[Asked], Asked] = lambda asked: asked,
    unpaid: Set[str] = frozenset(),
) -> People:
    """The report on workers.

    Counts, times and prices are of all answers. Agreement, reliability and quality are measured on at most ``limit``
    requests, drawn at random. Of a worker's several answers to one of those the last counts.

    Quality leaves one out: each answer is held against the label that the other answers to its request make,
    with the workers' weights of ``skills``; it takes two others who gave a label. It is relative: where most people
    make the same mistake, the one who does not looks wrong.

    Args:
        asked: Of each request, the item and all answers, declined ones too.
        task: Whose error, consolidation and skill are used.
        skills: As ``task.skills`` returned it last.
        seed: Of the sample and the splits.
        limit: Most requests that are measured; ``ITEMS``, or ``MASKS`` for a form with masks, where None.
        fit: Leaves the answers of a request that fit the form, canonical; called for those that are measured.
        unpaid: Answers that were rejected.

    Raises:
        PluginFault: The task failed on some answers.
    """
    with blame("task", task.name, "the report on workers"):
        return _measure(list(asked), task, skills, seed, limit, fit, unpaid)


def _masks(task: Task) -> bool:
    return any(p.kind == "mask" for p in task.form().primitives)


def _measure(
    asked: Sequence[Asked],
    task: Task,
    skills: Mapping[str, Any],
    seed: int,
    limit: int | None,
    fit: Callable[[Asked], Asked],
    unpaid: Set[str],
) -> People:
    order = keyed.rng(seed, "workers", len(asked)).permutation(len(asked))
    drawn = sorted(order[: limit or (MASKS if _masks(task) else ITEMS)].tolist())
    sample = [Asked(asked[i].item, _last(fit(asked[i]).answers)) for i in drawn]
    alpha = _alpha(sample, task, seed)
    halves = split_half(
        ((a.item.row, a.answers) for a in sample), lambda x: task.consolidate(x, skills), task.error, seed
    )
    given = [a.item.row for a in asked for x in a.answers if x.outcome != "declined"]
    return People(
        workers=_workers(asked, sample, task, skills, unpaid),
        alpha=alpha,
        halves=halves,
        agreement=None if alpha.observed is None else 1 - alpha.observed,
        items=len(set(given)),
        answers=len(given),
        sampled=len(sample),
    )


def _last(answers: Sequence[Answer]) -> list[Answer]:
    """One answer a worker, the last by time, in the order of workers; declined ones left out."""
    given = (a for a in answers if a.outcome != "declined")
    last = {a.worker: a for a in sorted(given, key=lambda a: (a.at, a.id))}
    return [last[w] for w in sorted(last)]


def _alpha(sample: Sequence[Asked], task: Task, seed: int) -> Alpha:
    """Alpha of the labels given; masks of images of different sizes are not compared."""
    sized = _masks(task)
    units = [[(v, a.item.display_size if sized else None) for v in values(a, task).values()] for a in sample]

    def distance(a: tuple[Payload, Any], b: tuple[Payload, Any]) -> float:
        return task.error(a[0], b[0]) if a[1] == b[1] else math.nan

    return krippendorff_alpha(units, distance, pairs=PAIRS // 4 if sized else PAIRS, seed=seed)


def _qualities(sample: Sequence[Asked], task: Task, skills: Mapping[str, Any]) -> dict[str, list[Scored]]:
    found: dict[str, list[Scored]] = defaultdict(list)
    for a in sample:
        given = values(a, task)
        if len(given) < 3:
            continue
        quality = {}
        for worker, value in given.items():
            label = task.consolidate([x for x in a.answers if x.worker != worker], skills).payload
            if label is not None:
                quality[worker] = 1 - float(task.error(value, label))
        for worker, q in quality.items():
            others = [v for w, v in quality.items() if w != worker]
            if others:
                found[worker].append(Scored(q, q - sum(others) / len(others)))
    return found


def _workers(
    asked: Sequence[Asked], sample: Sequence[Asked], task: Task, skills: Mapping[str, Any], unpaid: Set[str]
) -> list[Worker]:
    said: dict[str, list[tuple[int, Answer]]] = defaultdict(list)
    for a in asked:
        for x in a.answers:
            said[x.worker].append((a.item.row, x))
    scored = _qualities(sample, task, skills)
    skill, flagged = task.skill(skills), flags(asked, sample, scored, task)
    workers = []
    for w, pairs in said.items():
        given = [x for _, x in pairs if x.outcome != "declined"]
        timed = [x for x in given if x.active_seconds > 0]
        seconds = [x.active_seconds for x in timed]
        qualities = [s.quality for s in scored.get(w, ())]
        paid = sum(x.price for _, x in pairs if x.id not in unpaid)
        paid_timed = sum(x.price for x in timed if x.id not in unpaid)
        workers.append(
            Worker(
                worker=w,
                answers=len(given),
                items=len({row for row, x in pairs if x.outcome != "declined"}),
                declined=1 - len(given) / len(pairs),
                cannot_tell=sum(x.outcome == "cannot_tell" for x in given) / max(1, len(given)),
                empty=sum(x.outcome == "empty" for x in given) / max(1, len(given)),
                seconds=median(seconds) if seconds else None,
                paid=paid,
                wage=usd(paid_timed) * 3600 / sum(seconds) if paid_timed else None,
                quality=sum(qualities) / len(qualities) if qualities else None,
                scored=len(qualities),
                skill=skill.get(w),
                flag=flagged.get(w, ""),
            )
        )
    below = {w: sum(s.above for s in of) / (len(of) + ENOUGH) for w, of in scored.items()}
    return sorted(workers, key=lambda x: (below.get(x.worker, 0.0), x.worker))
