"""A model as one more voter (CROWDLAB: Goh, Tkachenko, Mueller, arXiv 2210.06812), for training items only.

What the model says is replaced by what was true when it said so before, as far as people know: how often the category
that it names is right, for that category and for how sure it was. A model that is sure and wrong is so found out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gtloop.labels import FloatArray
from gtloop_plugins.tasks.classification.dawid_skene import dispersion

SURE = (0.5, 0.7, 0.85, 0.95, 0.99)
"""Edges between degrees of the model's confidence."""
ITEMS = 20.0
"""How many items it takes to believe a model half."""
LEAST, MOST = 6.0, 1e4
"""How many it takes for one of its categories, or degrees, apart from the rest: most where what it says is unrelated to
what is true, as far as can be told from chance (``dawid_skene.dispersion``); else few."""
MEMORY = 1000.0
"""Items that count for full: models change from round to round."""
SMALL = 1e-3
"""Expected items below that are not kept."""


def learn(
    stated: FloatArray, posterior: FloatArray, categories: Sequence[str], previous: Mapping[str, Any]
) -> dict[str, Any]:
    """Add how a model's predictions compare with people's posterior.

    Args:
        stated: (N, K) probabilities of the model, which never saw the items' labels.
        posterior: (N, K) what people's answers make of the same items.
        categories: The run's.
        previous: What this returned before; more than ``MEMORY`` items of it are weighed down to that.

    Returns:
        ``rows``: category that the model names to true category to expected items; ``degrees``: one [right, items] for
        each degree of confidence; ``even``, between ``LEAST`` and ``MOST``.
    """
    k = len(categories)
    position = {c: n for n, c in enumerate(categories)}
    rows = np.zeros((k, k))
    for said, row in previous.get("rows", {}).items():
        for true, n in row.items():
            if said in position and true in position:
                rows[position[said], position[true]] = n
    degrees = np.array(previous.get("degrees", [[0.0, 0.0]] * (len(SURE) + 1)))
    fade = min(1.0, MEMORY / max(rows.sum(), 1.0))
    rows, degrees = rows * fade, degrees * fade
    named = stated.argmax(axis=1)
    np.add.at(rows, named, posterior)
    right = posterior[np.arange(len(named)), named]
    np.add.at(degrees, np.searchsorted(SURE, stated.max(axis=1)), np.stack([right, np.ones(len(right))], axis=1))
    kept = np.where(rows < SMALL, 0, rows)
    unrelated = np.outer(kept.sum(axis=1), kept.sum(axis=0)) / kept.sum()
    return {
        "rows": {
            said: {categories[m]: float(kept[n, m]) for m in np.flatnonzero(kept[n]).tolist()}
            for n, said in enumerate(categories)
            if kept[n].any()
        },
        "degrees": degrees.tolist(),
        "even": float(np.clip(dispersion(kept, unrelated, k - 1), LEAST, MOST)),
    }


def weigh(
    stated: Sequence[float], names: Sequence[str], classes: Sequence[float], known: Mapping[str, Any]
) -> list[float]:
    """Probabilities of the categories given what the model says; ``classes`` where nothing is known of it.

    Args:
        stated: (K,) probabilities of the model.
        names: (K,) categories.
        classes: (K,) how frequent they are, not normalised.
        known: Of ``learn``.
    """
    rows = known.get("rows", {})
    if not rows:
        return list(classes)
    everything = sum(classes)
    prior = [c / everything for c in classes]
    best = max(range(len(stated)), key=lambda n: (stated[n], -n))
    degree = known["degrees"][bisect_left(SURE, stated[best])]
    row, even = rows.get(names[best], {}), known["even"]
    overall, usual = _overall(known, dict(zip(names, prior, strict=True)))
    base = overall + (1 - overall) * prior[best]
    named = (even * base + row.get(names[best], 0.0)) / (even + sum(row.values()))
    sure = (even * usual + degree[0]) / (even + degree[1])
    # Both say something about the same vote: odds multiply as if they were independent, but no further than the
    # better of the two goes.
    odds = _odds(named) * _odds(sure) / _odds(usual)
    right = min(odds / (1 + odds), max(named, sure))
    rest = [even * q + row.get(c, 0.0) for c, q in zip(names, prior, strict=True)]
    rest[best] = 0.0
    others = sum(rest)
    found = [(1 - right) * r / others if others else 0.0 for r in rest]
    found[best] = right
    return found


def _overall(known: Mapping[str, Any], prior: Mapping[str, float]) -> tuple[float, float]:
    """How far the model is right beyond chance (Cohen's kappa, shrunk to 0), and how often it is right."""
    right, items = (sum(values) for values in zip(*known["degrees"], strict=True))
    chance = sum(prior.get(said, 0.0) * sum(row.values()) for said, row in known["rows"].items())
    kappa = max(0.0, (right - chance) / (max(items - chance, 0.0) + ITEMS))
    return kappa, (ITEMS * chance / max(items, 1.0) + right) / (ITEMS + items)


def _odds(p: float) -> float:
    p = min(1 - 1e-6, max(1e-6, p))
    return p / (1 - p)
