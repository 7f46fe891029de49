"""What samplers and scores promise: arithmetic on columns, without surprises."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtloop.interfaces import Pick, PoolView
from gtloop.records import Raw
from gtloop.testing.case import Case, CheckSkipped, require

POOL = 40
CONFIDENCES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.55)
"""Of predictions that get less and less sure, all above the cut."""
TOLERANCE = 1e-6
ENOUGH = 50
"""Times that rows are repeated for a score to learn from: caution with little data is no fault."""
EMBEDDING = 8
"""Columns of the embedding, the only column that is a matrix."""


def check_picks_distinct_rows_of_the_view(case: Case) -> None:
    """At most n distinct rows of the view, as integers, with one sentence why."""
    view = _view(case)
    for n in (0, 1, 7, POOL):
        pick = _select(case, view, n)
        require(len(pick.rows) <= n, f"{len(pick.rows)} rows picked of {POOL}, {n} were asked for")
        require(len(pick.rows) == n or n == POOL, f"{len(pick.rows)} rows picked of {POOL}, {n} were asked for")
        require(np.issubdtype(np.asarray(pick.rows).dtype, np.integer), f"rows are {np.asarray(pick.rows).dtype}")
        rows, counts = np.unique(pick.rows, return_counts=True)
        twice = rows[counts > 1][:3].tolist()
        require(not twice, f"asked for {n} rows, it picks these more than once: {twice}")
        strange = np.setdiff1d(pick.rows, view.rows)[:3].tolist()
        require(not strange, f"asked for {n} rows, it picks these, which it was not shown: {strange}")
        require(pick.reason.strip() and "\n" not in pick.reason, f"reason is {pick.reason!r}, not one line")


def check_large_n_takes_the_whole_pool(case: Case) -> None:
    """More than there are gives all; an empty view gives none."""
    view = _view(case)
    pick = _select(case, view, POOL + 60)
    require(len(pick.rows) == POOL, f"{len(pick.rows)} of {POOL} rows picked when {POOL + 60} were wanted")
    pick = _select(case, view, POOL)
    require(len(pick.rows) == POOL, f"{len(pick.rows)} of {POOL} rows picked when all were wanted")
    nothing = PoolView(view.rows[:0], {k: v[:0] for k, v in view.columns.items()})
    require(len(_select(case, nothing, 5).rows) == 0, "rows picked from an empty view")


def check_seed_decides(case: Case) -> None:
    """The same view and generator give the same rows."""
    view = _view(case)
    a, b = _select(case, view, 9), _select(case, view, 9)
    require(
        np.array_equal(a.rows, b.rows),
        "given the same view and generator twice, it picks different rows: it draws from something else",
    )


def check_ties_are_broken_at_random(case: Case) -> None:
    """Where all candidates are equal, another generator gives other rows, not always the first."""
    view = _view(case)
    flat = PoolView(view.rows, {k: np.full_like(v, 0.5) for k, v in view.columns.items()})
    picks = {tuple(sorted(_select(case, flat, 5, seed).rows)) for seed in range(6)}
    require(
        len(picks) > 1,
        f"among {POOL} equal candidates it picks the same {len(next(iter(picks)))} whatever the generator",
    )


def check_input_is_not_changed(case: Case) -> None:
    """The view's arrays are left as they were."""
    view = _view(case)
    before = {k: v.copy() for k, v in view.columns.items()}
    rows = view.rows.copy()
    _select(case, view, 9)
    require(np.array_equal(rows, view.rows), "select changes view.rows")
    changed = [k for k, v in before.items() if not np.array_equal(v, view.columns[k])]
    require(not changed, f"select changes the columns {', '.join(changed)}")


def check_reads_only_what_it_needs(case: Case) -> None:
    """The columns that it declares in ``needs`` are enough; with no needs, it works before there are predictions."""
    view = _view(case)
    declared = PoolView(view.rows, {k: view.columns[k] for k in sorted(case.cls.needs)})
    try:
        pick = _select(case, declared, 9)
    except KeyError as e:
        require(False, f"it reads column {e}, which is not in needs")
    require(len(pick.rows) == 9, f"with the declared columns only, it picks {len(pick.rows)} of 9 rows")


def check_score_is_in_range(case: Case) -> None:
    """One finite value in [0, 1] for each row, also for none."""
    columns = _features(case)
    n = len(next(iter(columns.values())))
    values = np.asarray(_score(case, columns))
    require(values.shape == (n,), f"score has shape {values.shape} for {n} rows")
    require(np.isfinite(values).all(), "score is not finite")
    require(((values >= 0) & (values <= 1)).all(), f"score is outside [0, 1]: {values.min():.3g} to {values.max():.3g}")
    empty = np.asarray(_score(case, {k: v[:0] for k, v in columns.items()}))
    require(empty.shape == (0,), f"score of no rows has shape {empty.shape}")


def check_score_is_pure(case: Case) -> None:
    """The same columns give the same score, row by row, and are left as they were."""
    columns = _features(case)
    before = {k: v.copy() for k, v in columns.items()}
    whole = np.asarray(_score(case, columns))
    changed = [k for k, v in before.items() if not np.array_equal(v, columns[k])]
    require(not changed, f"score changes the columns {', '.join(changed)}")
    back = np.asarray(_score(case, {k: v[::-1] for k, v in columns.items()}))
    other = "the score of a row depends on the other rows"
    require(np.allclose(whole, back[::-1]), f"{other}: the same rows in reverse order have other scores")
    half = np.asarray(_score(case, {k: v[::2] for k, v in columns.items()}))
    require(np.allclose(whole[::2], half), f"{other}: every second row, scored without the rest, has another score")


def check_score_needs_are_declared(case: Case) -> None:
    """The columns that it declares in ``needs`` are enough."""
    columns = _features(case)
    try:
        _score(case, {k: columns[k] for k in sorted(case.cls.needs)})
    except KeyError as e:
        require(False, f"it reads column {e}, which is not in needs")


def check_sure_beats_unsure(case: Case) -> None:
    """The surer the same predictions are, the higher they score, or equal."""
    if not case.task_name:
        raise CheckSkipped("no installed task gives the features that it needs")
    raws = [case.task.raw(t) for t in case.truths if case.task.count(t)]
    if all(_dimmed(raw, 0.5) == raw for raw in raws):
        raise CheckSkipped("the raw predictions of this task have no scores or probabilities")
    means = [float(np.mean(_score(case, _dimmed_columns(case, raws, by)))) for by in CONFIDENCES]
    for (sure, high), (unsure, low) in pairwise(zip(CONFIDENCES, means, strict=True)):
        require(
            high >= low - TOLERANCE,
            f"predictions with confidence {sure} score {high:.2f}, the same with confidence {unsure} score {low:.2f}",
        )


def check_score_learns(case: Case) -> None:
    """What ``fit`` returns is JSON, the same each time, and gives values in [0, 1] that follow what was learnt."""
    score = case.build()
    if not score.learns:
        few = _features(case)
        learnt = score.fit(few, np.linspace(0, 1, len(few["n_objects"])))
        require(not learnt, "fit learns something, but learns is not set: core will never ask for it")
        return
    columns = {k: np.tile(v, ENOUGH) for k, v in _features(case).items()}
    clue = columns["n_objects"] + columns[min(case.cls.needs - {"n_objects"}, default="n_objects")]
    quality = np.argsort(np.argsort(clue, kind="stable"), kind="stable") / len(clue)
    learnt = score.fit(columns, quality)
    require(isinstance(learnt, dict), f"fit returns {type(learnt).__name__}, not a dict")
    try:
        kept = json.loads(json.dumps(learnt))
    except (TypeError, ValueError) as e:
        require(False, f"what fit returns is no JSON: {e}")
    require(case.build().fit(columns, quality) == learnt, "fit learns something else from the same twice")
    values = np.asarray(case.build().fitted(columns, kept))
    far = np.asarray(case.build().fitted({k: 1e4 * v for k, v in columns.items()}, kept))
    for found in (values, far):
        inside = found.shape == quality.shape and np.isfinite(found).all() and ((found >= 0) & (found <= 1)).all()
        require(inside, f"fitted gives no {len(quality)} values in [0, 1]")
    follows = float(np.corrcoef(values, quality)[0, 1]) if np.ptp(values) > 0 else 0.0
    require(
        follows > 0.3, f"what it has learnt does not follow a quality that its columns tell (correlation {follows:.2f})"
    )
    for constant in (0.0, 1.0):
        case.build().fit(columns, np.full(len(quality), constant))


def _dimmed_columns(case: Case, raws: list[Raw], by: float) -> dict[str, NDArray[np.float32]]:
    return _stack(case, [case.task.features(_dimmed(raw, by), 0.5) for raw in raws])


def _dimmed(raw: Raw, by: float) -> Raw:
    return {**raw, **{k: [v * by for v in raw[k]] for k in ("scores", "probabilities") if k in raw}}


def _view(case: Case) -> PoolView:
    rng = case.rng(5)
    rows = np.sort(rng.permutation(3 * POOL)[:POOL]).astype(np.int32)
    names = {"score", "n_objects", "embedding", "margin", "entropy"} | case.cls.needs
    columns: dict[str, NDArray[np.float32]] = {name: rng.random(POOL, dtype=np.float32) for name in sorted(names)}
    columns["n_objects"] = rng.integers(0, 6, POOL).astype(np.float32)
    columns["embedding"] = rng.random((POOL, EMBEDDING), dtype=np.float32)
    return PoolView(rows, columns)


def _select(case: Case, view: PoolView, n: int, seed: int = 0) -> Pick:
    pick: Pick = case.build().select(view, n, case.rng(6, seed))
    return pick


def _features(case: Case) -> dict[str, NDArray[np.float32]]:
    """Columns of real features where a task gives them, and of random numbers in [0, 1]."""
    rng = case.rng(8)
    noise = {name: rng.random(50, dtype=np.float32) for name in sorted({*case.cls.needs, "n_objects"})}
    noise["n_objects"] = rng.integers(0, 5, 50).astype(np.float32)
    if not case.task_name:
        return noise
    names = case.task.feature_names
    real = _stack(case, [case.task.features(case.task.raw(t), 0.5) for t in case.truths])
    return {k: np.concatenate([real[k], noise.get(k, rng.random(50, dtype=np.float32))]) for k in names}


def _stack(case: Case, rows: list[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    return dict(zip(case.task.feature_names, np.stack(rows).T, strict=True))


def _score(case: Case, columns: dict[str, NDArray[np.float32]]) -> Any:
    return case.build().score(columns)


SAMPLER_CHECKS = (
    check_picks_distinct_rows_of_the_view,
    check_large_n_takes_the_whole_pool,
    check_seed_decides,
    check_ties_are_broken_at_random,
    check_input_is_not_changed,
    check_reads_only_what_it_needs,
)
SCORE_CHECKS = (
    check_score_is_in_range,
    check_score_is_pure,
    check_score_needs_are_declared,
    check_sure_beats_unsure,
    check_score_learns,
)
