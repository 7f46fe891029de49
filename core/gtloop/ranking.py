"""What a sampler is shown, and its ranking, checked; it never learns which rows are validation."""

from __future__ import annotations

import numpy as np

from gtloop.errors import PluginFault, blame
from gtloop.interfaces import PoolView, Rows
from gtloop.job import Job
from gtloop.keyed import rng
from gtloop.predictions import embedding_space, read_embeddings, read_predictions, score
from gtloop.state import HUMAN, TRAIN

EMBEDDING = "embedding"


def needs_predictions(job: Job) -> bool:
    """Whether the sampler's choice depends on the model."""
    sampler = job.plugins.sampler
    return bool((sampler.needs | sampler.uses) - {EMBEDDING})


def embedding_due(job: Job) -> bool:
    """Whether the sampler goes by embeddings that the detector gives, and some items have none yet."""
    sampler, detector = job.plugins.sampler, job.plugins.detector
    if EMBEDDING not in (sampler.needs | sampler.uses) & detector.gives:
        return False
    embedded = job.state.facts.embedded.get(embedding_space(detector))
    return embedded is None or embedded.rows < len(job.items)


def candidates(job: Job, rows: Rows) -> Rows:
    """What a sampler chooses from: ``rows``, sorted, or as many as ``loop.candidates`` of them at random.

    Drawn anew in each turn. Pool and validation are drawn alike, so that they stay exchangeable.
    """
    n = job.settings.loop.candidates
    if len(rows) <= n:
        return rows
    keys = job.order(f"candidates-{job.state.turns}", rows)
    return np.sort(rows[np.argpartition(keys, n)[:n]])


def rank(job: Job, rows: Rows, n: int, predictions: str | None = None) -> tuple[Rows, str]:
    """The sampler's ``n`` best of ``rows`` and its reason; random where what it needs is not there.

    Goes by ``predictions`` at that path, by default those of the model of now.

    Raises:
        PluginFault: The sampler picked something else than distinct rows that it was shown.
    """
    model = job.state.facts.model
    sampler, view = job.plugins.sampler, _view(job, rows, predictions or (model.chosen_from if model else None))
    generator = rng(job.seed, "pick", len(job.state.facts.batches) + 1)
    lacking = sorted(sampler.needs - view.columns.keys())
    if lacking:
        return generator.permutation(view.rows)[:n], f"at random, as there is no {', '.join(lacking)} to go by"
    with blame("sampler", sampler.name, "select"):
        ranking, reason = sampler.select(view, n, generator)
        ranking = np.asarray(ranking)
    expected = min(n, len(view.rows))
    if (
        ranking.shape != (expected,)
        or ranking.dtype.kind not in "iu"
        or len(np.unique(ranking)) != expected
        or not np.isin(ranking, view.rows).all()
    ):
        raise PluginFault(
            f"sampler {sampler.name!r} must pick {expected} of the rows that it was shown, each once; "
            f"see: gtloop plugins check {sampler.name}"
        )
    return ranking.astype(np.int32), str(reason)


def _view(job: Job, rows: Rows, predictions: str | None) -> PoolView:
    """The candidates of ``rows`` that have what there is to have: predictions, embeddings."""
    view = PoolView(rows)
    if predictions is not None:
        known, columns, _ = read_predictions(job, predictions, rows)
        view = PoolView(known, columns | {"score": score(job, columns).astype(np.float32)})
    sampler = job.plugins.sampler
    if EMBEDDING not in sampler.needs | sampler.uses:
        return view
    return _with_embeddings(job, view)


def _with_embeddings(job: Job, view: PoolView) -> PoolView:
    training = np.setdiff1d(job.state.rows(HUMAN, TRAIN), view.rows)  # what is shown counts as not labelled yet
    embedded, vectors = read_embeddings(job, np.union1d(view.rows, training))
    shown = np.isin(embedded, view.rows)
    if not shown.any():
        return view
    keep = np.isin(view.rows, embedded)
    columns = {name: column[keep] for name, column in view.columns.items()}
    labelled = vectors[np.isin(embedded, training)]
    return PoolView(embedded[shown], {**columns, EMBEDDING: vectors[shown]}, {EMBEDDING: labelled})
