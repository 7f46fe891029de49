"""``classification-dawid-skene-2``: the categories that several people chose made one, and what their choices tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gtloop.interfaces import Consolidated, Hint
from gtloop.records import Answer, Raw
from gtloop_plugins.tasks.classification import dawid_skene, voter
from gtloop_plugins.tasks.classification.dawid_skene import CLASS_ITEMS, Sums, Votes, accuracy, reliance

VERSION = "classification-dawid-skene-2"
MODEL = "classification-model-2"
"""Keys of what is known of people, and of the model, in the skills."""

TIE = 1e-9
"""Posteriors this close, relative, are equal: they differ by the order of their factors only."""
MANY = 20
"""Answers to an item from which on products are kept in range."""
SMALL = 1e-3
"""Expected errors below that are not kept."""


def consolidate(
    answers: Sequence[Answer], skills: Mapping[str, Any], categories: Sequence[str], raw: Raw | None = None
) -> Consolidated:
    """The most probable of the categories that somebody chose; of equals the one declared first.

    One answer per worker counts (the last by time, then id). The posterior is that of ``dawid_skene`` with the skills;
    without any it orders categories by their votes, which is the majority. The confidence is the posterior
    probability of the winner, where the rest goes to all others, chosen or not. Agreement is the share of pairs of
    people who agree (1 for one person). Where nobody chose a category (they could not tell, or called it empty), the
    payload is None.

    Args:
        answers: Of one item.
        skills: Of ``learn``.
        categories: The run's, in order.
        raw: What a model predicts that never saw the item's label; its vote takes the place of the class prior.
    """
    said = _said(answers)
    if not said:
        return Consolidated(None, 0.0, 0.0)
    p = _posterior(said, skills, categories, raw)
    votes: dict[str, int] = {}
    for _, category in said:
        votes[category] = votes.get(category, 0) + 1
    best = max(p[c] for c in votes)
    winner = next(c for c in p if c in votes and p[c] >= best * (1 - TIE))
    confidence = min(1.0, p[winner] / sum(p.values()))
    n = len(said)
    agreement = sum(v * (v - 1) for v in votes.values()) / (n * (n - 1)) if n > 1 else 1.0
    return Consolidated({"category": winner, "confidence": confidence}, confidence, agreement)


def _said(answers: Sequence[Answer]) -> list[tuple[str, str]]:
    """The last choice of each worker, in the order of their names."""
    last: dict[str, Answer] = {}
    for a in answers:
        if a.outcome == "label" and a.payload is not None:
            before = last.get(a.worker)
            if before is None or (a.at, a.id) > (before.at, before.id):
                last[a.worker] = a
    return sorted([(w, a.payload["category"]) for w, a in last.items() if a.payload is not None])


def _posterior(
    said: Sequence[tuple[str, str]], skills: Mapping[str, Any], categories: Sequence[str], raw: Raw | None
) -> dict[str, float]:
    """Category to posterior, not normalised, in the declared order; undeclared ones that were chosen come last."""
    known: Mapping[str, Any] = skills.get(VERSION, {})
    names = list(categories)
    if not {c for _, c in said} <= set(categories):
        names += sorted({c for _, c in said} - set(categories))
    k, workers = len(names), known.get("workers", {})
    classes = known.get("classes", {})
    p = [CLASS_ITEMS + classes.get(c, 0.0) for c in names]
    if raw is not None and len(raw["probabilities"]) == k:
        p = voter.weigh(raw["probabilities"], names, p, skills.get(MODEL, {}))
    columns: dict[str, list[float]] = {}
    for worker, category in said:
        s, share = reliance(accuracy(*workers.get(worker, (0.0, 0.0))), 1 / k)
        if category not in columns:
            columns[category] = _column(category, names, known)
        common, anywhere = (1 - s) * share, (1 - s) * (1 - share) / max(k - 1, 1)
        at = names.index(category)
        own = p[at] * s
        p = [v * (common * e + anywhere) for v, e in zip(p, columns[category], strict=True)]
        p[at] = own
        if len(said) > MANY:  # so that the product does not underflow
            most = max(p)
            p = [v / most for v in p]
    return dict(zip(names, p, strict=True))


def _column(said: str, names: Sequence[str], known: Mapping[str, Any]) -> list[float]:
    """For each true category the probability that an error names ``said``; see ``dawid_skene``."""
    prior, errors, wrong = (
        known.get("even", dawid_skene.EVEN),
        known.get("errors", {}).get(said, {}),
        known.get("wrong", {}),
    )
    others = max(len(names) - 1, 1)
    if not errors:
        return [prior / others / (prior + wrong.get(c, 0.0)) for c in names]
    return [(prior / others + errors.get(c, 0.0)) / (prior + wrong.get(c, 0.0)) for c in names]


def skill(skills: Mapping[str, Any]) -> dict[str, float]:
    """Worker to posterior mean of their accuracy; those whom nothing has judged yet are left out."""
    known = skills.get(VERSION, {}).get("workers", {})
    return {worker: accuracy(right, total) for worker, (right, total) in known.items() if total}


def learn(
    answers: Sequence[Sequence[Answer]],
    previous: Mapping[str, Any],
    categories: Sequence[str],
    hints: Sequence[Hint] = (),
) -> dict[str, Any]:
    """Add what newly closed items say about people, and about the model.

    People are judged by people and by known labels only, never by the model: a bad one cannot make good workers look
    bad. The model is judged by the posterior that people make.

    Args:
        answers: Of each item.
        previous: What this returned for the items before.
        categories: The run's, in order.
        hints: One for each item, or none at all.

    Returns:
        Under ``VERSION``: ``workers``, name to [expected right answers, answers] where
        somebody else, or the truth, judges them; ``classes``, expected items of each;
        ``errors``, category said to category true to expected answers, and ``wrong``, their sums of the true ones;
        ``even``, see ``dawid_skene.concentration``. Under ``MODEL``: see ``voter.learn``. All but ``even`` and
        ``MODEL`` are sums, so that those of batches add up.
    """
    position = {c: n for n, c in enumerate(categories)}
    said = [[(w, position[c]) for w, c in _said(given) if c in position] for given in answers]
    gold = [h.gold["category"] if h.gold is not None else None for h in hints] or [None] * len(answers)
    truth = np.array([position.get(c, -1) if c is not None else -1 for c in gold], dtype=np.int64)
    known = previous.get(VERSION, {})
    workers = {w: n for n, w in enumerate(sorted({*known.get("workers", {}), *(w for one in said for w, _ in one)}))}
    if not workers:
        return dict(previous)
    rows = np.array([(n, workers[w], c) for n, one in enumerate(said) for w, c in one], dtype=np.int64).reshape(-1, 3)
    votes = Votes(rows[:, 0], rows[:, 1], rows[:, 2], len(said))
    sums, posterior = dawid_skene.fit(votes, _read(known, workers, categories), truth)
    found = {**previous, VERSION: _written(sums, list(workers), categories)}
    judged = [n for n, hint in enumerate(hints) if hint.raw is not None and said[n]]
    if judged:
        raws = [hints[n].raw for n in judged]
        stated = np.array([r["probabilities"] for r in raws if r is not None], dtype=np.float64)
        found[MODEL] = voter.learn(stated, posterior[judged], categories, previous.get(MODEL, {}))
    return found


def _read(known: Mapping[str, Any], workers: Mapping[str, int], categories: Sequence[str]) -> Sums:
    position = {c: n for n, c in enumerate(categories)}
    pairs = [known.get("workers", {}).get(w, (0.0, 0.0)) for w in workers]
    right, total = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    errors = np.zeros((len(categories), len(categories)))
    for said, column in known.get("errors", {}).items():
        for true, n in column.items():
            if said in position and true in position:
                errors[position[true], position[said]] = n
    classes = np.array([known.get("classes", {}).get(c, 0.0) for c in categories], dtype=np.float64)
    return Sums(right, total, classes, errors)


def _written(sums: Sums, workers: Sequence[str], categories: Sequence[str]) -> dict[str, Any]:
    errors = np.where(sums.errors < SMALL, 0, sums.errors)
    wrong = zip(categories, errors.sum(axis=1).tolist(), strict=True)
    columns = {
        said: {categories[n]: float(errors[n, m]) for n in np.flatnonzero(errors[:, m]).tolist()}
        for m, said in enumerate(categories)
        if errors[:, m].any()
    }
    return {
        "workers": dict(zip(workers, np.stack([sums.right, sums.total], axis=1).tolist(), strict=True)),
        "classes": dict(zip(categories, sums.classes.tolist(), strict=True)),
        "errors": columns,
        "wrong": {c: n for c, n in wrong if n},
        "even": dawid_skene.concentration(errors),
    }
