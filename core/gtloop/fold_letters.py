"""What somebody's wish does to the state: more images, labels, another category, a pause, an end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gtloop import events as ev
from gtloop.facts import Facts
from gtloop.fold_money import reopened
from gtloop.state import ALIAS, HUMAN, LATER, POOL, RELABEL, TRAIN, VALIDATION, State
from gtloop.store import Store


def answered(s: State, letter: int) -> None:
    s.facts.letter = max(s.facts.letter, letter)


def refused(s: State, e: ev.LetterRefused, store: Store) -> None:
    answered(s, e.letter)


def warm(s: State, e: ev.WarmStarted, store: Store) -> None:
    s.facts.warm, s.facts.warm_sha256, s.facts.warm_detector = e.path, e.sha256, e.detector


def added(s: State, e: ev.ItemsAdded, store: Store) -> None:
    new = e.items.rows - e.first
    s.columns = {name: np.concatenate([c, np.zeros(new, c.dtype)]) for name, c in s.columns.items()}
    alias = np.asarray(store.read(e.items, ["alias_of"])["alias_of"])[e.first :]
    s.status[e.first :] = np.where(alias >= 0, ALIAS, LATER)
    f = s.facts
    f.items = e.items
    reopened(s, e)
    if e.truth is not None:
        f.truths.append((e.first, e.truth))
    answered(s, e.letter)


def imported(s: State, e: ev.LabelsImported, store: Store) -> None:
    t = store.read(e.labels, ["row", "objects"])
    rows = np.asarray(t["row"], np.int32)
    s.status[rows], s.role[rows] = HUMAN, TRAIN
    s.columns["objects"][rows] = np.asarray(t["objects"])
    s.facts.human_files.append(e.labels)
    s.facts.imports = e.number
    if e.gold:
        s.facts.gold = e.labels
    answered(s, e.letter)


def staged(s: State, e: ev.StageStarted, store: Store) -> None:
    f = s.facts
    f.plan = e.plan
    f.stage = Facts.Stage(number=e.stage, batches=len(f.batches), looks=f.looks)
    s.status[s.status == LATER] = POOL
    s.role[s.role == VALIDATION] = TRAIN
    s.columns["random"][:] = False
    new_generation(s)


def new_generation(s: State) -> None:
    f = s.facts
    f.model, f.folds, f.looked_at, f.curve, f.considered = None, {}, None, [], None
    f.generation += 1


def categories(s: State, e: ev.CategoriesChanged, store: Store) -> None:
    f = s.facts
    f.renamed = {old: e.names.get(new, new) for old, new in f.renamed.items()} | e.names
    rename_in(f.settings, e.categories, e.names)
    new_generation(s)  # a model knows the names that it was fitted with
    if e.merged and f.machine_files:
        f.voided = "categories were merged since machine labels were certified"
    answered(s, e.letter)


def rename_in(settings: dict[str, Any], categories: Sequence[str], names: Mapping[str, str]) -> None:
    """New categories in dumped settings: the list, and options of the task that name one (a background)."""
    settings["run"]["classes"] = list(categories)
    options = settings.get("tasks", {}).get(settings["run"]["task"].partition("@")[0], {})
    options.update({key: names[value] for key, value in options.items() if isinstance(value, str) and value in names})


def relabel(s: State, e: ev.RelabelAsked, store: Store) -> None:
    rows = np.asarray(store.read(e.rows, ["row"])["row"], np.int32)
    s.status[rows] = RELABEL
    s.columns["attempts_before"][rows] = s.columns["attempts"][rows]
    reopened(s, e)
    answered(s, e.letter)


def paused(s: State, e: ev.RunPaused, store: Store) -> None:
    s.facts.paused = e.reason
    if e.reason == "overcharged":
        s.facts.told_overcharged = s.facts.bill.overcharged
    answered(s, e.letter)


def resumed(s: State, e: ev.RunResumed, store: Store) -> None:
    s.facts.paused = ""


def cancelled(s: State, e: ev.RunCancelled, store: Store) -> None:
    s.facts.cancelled, s.facts.paused = True, ""
    answered(s, e.letter)


def withdrawn(s: State, e: ev.RequestsWithdrawn, store: Store) -> None:
    s.facts.withdrawals = e.number
    s.facts.withdrawn = s.facts.cancelled


def review(s: State, e: ev.ReviewAsked, store: Store) -> None:
    s.facts.reviews.append(Facts.Review(rows=e.rows, answers=e.answers, others=e.others))
    reopened(s, e)
    answered(s, e.letter)


def confirmed(s: State, e: ev.Confirmed, store: Store) -> None:
    s.facts.confirmed, s.facts.paused = True, ""
