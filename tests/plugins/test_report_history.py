"""What a report knows of the past of a run: models, picks against random images, risk, money."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from report_runs import make_run

import gtloop
from gtloop import plots
from gtloop.curves import POINTS, curve, curves
from gtloop.registry import Registry
from gtloop.testing.fakes import CATEGORIES
from gtloop_plugins.commands.reporting import crowd, learning, measure, money, panels, picking, risk
from gtloop_plugins.commands.reporting.history import Fit, Look, history


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load(discover=False, extra_modules=["gtloop_plugins"])


@pytest.fixture(scope="module")
def picked(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Path:
    return make_run(tmp_path_factory.mktemp("picked"), registry)


@pytest.fixture(scope="module")
def facts(picked: Path, registry: Registry) -> measure.Facts:
    return measure.gather(gtloop.open(picked), registry)


class TestCurves:
    def test_what_is_kept_comes_back(self) -> None:
        points = [(0.5, 3.0), (1.0, 2.0), (1.5, 1.0)]
        figures_ = {"loss": 1.0, **curve("loss", points), **curve("held_out", [(2.0, 4.0)])}
        assert figures_["loss@0.5"] == 3.0
        assert curves(figures_) == {"loss": points, "held_out": [(2.0, 4.0)]}

    def test_of_many_points_some_are_kept_with_both_ends(self) -> None:
        kept = curves(curve("loss", [(float(n), float(n)) for n in range(1, 1001)]))["loss"]
        assert len(kept) <= POINTS
        assert (kept[0], kept[-1]) == ((1.0, 1.0), (1000.0, 1000.0))

    def test_other_figures_are_no_curves(self) -> None:
        assert curves({"loss": 1.0, "ap@small": 0.3, "@": 1.0}) == {}
        assert curve("loss", []) == {}


class TestHistory:
    def test_models_and_picks_are_those_of_the_ledger(self, picked: Path, registry: Registry) -> None:
        run = gtloop.open(picked)
        found = history(run, run.task(registry))
        fitted = [e.event for e in run.events() if e.event.type == "model-fitted" and e.event.fold is None]
        assert [(f.model, f.examples) for f in found.fits] == [(e.model, e.examples) for e in fitted]
        assert [f.looked for f in found.fits] == [False] * (len(fitted) - 1) + [True]
        batches = [e.event for e in run.events() if e.event.type == "batch-committed" and e.event.phase == "active"]
        assert [p.iteration for p in found.picks] == [e.iteration for e in batches]
        for pick, event in zip(found.picks, batches, strict=True):
            assert len(pick.picked) + len(pick.control) == event.requests.rows
            assert not np.isin(pick.picked, pick.control).any()
        assert sum(map(len, found.answers.values())) == run.status(registry)["annotations"]

    def test_validation_is_what_it_was_when_the_model_predicted(self, picked: Path, registry: Registry) -> None:
        run = gtloop.open(picked)
        first = history(run, run.task(registry)).fits[0]
        asked = {row for row, purpose, _ in run.answers() if purpose == "validation"}
        assert set(first.validation.tolist()) == asked, "before any batch of a sampler"
        assert not set(first.validation.tolist()) <= set(run.state.validation_rows().tolist()), "some train by now"


class TestLearning:
    def test_quality_of_a_model_is_that_of_its_labels(self, picked: Path, registry: Registry) -> None:
        run = gtloop.open(picked)
        task, labels = run.task(registry), {x.row: x.payload for x in run.labels() if x.source != "machine"}
        found = learning.lessons(run, task, history(run, task).fits, labels)
        assert all(m.n >= 40 for m in found)
        assert all(m.quality is not None and 0 < m.quality <= 1 for m in found)
        last, evidence = found[-1], run.store.read_path(run.state.facts.certificates[0].evidence)
        quality = np.asarray(evidence["quality"])[np.asarray(evidence["exact"], bool)]
        assert last.quality == pytest.approx(float(np.nanmean(quality)))

    def test_while_a_run_goes_on_only_what_a_look_tested_is_told(self, picked: Path, registry: Registry) -> None:
        run = gtloop.open(picked)
        run.state.facts.finished = False
        task, labels = run.task(registry), {x.row: x.payload for x in run.labels() if x.source != "machine"}
        found = learning.lessons(run, task, history(run, task).fits, labels)
        assert [m.quality is None for m in found] == [True] * (len(found) - 1) + [False]
        assert picking.picking(run, registry, task, history(run, task).picks, labels).found == {}

    def test_a_line_of_models_and_a_line_a_fit(self) -> None:
        fits = [Fit(f"m{k}", k, 20 * k, curve("loss", [(1, 3.0 / k), (2, 1.0 / k)]), out_of_fold=0.5) for k in (1, 2)]
        shown = [learning.Lesson(fit, 0.4 + 0.1 * fit.iteration, 0.05, 30) for fit in fits]
        figure = Figure()
        learning.learning(shown, 0.6, "mean IoU")(figure, plots.LIGHT)
        lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}  # type: ignore[union-attr]
        assert lines["out of fold"] == [[20, 0.5], [40, 0.5]]
        figure = Figure()
        learning.fitting(shown)(figure, plots.LIGHT)
        assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [2, 2]  # type: ignore[arg-type]
        assert figure.axes[0].get_title(loc="left") or figure.axes[0].get_title() == "loss"


class TestPicking:
    def test_a_difference_is_found_and_covered(self) -> None:
        """95 % intervals hold the true difference about that often, batches of other levels notwithstanding."""
        rng, held = np.random.default_rng(0), 0
        for _ in range(400):
            level = rng.uniform(0, 3, 6)
            batches = [(rng.normal(v + 0.2, 0.3, 12), rng.normal(v, 0.3, int(rng.integers(1, 5)))) for v in level]
            if (found := picking.compare(batches)) is not None:
                low, high = found.interval
                held += low <= 0.2 <= high
        assert 0.91 < held / 400 < 0.98

    def test_means_are_weighed_by_the_random_images_of_a_batch(self) -> None:
        batches = [(np.full(10, 1.0), np.full(4, 0.5)), (np.full(30, 3.0), np.full(1, 0.0)), (np.ones(5), np.zeros(0))]
        found = picking.compare(batches)
        assert found is not None
        assert found.n == (40, 5)
        assert found.means == pytest.approx(((4 * 1 + 1 * 3) / 5, (4 * 0.5 + 0) / 5))
        assert found.difference == pytest.approx(found.means[0] - found.means[1])

    def test_of_few_images_nothing_is_said(self) -> None:
        assert picking.compare([(np.zeros(50), np.zeros(4))]) is None
        assert picking.compare([]) is None
        nothing = picking.Picking(0, {})
        assert nothing.verdict() == ""
        assert nothing.facts()["error"]["picked"] is None

    @pytest.mark.parametrize(
        ("difference", "says"),
        [(0.3, "did not know yet"), (-0.3, "knew already"), (0.01, "is not to be seen")],
    )
    def test_the_verdict_goes_by_the_interval(self, difference: float, says: str) -> None:
        c = picking.Comparison((50, 20), (0.4 + difference, 0.4), (0.02, 0.03), difference, 0.04)
        assert says in picking.Picking(3, {"error": c}).verdict()

    def test_of_a_run(self, facts: measure.Facts, picked: Path, registry: Registry) -> None:
        found = facts.status["picking"]
        run = gtloop.open(picked)
        purposes = [p for _, p, _ in run.answers()]
        assert found["objects"]["random_n"] <= purposes.count("control")
        assert found["objects"]["random_n"] >= picking.FEWEST
        assert found["confidence"]["picked"] < found["confidence"]["random"], "the sampler takes what is unsure"
        low, high = found["error"]["interval"]
        assert low < found["error"]["difference"] < high
        plot = next(p for p in panels.plots(facts, CATEGORIES) if p.name == "picking")
        assert found["verdict"] in plot.caption


class TestRisk:
    def test_looks_add_up_stage_by_stage(self) -> None:
        looks = [Look(1, 1, 0.02, 0.03, 50, 0), Look(2, 1, 0.07, 0.07, 90, 30), Look(3, 2, 0.1, 0.1, 140, 5)]
        found = risk.risk(looks)
        assert [look["total"] for look in found] == [0.02, 0.09, 0.1]
        figure = Figure()
        risk.spent(found, [], 0.1)(figure, plots.LIGHT)
        tops = [bar.get_y() + bar.get_height() for bar in figure.axes[0].patches[3:]]  # type: ignore[attr-defined]
        assert tops == pytest.approx([0.02, 0.09, 0.1])

    def test_of_a_run(self, facts: measure.Facts) -> None:
        [look] = facts.status["risk"]
        assert look["spent"] == pytest.approx(facts.status["promise"]["delta_spent"])
        assert look["spent"] <= look["allowed"] == facts.status["promise"]["delta"]
        assert look["labels"] >= 110
        assert look["accepted"] == facts.status["items"]["machine"] > 0


class TestMoney:
    def test_what_labels_cost_sums_to_what_was_paid(self, facts: measure.Facts) -> None:
        found, items, cost = facts.status["money"], facts.status["items"], facts.status["cost_usd"]
        human, machine = found["human_label_usd"] * items["human"], (found["machine_label_usd"] or 0) * items["machine"]
        assert human + machine == pytest.approx(cost["total"], abs=1e-3)
        assert found["saved_usd"] == pytest.approx(cost["if_all_human"] - cost["total"], abs=1e-6)

    def test_nothing_is_saved_before_the_end(self) -> None:
        cost = {"human": 1.0, "fees": 0.0, "machine": 0.0, "compute": 0.0, "total": 1.0, "if_all_human": 9.0}
        items = {"human": 2, "machine": 0, "pool": 7, "unlabelable": 0}
        found = money.money({"cost_usd": cost, "items": items, "imported": 1, "state": "waiting"})
        assert found == {
            "human_label_usd": 1.0,
            "machine_label_usd": None,
            "label_usd": 1.0,
            "people_alone_usd": 1.125,
            "saved_usd": None,
        }

    def test_parts_of_the_bar_are_what_was_paid(self, facts: measure.Facts) -> None:
        figure = Figure()
        cost = facts.status["cost_usd"]
        money.paid(cost, facts.status["money"])(figure, plots.LIGHT)
        widths = [bar.get_width() for bar in figure.axes[0].patches]  # type: ignore[attr-defined]
        assert sum(widths[:-1]) == pytest.approx(cost["total"])
        assert widths[-1] == cost["if_all_human"]


class TestConfidence:
    def test_thresholds_rise_from_all_to_the_surest_tenth(self, facts: measure.Facts) -> None:
        """Every image counts once, however many objects it has: a mean of images, never of pooled boxes."""
        groups = facts.status["by_confidence"]["human"]
        known = sorted((m for m in facts.of("human") if m.quality is not None), key=lambda m: -m.label.confidence)
        assert groups[-1]["last"] == 100
        assert groups[-1]["top"] == pytest.approx(np.mean([m.quality for m in known if m.quality is not None]))
        assert groups[0]["top"] == groups[0]["quality"]

    def test_both_sources_have_a_line(self, facts: measure.Facts) -> None:
        plot = next(p for p in panels.plots(facts, CATEGORIES) if p.name == "confidence")
        figure = Figure()
        plot.draw(figure, plots.LIGHT)
        right = figure.axes[1]
        assert right.get_xlim()[0] > right.get_xlim()[1], "from 100 % down"
        assert [line.get_label() for line in right.lines] == ["people", "machine"]
        assert right.lines[0].get_xdata()[-1] == 100  # type: ignore[index]


class TestPace:
    def test_lines_end_at_the_number_of_answers(self) -> None:
        figure = Figure()
        crowd.pace({"ann": np.array([0.0, 1.0, 5.0]), "bob": np.array([2.0])})(figure, plots.LIGHT)
        ends = {line.get_label(): line.get_ydata()[-1] for line in figure.axes[0].lines}  # type: ignore[index]
        assert ends == {"ann": 3, "bob": 1}
        assert figure.axes[0].get_xlabel() == "hours since the first answer"
