"""``plan``, ``simulate`` and ``replay``: their arithmetic, and small whole calls of them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs as small
from hypothesis import given
from hypothesis import settings as fuzz
from hypothesis import strategies as st
from PIL import Image

import gtloop
from gtloop import caching, config
from gtloop.errors import RunError, UsageError
from gtloop.money import Prices
from gtloop.promise import Promise
from gtloop.registry import Registry
from gtloop_plugins.commands.planning import again, counterfactual, forecast, models, wishes
from gtloop_plugins.commands.planning.counterfactual import kept, people_say
from gtloop_plugins.commands.planning.pricing import Pricing, work_of


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load(discover=False, extra_modules=["gtloop_plugins"])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return small.make_images(tmp_path_factory.mktemp("planning"), 120)


def _flags(images: tuple[Path, Path], **more: Any) -> config.Settings:
    given = small.settings(*images, sizes__validation=24, sizes__train=16, sizes__look_at=40, sizes__batch=20)
    return config.replaced(given, {k.replace("__", "."): v for k, v in more.items()})


@pytest.fixture(scope="module")
def by_people(images: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which people labelled everything, as its target is out of reach."""
    root = tmp_path_factory.mktemp("people") / "run"
    plain = {"promise__kind": "selective", "promise__max_loss": None, "promise__target": 0.97, "promise__cross_fit": 0}
    outcome, found = small.run_here(root, _flags(images, sizes__validation=60, **plain))
    assert (outcome, found["items"]["machine"]) == ("finished", 0)
    return root


@pytest.fixture(scope="module")
def by_machine(images: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with machine labels."""
    root = tmp_path_factory.mktemp("machine") / "run"
    outcome, found = small.run_here(root, _flags(images, promise__max_loss=0.3))
    assert outcome == "finished"
    assert found["items"]["machine"] > 0
    return root


# ------------------------------------------------------------------------------------------- wishes


def test_seeds_and_settings_are_read_as_they_are_written() -> None:
    assert wishes.seeds_of("0-2,5,1") == (0, 1, 2, 5)
    found = wishes.settings_of(["run.workers=1,3", "promise.target=0.5,0.6"])
    assert [(v["run.workers"], v["promise.target"]) for v in found] == [
        ("1", "0.5"), ("1", "0.6"), ("3", "0.5"), ("3", "0.6"),
    ]  # fmt: skip
    assert wishes.settings_of([]) == [{}]
    assert wishes.settings_of(['run.classes=["a", "b"]']) == [{"run.classes": '["a", "b"]'}]


@pytest.mark.parametrize("text", ["", "x", "3-1", "1-", "-2", "1,,2"])
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write numbers and ranges"):
        wishes.seeds_of(text)


@pytest.mark.parametrize(
    "texts", [["target=1"], ["promise.target"], ["promise.target="], ["a.b=1", "a.b=2"], ["run.seed=1"]]
)
def test_settings_that_are_none_are_refused(texts: list[str]) -> None:
    with pytest.raises(UsageError, match="--set"):
        wishes.settings_of(texts)


# -------------------------------------------------------------------------------------------- models


@fuzz(deadline=None)
@given(st.floats(0.05, 0.9), st.floats(0.05, 0.8), st.integers(20, 200), st.integers(2, 6))
def test_a_power_law_is_found_again(alpha: float, gamma: float, first: int, times: int) -> None:
    losses = {n: np.full(400, alpha * (n / first) ** -gamma) for n in (first, first * times)}
    found, kappa = models.learning_curve(losses)
    low = 0.5 / 400
    if alpha * times**-gamma > low:
        assert found == pytest.approx(gamma, rel=1e-3)
        ratio = models.error_ratio((found, kappa), first, first * times)
        assert ratio == pytest.approx(times**-gamma, rel=1e-3)


@fuzz(deadline=None)
@given(st.dictionaries(st.integers(1, 500), st.lists(st.floats(0, 1), min_size=1, max_size=30), max_size=5))
def test_more_training_never_counts_as_worse(losses: dict[int, list[float]]) -> None:
    slopes = models.learning_curve({n: np.array(v) for n, v in losses.items()})
    assert 0 <= slopes[0] <= 1
    assert slopes[1] >= 0
    assert models.error_ratio(slopes, 100, 200) <= 1 <= models.error_ratio(slopes, 100, 50)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_assumed_models_have_the_quality_they_name(strength: float) -> None:
    chance = np.random.default_rng(0)
    score, quality, _ = models.Assumed(strength, False).draw(chance, 40_000, 100)
    assert quality.mean() == pytest.approx(models.WEAK + strength * (models.STRONG - models.WEAK), abs=0.01)
    assert quality.std() == pytest.approx(models.SPREAD, abs=0.01)
    assert np.cov(score, quality)[0, 1] == pytest.approx(models.TIE, abs=0.012)
    _, right, _ = models.Assumed(strength, True).draw(chance, 40_000, 100)
    assert right.mean() == pytest.approx(0.75 + strength * 0.18, abs=0.01)


def test_slices_of_a_pilot_are_those_of_its_job(by_people: Path) -> None:
    pilot = models.read_pilot(gtloop.open(by_people))
    names, counts = np.unique(pilot.items.slice, return_counts=True)
    assert len(names) > 1
    drawn = models.Piloted.of(pilot, np.random.default_rng(0), False).draw(np.random.default_rng(1), 20_000, 16)
    share = [float((drawn.slice == name).mean()) for name in names]
    assert share == pytest.approx((counts / counts.sum()).tolist(), abs=0.25)


# ------------------------------------------------------------------------------------------- prices


@fuzz(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.floats(0, 500)), min_size=1, max_size=30),
    st.integers(0, 300),
    st.integers(0, 300),
    st.integers(0, 900),
)
def test_a_mean_price_pays_what_the_answers_cost(
    work: list[tuple[int, float]], human: int, machine: int, answers: int
) -> None:
    """As many answers as there were cost their sum; no price is above that of the dearest answer."""
    prices = Prices(
        answer_usd="0.01", object_usd="0.02", objects_most=10, hour_usd="12", seconds_most=100, fee_share="0.2",
        fee_min_usd="0.01", item_fee_usd="0.08", machine_fee_usd="0.04", fee_tiers=((100, "0.05"),),
    )  # fmt: skip
    rates = prices.rates()
    mean, most = Pricing.of(prices, rates, work), Pricing.of(prices, rates)
    exact = sum((pay := prices.answer + prices.extra(*w)) + prices.fee(pay) for w in work)
    assert mean.cost_usd(0, 0, len(work)) == pytest.approx(exact / 1e6, abs=2e-6)
    assert mean.cost_usd(human, machine, answers) <= most.cost_usd(human, machine, answers) + 1e-6
    fees = min(human, 100) * 0.08 + max(0, human - 100) * 0.05
    fees += 0.04 * machine
    assert mean.cost_usd(human, machine, 0) == pytest.approx(fees)


# ------------------------------------------------------------------------------------------ forecast


def _job(n: int, answer: str = "0.1", fee: str = "0", **changes: Any) -> forecast.Job:
    settings = config.load(None, {"run.task": "bbox", **{k.replace("__", "."): v for k, v in changes.items()}})
    prices = Prices(answer_usd=answer, item_fee_usd=fee, machine_fee_usd="0.02")
    p = settings.promise
    promise = Promise(p.kind, "q", p.target or 0.6, p.delta, p.rule, max_loss=p.max_loss, looks=p.looks)
    return forecast.Job(settings, promise, n, True, Pricing.of(prices, prices.rates()))


@pytest.mark.parametrize(
    "changes",
    [{}, {"promise__looks": 3}, {"promise__cross_fit": 0}, {"promise__kind": "dataset", "promise__max_loss": 0.2},
     {"run__preset": "ground-truth"}],
)  # fmt: skip
def test_every_item_is_paid_once(changes: dict[str, Any]) -> None:
    job = _job(400, **changes)
    request, share = job.pricing.rates.request(job.settings.run.workers) / 1e6, []
    for found in forecast.forecast(job, 10):
        human, machine = found["people_items"], 400 * found["machine_share"]  # type: ignore[operator]
        assert human + machine == pytest.approx(400)
        assert found["cost_usd"] == pytest.approx(human * request + machine * 0.02)  # type: ignore[operator]
        assert found["answers"] == human * job.settings.run.workers  # type: ignore[operator]
        share.append(found["machine_share"])
    assert max(share) > 0
    assert forecast.forecast(job, 10)[9]["machine_share"] == share[9]


@pytest.mark.parametrize("items", [1, 5, 31])
def test_a_plan_for_few_images(items: int) -> None:
    facts = json.loads(small.cli("plan", "--items", items, "--draws", 10, "--json").out)
    assert facts["range"]["people_items"]["p10"] == items
    assert facts["none_by_machine"] == 1
    assert facts["note"]


def test_what_makes_a_promise_cheap_makes_a_plan_cheap() -> None:
    """A lower target or a dataset promise costs no more; a target out of reach costs what people cost."""

    def cost(**changes: Any) -> float:
        found = forecast.percentiles(forecast.forecast(_job(600, **changes), 30))["cost_usd"]["p50"]
        assert found is not None
        return found

    easy, usual, hard = cost(promise__target=0.3), cost(promise__target=0.6), cost(promise__target=0.99)
    assert easy < usual <= hard == pytest.approx(600 * 0.3)
    assert cost(promise__kind="dataset", promise__max_loss=0.3) < usual


def test_a_pilot_that_is_always_right_promises_more_than_one_that_never_is(by_people: Path) -> None:
    pilot = models.read_pilot(gtloop.open(by_people))
    assert len(pilot.items.quality) == 60
    assert pilot.trained == 16
    job = _job(400)

    def share(quality: float) -> float | None:
        told = pilot._replace(
            items=pilot.items._replace(quality=np.full(60, quality)), losses={16: np.full(60, 1 - quality)}
        )
        found = forecast.forecast(dataclasses.replace(job, pilot=told), 10)
        return forecast.percentiles(found)["machine_share"]["p50"]

    assert share(0.0) == 0
    assert (share(0.95) or 0) > 0.5


def test_plan_on_the_command_line(images: tuple[Path, Path], by_machine: Path, tmp_path: Path) -> None:
    few = ("--draws", 20)
    ended = small.cli("plan", images[0], "--annotator", "files", "--workers", 2, "--out", tmp_path / "p", *few)
    assert ended.code == 0, ended.err
    assert "120 images" in ended.out
    for name in ("plan.md", "plan.csv", "plan.json", "plan.png", "plan-dark.png"):
        assert (tmp_path / "p" / name).stat().st_size > 0
    facts = json.loads(small.cli("plan", "--compare", by_machine, "--pilot", by_machine, *few, "--json").out)
    assert facts["items"] == 120
    assert facts["compared"]["actual"]["machine_share"] > 0
    assert facts["compared"]["inside"]["people_items"] is True
    assert facts["range"]["hours"]["p50"] > 0
    assert "say once" in small.cli("plan", images[0], "--items", 5).error
    assert "how many images" in small.cli("plan").error
    assert (
        "not 'classification'"
        in small.cli("plan", "--items", 50, "--task", "classification", "--pilot", by_machine).error
    )


# ------------------------------------------------------------------------------------------- replay


def test_settings_that_change_the_course_are_told_from_those_that_change_a_look() -> None:
    assert again.only_look({"promise.target": "0.7", "prices.answer_usd": "1", "run.score": "mean"})
    assert not again.only_look({"promise.target": "0.7", "sizes.train": "10"})
    assert not again.only_look({"promise.looks": "2"})


def test_a_replay_without_changes_is_the_run(by_machine: Path, registry: Registry) -> None:
    run = gtloop.open(by_machine)
    status = run.status(registry)
    (found,) = again.replayed(run, registry, {}, 0, None)
    assert found["machine_share"] == pytest.approx(status["saving_items"])
    assert found["cost_usd"] == pytest.approx(status["cost_usd"]["total"])
    assert found["answers"] == status["annotations"]


def test_other_prices_are_those_of_the_answers_that_there_were(by_people: Path, registry: Registry) -> None:
    run = gtloop.open(by_people)
    values = {"prices.answer_usd": "0", "prices.object_usd": "0.5", "prices.objects_most": 9}
    (found,) = again.replayed(run, registry, values, 0, None)
    objects = sum(n for n, _ in work_of(run, run.task(registry)))
    assert found["cost_usd"] == pytest.approx(0.5 * objects, rel=1e-6)


def test_a_stricter_target_labels_no_more(by_people: Path, registry: Registry) -> None:
    run = gtloop.open(by_people)
    shares = [
        again.replayed(run, registry, {"promise.target": t}, 0, None)[0]["machine_share"] for t in (0.3, 0.6, 0.97)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0 == shares[-1]


def test_splits_draw_validation_as_a_run_does(by_people: Path, registry: Registry) -> None:
    """Each split validates with as many items, each item in about as many splits, but for those a model voted on."""
    run = gtloop.open(by_people)
    past = again.looks_of(run)[-1]
    look = again.Look(run, past, registry, {})
    known = again.known_of(look, np.zeros(len(look.gathered.rows), bool))
    drawn = np.array([~np.isnan(again.redraw(known, look, 40, n)) for n in range(300)])
    assert (drawn.sum(axis=1) == 40).all()
    free = ~np.isnan(known.quality)
    assert 40 < free.sum() < len(free), "a model has voted on some labels, which measure nothing"
    assert drawn[:, free].mean(axis=0) == pytest.approx(40 / free.sum(), abs=0.15)
    assert not drawn[:, ~free].any()
    found = again.replayed(run, registry, {"promise.target": 0.3}, 5, None)
    assert len(found) == 5
    assert all(0 < f["known"] <= round(f["machine_share"] * 120) for f in found)
    assert found == again.replayed(run, registry, {"promise.target": 0.3}, 5, None)


def test_a_mean_of_known_items_weighs_both_regions() -> None:
    """Nine known bad items of a wide region don't outvote the one known good item of a large one."""
    n = 100
    surest = np.arange(n) < 90
    quality = np.full(n, np.nan)
    quality[0], quality[90:] = 1.0, 0.0
    look: Any = type("L", (), {"promise": Promise("selective", "q", 0.6), "past": type("P", (), {"total": n})})
    known = again.Known(np.ones(n, bool), quality, surest, 0)
    found = again.judged(known, look, np.ones(n, bool), np.zeros(n, bool))
    assert found == {"quality": pytest.approx(0.9), "known": 11, "kept": True}
    quality[0] = np.nan
    assert again.judged(known, look, np.ones(n, bool), np.zeros(n, bool))["quality"] is None


def test_replay_on_the_command_line(by_people: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    facts = json.loads(
        small.cli("replay", by_people, "--set", "promise.target=0.3,0.97", "--splits", 4, "--out", out, "--json").out
    )
    assert facts["kind"] == "exploratory"
    assert len(facts["rows"]) == 8
    assert "Exploratory" in (out / "table.md").read_text()
    assert (out / "frontier.png").stat().st_size > 0
    before = small.facts(by_people)
    more = ("--set", "promise.target=0.3", "--set", "sizes.train=16,30", "--jobs", 1)
    facts = json.loads(small.cli("replay", by_people, *more, "--out", out, "--json").out)
    assert [s["runs"] for s in facts["settings"]] == [1, 1]
    assert all(0 < s["machine_share"]["median"] < 1 for s in facts["settings"])
    assert facts["left_out"] == 0
    assert small.facts(by_people) == before, "nobody is asked, and nothing in the run changes"
    same = facts["settings"][0]["quality_people"]["median"]
    assert 0 <= same <= 1
    assert "leave one of them out" in small.cli("replay", by_people, *more, "--splits", 2).error


@pytest.mark.parametrize(
    "more",
    [
        ("--set", "sizes.validation=1000"),
        ("--set", "sizes.validation=20,1000", "--set", "promise.target=0.3"),
        ("--set", "sizes.train=118"),
        ("--set", "sizes.probe=121"),
        ("--set", "promise.target=0.3", "--splits", 2, "--validation", 121),
    ],
)
def test_more_than_people_have_labelled_is_refused(by_people: Path, tmp_path: Path, more: tuple[object, ...]) -> None:
    """Cut to what there is, it would be a replay of other settings than it says."""
    ended = small.cli("replay", by_people, *more, "--out", tmp_path / "out")
    assert ended.code == 2
    assert "nobody is asked again; give" in ended.error
    assert not list(tmp_path.rglob("ledger.sqlite")), "before anything is run"


def test_only_a_finished_run_is_replayed(images: tuple[Path, Path], tmp_path: Path) -> None:
    root = tmp_path / "waiting"
    small.run_here(root, config.replaced(_flags(images), {"run.annotator": "files"}), wait=False)
    assert "is not finished yet" in small.cli("replay", root).error


def test_renamed_categories_are_not_replayed(by_people: Path, tmp_path: Path) -> None:
    root = shutil.copytree(by_people, tmp_path / "run")
    assert small.cli("categories", root, "--rename", "crate=box").code == 0
    assert "were renamed or merged after its looks" in small.cli("replay", root).error


def test_a_run_without_a_look_has_nothing_to_replay(tmp_path: Path) -> None:
    images = small.make_images(tmp_path, 30)
    root = tmp_path / "run"
    small.run_here(root, _flags(images, sizes__look_at=200))
    assert "no look that tested anything" in small.cli("replay", root).error
    with pytest.raises(RunError, match="tells nothing about a model"):
        models.read_pilot(gtloop.open(root))


# ----------------------------------------------------------------------------------------- simulate


def test_people_say_what_they_would_have_said(
    by_people: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where people did label an item as ``train``, the counterfactual answers are the very ones.

    Of those that a sampler picked the model has voted on the label, which the counterfactual is without.
    """
    run = gtloop.open(by_people)
    rows = [row for row, purpose, _ in run.answers() if purpose == "train"]
    said, task = people_say(run, registry, np.array(rows, np.int32)), run.plugins(registry).task
    labels = {x.row: x.payload for x in run.labels()}
    same = [1 - task.error(said[r], labels[r]) for r in rows if said[r] is not None and labels[r] is not None]
    assert len(same) > 50
    # skills have grown since the first labels were made, and a model has voted on some
    assert np.mean(same) > 0.9
    monkeypatch.setattr(counterfactual, "ATTEMPT", 2)  # other answers of the same people
    others = people_say(run, registry, np.array(rows, np.int32))
    assert (
        np.mean([1 - task.error(others[r], labels[r]) for r in rows if others[r] and labels[r]]) < np.mean(same) - 0.1
    )
    assert not (by_people / ".counterfactual").exists()


def test_kept_is_what_the_promise_says() -> None:
    selective = {"kind": "selective", "target": 0.6, "max_loss": None}
    assert kept([0.5, 0.7], selective, 10) is True
    assert kept([0.5, 0.69], selective, 10) is False
    assert kept([], selective, 10) is None
    dataset = {"kind": "dataset", "target": None, "max_loss": 0.1}
    assert kept([0.5, 0.5], dataset, 10) is True
    assert kept([0.5, 0.4], dataset, 10) is False


def test_simulate_on_the_command_line(
    images: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two settings; a second call makes nothing again, and a third fits nothing that was fitted."""
    out = tmp_path / "s"
    sizes = [x for k, v in {"validation": 24, "train": 16, "look_at": 40}.items() for x in ("-o", f"sizes.{k}={v}")]
    call = (
        "simulate",
        images[0],
        "--truth",
        images[1],
        "--classes",
        "crate,drum",
        "--detector",
        "stub",
        "--seeds",
        "0",
    )
    call = (*call, "--jobs", 1, "--out", out, *sizes, "--json")
    facts = json.loads(small.cli(*call, "--set", "promise.target=0.3,0.97").out)
    easy, hard = facts["settings"]
    assert easy["runs"] == hard["runs"] == 1
    assert easy["machine_share"]["median"] > 0 == hard["machine_share"]["median"]
    assert easy["cost_usd"]["high"] < hard["cost_usd"]["low"]
    assert easy["quality_truth"]["median"] is not None
    assert easy["quality_people"]["median"] is not None
    assert hard["judged_people"] == 0
    assert (out / "frontier.png").stat().st_size > 0
    stamps = {p: p.stat().st_mtime_ns for p in (out / "runs").rglob("*") if p.is_file()}
    fits = len(list((out / "cache" / "fits").iterdir()))
    again_ = json.loads(small.cli(*call, "--set", "promise.target=0.3,0.97").out)
    assert again_["settings"] == facts["settings"]
    assert {p: p.stat().st_mtime_ns for p in (out / "runs").rglob("*") if p.is_file()} == stamps
    next((out / "runs").rglob("result.json")).unlink()  # killed just before it was written
    assert json.loads(small.cli(*call, "--set", "promise.target=0.3,0.97").out)["runs"] == facts["runs"]
    small.cli(*call, "--set", "prices.answer_usd=1")
    assert len(list((out / "cache" / "fits").iterdir())) == fits, "another price fits nothing anew"


@pytest.mark.slow
def test_simulate_in_parallel_gives_what_one_process_gives(images: tuple[Path, Path], tmp_path: Path) -> None:
    call = ("simulate", images[0], "--truth", images[1], "--classes", "crate,drum", "--detector", "stub", "--json")
    one, two = (json.loads(small.cli(*call, "--jobs", n, "--out", tmp_path / str(n)).out)["settings"] for n in (1, 2))
    assert one == two


def test_simulate_says_what_is_wrong_before_a_run(images: tuple[Path, Path], tmp_path: Path, by_people: Path) -> None:
    call = ("simulate", images[0], "--truth", images[1], "--detector", "stub", "--out", tmp_path / "s")
    assert "nothing to choose from" in small.cli(*call).error
    assert "is a run" in small.cli(*call[:-1], by_people, "--classes", "crate,drum").error
    assert (
        "does not answer from a truth"
        in small.cli(*call, "--classes", "crate,drum", "--set", "run.annotator=files").error
    )
    assert not (tmp_path / "s").exists()


def test_a_run_that_fails_names_itself(images: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    call = ("simulate", tmp_path / "images", "--truth", images[1], "--detector", "stub", "--classes", "crate,drum")
    error = small.cli(*call, "--jobs", 1, "--seeds", "4", "--out", tmp_path / "s").error
    assert error.startswith("as given, seed 4: ")


# -------------------------------------------------------------------------------------------- cache


def test_a_cached_run_equals_one_without(
    images: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _flags(images, promise__max_loss=0.3)
    small.run_here(tmp_path / "plain", settings)
    monkeypatch.setenv(caching.FOLDER, str(tmp_path / "cache"))
    small.run_here(tmp_path / "first", settings)
    models_ = len(list((tmp_path / "cache" / "fits").iterdir()))
    small.run_here(tmp_path / "second", settings)
    assert len(list((tmp_path / "cache" / "fits").iterdir())) == models_ > 0
    assert list((tmp_path / "cache" / "predictions").iterdir())
    plain = small.facts(tmp_path / "plain")
    for name in ("first", "second"):
        assert small.facts(tmp_path / name) == plain


@pytest.mark.slow
def test_what_a_fit_depends_on_is_in_its_key(
    images: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another option and other images under the same names each fit anew."""
    monkeypatch.setenv(caching.FOLDER, str(tmp_path / "cache"))

    def fits() -> int:
        return len([p for p in (tmp_path / "cache" / "fits").iterdir() if not p.name.startswith(".")])

    known = 0
    other = shutil.copytree(images[0], tmp_path / "images")
    for path in sorted(other.iterdir()):
        Image.open(path).rotate(180).save(path)
    for n, changes in enumerate(({}, {"detectors__stub": {"min_area": 5}}, {"run__source": str(other)})):
        small.run_here(tmp_path / str(n), _flags(images, **changes))
        assert fits() > known
        known = fits()


def test_the_first_of_two_equal_fits_stays(tmp_path: Path) -> None:
    for name in ("home", "late"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").write_text(name)
    caching._publish(tmp_path / "late", tmp_path / "home")
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
    assert (tmp_path / "home" / "model").read_text() == "home"
