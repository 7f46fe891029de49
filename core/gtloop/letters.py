"""Letters: what somebody asks of a run while it is driven, or before it is driven again.

A letter is an inbox row, written by ``Run`` (``gtloop.run``). The driver answers each exactly once, in order, with an
event that carries its number; what can't be done is refused with a reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from gtloop import audit, config
from gtloop.crew import check_quote, quoted
from gtloop.errors import ConfigError, GtloopError, RunError
from gtloop.events import (
    AnyEvent,
    CategoriesChanged,
    ItemsAdded,
    LetterRefused,
    RelabelAsked,
    ReviewAsked,
    RunCancelled,
    RunPaused,
    SettingsChanged,
)
from gtloop.fold_letters import rename_in
from gtloop.fold_money import repriced
from gtloop.importing import import_labels
from gtloop.items import add_items
from gtloop.job import Job, Plugins
from gtloop.known import tell_lacking
from gtloop.ledger import Letter
from gtloop.money import micro, show
from gtloop.review import write_wish
from gtloop.settings import MOST_WORKERS, Settings
from gtloop.state import HUMAN, MACHINE, UNLABELABLE, State


def read_letters(job: Job) -> None:
    """Answer every letter that came since the last."""
    for letter in job.ledger.letters(job.state.facts.letter):
        if letter.kind not in _ANSWERS:
            continue
        try:
            events = _ANSWERS[letter.kind](job, letter.number, _body(letter))
        except GtloopError as e:
            job.progress("refused", 0, None, f"{letter.kind}: {e}")
            events = [LetterRefused(iteration=job.state.iteration, letter=letter.number, asked=letter.kind, why=str(e))]
        job.commit(events)
        if letter.kind in _REBUILD:
            job.rebuild()
            job.commit(quoted(job))


def _body(letter: Letter) -> dict[str, Any]:
    try:
        found = json.loads(letter.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError("the letter is no JSON object")
    return found


def _settings(job: Job, letter: int, body: dict[str, Any]) -> list[AnyEvent]:
    new = config.changed(job.settings, body)
    changes = config.changes(job.settings, new)
    check_affordable(job.state, job.settings, new)
    plugins = Plugins(new, job.registry, job.root, job.state.facts)
    if job.observers is not None:
        plugins.observers()
    event = SettingsChanged(iteration=job.state.iteration, changes=changes, letter=letter)
    check_quote(job.state, event, job.store, plugins, new)
    return [event]


def check_affordable(state: State, old: Settings, new: Settings) -> None:
    """Refuse a budget or prices that can't keep what is promised to people already.

    Raises:
        ConfigError: With the least budget that would do.
    """
    usd, bill, quote = new.run.budget_usd, state.facts.bill, state.facts.quote
    if usd is None or (usd == old.run.budget_usd and new.prices == old.prices):
        return
    check_minimum(new)
    reserved = bill.reserved
    if new.prices != old.prices:
        rates = new.prices.rates(bill.items)
        rates = rates if quote is None else rates.quoted(quote)
        reserved = sum(repriced(state, r, rates) for r in state.facts.open.values())
    least = bill.total + reserved + bill.overcharged
    if least > micro(usd):
        over = f", {show(bill.overcharged)} charged beyond that" if bill.overcharged else ""
        raise ConfigError(
            f"run.budget_usd: {show(bill.total)} is paid and {show(reserved)} promised to people{over}, "
            f"so {show(micro(usd))} is too little; give {show(least)} or more"
        )


def check_minimum(settings: Settings) -> None:
    """Refuse a budget below what a finished run costs at least.

    Raises:
        ConfigError: It is.
    """
    usd, least = settings.run.budget_usd, settings.prices.minimum
    if usd is not None and micro(usd) < least:
        raise ConfigError(
            f"run.budget_usd: a finished run costs {show(least)} at least (prices.minimum_usd), "
            f"so {show(micro(usd))} is too little; give {show(least)} or more"
        )


def _pause(job: Job, letter: int, body: dict[str, Any]) -> list[AnyEvent]:
    f = job.state.facts
    if f.finished or f.paused:
        raise RunError("the run is finished" if f.finished else f"the run is paused already ({f.paused})")
    return [RunPaused(iteration=job.state.iteration, reason="asked", why=body.get("why", ""), letter=letter)]


def _cancel(job: Job, letter: int, body: dict[str, Any]) -> list[AnyEvent]:
    f = job.state.facts
    if f.finished or f.cancelled:
        raise RunError("the run is cancelled already" if f.cancelled else "the run is finished")
    return [RunCancelled(iteration=job.state.iteration, why=body.get("why", ""), letter=letter)]


def refuse_cancelled(state: State) -> None:
    """Nothing more can be asked of a cancelled run.

    Raises:
        RunError: It is one.
    """
    if state.facts.cancelled:
        raise RunError(
            "the run was cancelled; export its labels and start a new one with them: gtloop run IMAGES --labels LABELS"
        )


def _relabel(job: Job, letter: int, body: dict[str, Any]) -> list[AnyEvent]:
    refuse_cancelled(job.state)
    rows = np.unique(np.asarray(body.get("rows", []), np.int32))
    rows = rows[(rows >= 0) & (rows < len(job.items))]
    rows = rows[np.isin(job.state.status[rows], (HUMAN, MACHINE, UNLABELABLE))]
    if not len(rows):
        raise RunError("none of the items has a label to withdraw")
    file = job.store.write(f"relabel/letter-{letter:05d}.parquet", {"row": rows})
    return [RelabelAsked(iteration=job.state.iteration, letter=letter, rows=file, why=body.get("why", ""))]


def _review(job: Job, letter: int, body: dict[str, Any]) -> list[AnyEvent]:
    refuse_cancelled(job.state)
    mode, annotator = body.get("mode", "verify"), job.plugins.annotator
    if mode not in annotator.modes:
        able = ", ".join(p.cls.name for p in job.registry.providers("annotator") if mode in cast(Any, p.cls).modes)
        raise ConfigError(f"annotator {annotator.name!r} can't show labels to {mode}; annotators that can: {able}")
    rows = np.unique(np.asarray(body.get("rows", []), np.int32))
    rows = rows[(rows >= 0) & (rows < len(job.items))]
    rows = rows[np.isin(job.state.status[rows], (HUMAN, MACHINE))]
    if not len(rows):
        raise RunError("none of the items has a label to look at")
    answers, blind = body.get("answers", 1), body.get("blind", 0.0)
    if not isinstance(answers, int) or not 1 <= answers <= MOST_WORKERS:
        raise ConfigError(f"review: {answers!r} people can't look at each label; choose 1 to {MOST_WORKERS}")
    if not isinstance(blind, int | float) or not 0 <= blind <= 1:
        raise ConfigError(f"review: the blind share is from 0 to 1, not {blind!r}")
    file = write_wish(job.store, job.state, job.seed, letter, rows, mode, blind)
    return [
        ReviewAsked(
            iteration=job.state.iteration,
            letter=letter,
            rows=file,
            answers=answers,
            others=bool(body.get("others", False)),
            why=body.get("why", ""),
        )
    ]


def _audit(job: Job, letter: int, body: dict[str, Any]) -> list[AnyEvent]:
    refuse_cancelled(job.state)
    return audit.asked(job, letter, body)


def _add(job: Job, letter: int, body: dict[str, Any]) -> list[AnyEvent]:
    refuse_cancelled(job.state)
    f, truth = job.state.facts, body.get("truth")
    if truth is None and "truth" in job.plugins.annotator.needs:
        raise ConfigError(
            f"annotator {job.plugins.annotator.name!r} draws its answers from known labels: name them with --truth PATH"
        )
    assert f.items is not None
    items = add_items(body["source"], job.seed, job.store, f.items, letter, job.progress)
    added = ItemsAdded(
        iteration=job.state.iteration,
        letter=letter,
        source=body["source"],
        truth=truth,
        first=f.items.rows,
        items=items,
    )
    _check_added(job, added)
    return [added]


def _check_added(job: Job, e: ItemsAdded) -> None:
    """Read the truth of new images once, before they count."""
    from gtloop.items import Items

    if e.truth is not None:
        items = Items.read(e.items, job.store)
        rows = range(e.first, len(items))
        known = job.plugins.known.matched(e.truth, items, rows, allow_missing=True)
        if "truth" in job.plugins.annotator.needs:
            tell_lacking(items, rows, known)


def _import(job: Job, letter: int, body: dict[str, Any]) -> list[AnyEvent]:
    refuse_cancelled(job.state)
    return import_labels(job, body["source"], letter)


def _categories(job: Job, letter: int, body: dict[str, Any]) -> list[AnyEvent]:
    names: dict[str, str] = body.get("names", {})
    classes = check_renaming(job.state, job.settings, names)
    tables = job.settings.model_dump(mode="json")
    rename_in(tables, classes, names)
    Plugins(Settings.model_validate(tables), job.registry, job.root)
    merged = len(classes) < len(job.settings.run.classes)
    event = CategoriesChanged(
        iteration=job.state.iteration, letter=letter, names=names, categories=classes, merged=merged
    )
    return [event]


def check_renaming(state: State, settings: Settings, names: dict[str, str]) -> tuple[str, ...]:
    """The categories after renaming or merging.

    Raises:
        ConfigError: A category is unknown, nothing would change, or a name meant something else before.
    """
    classes = settings.run.classes
    for old, new in names.items():
        if old not in classes:
            raise ConfigError(f"no category is named {old!r}; there are: {', '.join(classes)}")
        if not new.strip() or old == new:
            raise ConfigError(f"category {old!r}: give another name than {new!r}")
        if new not in classes and new in state.facts.renamed:
            raise ConfigError(f"{new!r} was the name of another category before; choose one that is new")
        if new in names:
            raise ConfigError(f"{new!r} is renamed itself; do it in two steps")
    changed = tuple(dict.fromkeys(names.get(c, c) for c in classes))
    if not names:
        raise ConfigError("no category is to change; name an old and a new one")
    return changed


_ANSWERS: dict[str, Callable[[Job, int, dict[str, Any]], list[AnyEvent]]] = {
    "settings": _settings,
    "pause": _pause,
    "cancel": _cancel,
    "relabel": _relabel,
    "review": _review,
    "audit": _audit,
    "add": _add,
    "import": _import,
    "categories": _categories,
}
_REBUILD = ("settings", "add", "categories")
