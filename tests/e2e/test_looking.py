"""What a look learns before it tests: the cut and the score, out of fold; and what people's labels support."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs

import gtloop
from gtloop.calibrating import CUTS
from gtloop.events import ConsistencyMeasured, Looked, ModelFitted
from gtloop.models import card_of

SIZES = {"sizes__validation": 30, "sizes__train": 40, "sizes__look_at": 70}
SELECTIVE = {"promise__kind": "selective", "promise__max_loss": None, "promise__target": 0.6}
NOISY = {"annotators.synthetic.noise": 3.0}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return runs.make_images(tmp_path_factory.mktemp("source"), 140)


def events(root: Path, kind: type) -> list[Any]:
    return [e.event for e in gtloop.open(root).events() if isinstance(e.event, kind)]


def run(root: Path, images: tuple[Path, Path], **changes: Any) -> dict[str, Any]:
    outcome, found = runs.run_here(root, runs.settings(*images, **(SIZES | SELECTIVE | changes)))
    assert outcome == "finished"
    return found


@pytest.fixture(scope="module")
def learned(images: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("learned") / "run"
    run(root, images, run__score="learned", annotators__synthetic__noise=0.5)
    return root


def test_a_look_learns_a_cut_and_a_score(learned: Path) -> None:
    (looked,) = events(learned, Looked)
    opened = gtloop.open(learned)
    assert looked.cut in CUTS
    learnt = opened.store.read(looked.fitted)["fitted_json"][0]
    scores = np.array(opened.store.read_path(looked.certificates[0].evidence)["raw_score"])
    assert len(learnt["weights"]) == len(learnt["names"]) + 2
    assert np.ptp(scores) > 0
    card, _ = card_of(opened)
    assert (card.cut, card.learnt) == (looked.cut, learnt)


def test_a_certificate_names_its_number_and_version(learned: Path) -> None:
    (looked,) = events(learned, Looked)
    assert {c.test for c in looked.certificates} == {"betting-2"}
    (uniform,) = {c.uniform for c in looked.certificates}
    assert 0 < uniform <= 1


def test_a_score_that_learns_has_folds_also_where_they_do_not_validate(
    images: tuple[Path, Path], tmp_path: Path
) -> None:
    run(tmp_path / "run", images, run__score="learned", promise__cross_fit=0, annotators__synthetic__noise=0.5)
    (looked,) = events(tmp_path / "run", Looked)
    assert looked.fitted is not None
    assert all(c.exact for c in looked.certificates)
    assert sum(e.fold is not None for e in events(tmp_path / "run", ModelFitted)) == 3
    evidence = gtloop.open(tmp_path / "run").store.read_path(looked.certificates[0].evidence)
    validating = ~np.isnan(np.array(evidence["quality"]))
    assert validating.sum() == 30


def test_a_given_cut_is_kept(images: tuple[Path, Path], tmp_path: Path) -> None:
    run(tmp_path / "run", images, run__cut=0.33)
    (looked,) = events(tmp_path / "run", Looked)
    assert (looked.cut, looked.fitted) == (0.33, None)


def test_what_certifies_has_chosen_nothing_of_its_own(
    images: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every calibration is made without the fold that it is used on; validation rows are in none."""
    from gtloop import calibrating

    seen: list[tuple[set[int], Any]] = []
    real = calibrating._calibrate

    def spy(job: Any, folds: Any, qualities: Any) -> Any:
        rows = {int(r) for held in folds for r in held.rows}
        assert not rows & set(job.state.validation_rows().tolist())
        seen.append((rows, made := real(job, folds, qualities)))
        return made

    monkeypatch.setattr(calibrating, "_calibrate", spy)
    run(tmp_path / "run", images, run__score="learned", annotators__synthetic__noise=0.5)
    every, *others = [rows for rows, _ in seen]
    assert len(others) == 3
    assert all(rows < every for rows in others)
    held = [every - rows for rows in others]
    assert set().union(*held) == every
    assert sum(map(len, held)) == len(every)


@pytest.mark.parametrize(("noise", "target", "warned"), [(3.0, 0.95, True), (0.0, 0.95, False), (3.0, 0.3, False)])
def test_a_target_above_what_people_agree_on_is_warned_about_before_any_fit(
    images: tuple[Path, Path], tmp_path: Path, noise: float, target: float, warned: bool
) -> None:
    found = run(tmp_path / "run", images, annotators__synthetic__noise=noise, promise__target=target, run__workers=2)
    (measured,) = events(tmp_path / "run", ConsistencyMeasured)
    assert bool(measured.warning) == warned == bool(found["promise"]["warning"])
    assert measured.items == 30
    assert found["promise"]["supported"] == pytest.approx((1 + measured.halves) / 2)
    kinds = [type(e.event) for e in gtloop.open(tmp_path / "run").events()]
    assert kinds.index(ConsistencyMeasured) < kinds.index(ModelFitted)


def test_one_worker_can_not_disagree(images: tuple[Path, Path], tmp_path: Path) -> None:
    found = run(tmp_path / "run", images, run__workers=1)
    assert not events(tmp_path / "run", ConsistencyMeasured)
    assert found["promise"]["supported"] is None


def validating(root: Path, look: int = -1) -> tuple[Any, np.ndarray, np.ndarray]:
    """A look, the rows that validate in it, and which of them do so by cross-fitting."""
    looked = events(root, Looked)[look]
    t = gtloop.open(root).store.read_path(looked.certificates[0].evidence)
    known = ~np.isnan(np.array(t["quality"]))
    return looked, np.array(t["row"])[known], ~np.array(t["exact"])[known]


def test_labels_that_were_there_teach_a_score_and_validate_nothing(images: tuple[Path, Path], tmp_path: Path) -> None:
    """They are no random sample of what the pool was drawn from."""
    lines = images[1].read_text().splitlines()[:50]
    (tmp_path / "known.jsonl").write_text("\n".join(lines) + "\n")
    changes = {"sizes__train": 0, "sizes__look_at": 30, "run__score": "learned"}
    run(tmp_path / "run", images, run__labels=str(tmp_path / "known.jsonl"), **changes)
    _, rows, crossed = validating(tmp_path / "run")
    assert sum(e.fold is not None for e in events(tmp_path / "run", ModelFitted)) == 3
    assert not crossed.any()
    assert (rows >= 50).all()


def test_a_later_stage_is_certified_by_its_own_and_has_its_own_allowance(
    images: tuple[Path, Path], tmp_path: Path
) -> None:
    root = tmp_path / "run"
    allowed = {"promise__kind": "dataset", "promise__target": None, "promise__max_loss": 0.2}
    run(root, images, run__score="learned", **allowed)
    more, truth = runs.make_images(tmp_path / "more", 120, seed=7)
    gtloop.open(root).add(str(more), str(truth))
    given = runs.settings(*images, **(SIZES | SELECTIVE | allowed | {"run__score": "learned"}))
    assert runs.run_here(root, given)[0] == "finished"
    _, rows, _ = validating(root)
    assert (rows >= 140).all(), "rows of the first stage validate nothing in the second"
    opened = gtloop.open(root)
    (past,) = [e.event for e in opened.events() if isinstance(e.event, Looked)][1:]
    assert "over all 120 images" in past.why


def test_the_number_of_a_test_follows_from_seed_and_images(learned: Path, tmp_path: Path) -> None:
    """Most seeds are 0: a number by the seed alone would be the same for everybody."""
    other = runs.make_images(tmp_path / "other", 140, seed=3)
    run(tmp_path / "run", other, run__score="learned", annotators__synthetic__noise=0.5)
    numbers = {c.uniform for root in (learned, tmp_path / "run") for e in events(root, Looked) for c in e.certificates}
    assert len(numbers) == 2


def test_where_not_all_labels_can_be_paid_validation_leaves_in_proportion(
    images: tuple[Path, Path], tmp_path: Path
) -> None:
    """A budget that pays a part of the machine's fees: what stays of pool and validation is still alike."""
    root = tmp_path / "run"
    changes = {"promise__kind": "dataset", "promise__target": None, "promise__max_loss": 0.3, "promise__looks": 2}
    changes |= {"prices__answer_usd": 0.01, "prices__machine_fee_usd": 0.1, "annotators__synthetic__noise": 0}
    given = runs.settings(*images, **(SIZES | changes | {"run__budget_usd": 3.0}))
    assert runs.run_here(root, given)[0] == "budget"
    (looked,) = events(root, Looked)
    assert 0 < looked.labels.rows < looked.certificates[0].pool
    share = looked.labels.rows / looked.certificates[0].pool
    retired = 0 if looked.retired is None else looked.retired.rows
    assert retired <= looked.certificates[0].n * min(1.0, share + 0.35)
