"""``gtloop workers``: what is measured of people, who is named, the answers of a run, the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import gtloop
from gtloop import config, keyed, plots, workers
from gtloop.agreement import krippendorff_alpha
from gtloop.cli import Cli
from gtloop.errors import PluginFault, RunError
from gtloop.interfaces import Context, Task
from gtloop.outliers import Asked
from gtloop.records import Answer, Item
from gtloop.registry import Registry
from gtloop.run import run_or_resume
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth
from gtloop_plugins.commands import workers as command
from gtloop_plugins.commands.reporting import measure, page, panels

KINDS = ("cat", "dog", "owl", "fox")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


@pytest.fixture(scope="module")
def task(registry: Registry) -> Task:
    built: Task = registry.build("task", "classification", {}, Context(categories=KINDS))
    return built


def item(row: int, size: tuple[int, int] = (96, 64)) -> Item:
    return Item(row=row, id=str(row), name=f"{row}.png", uri="", width=size[0], height=size[1])


def answer(row: int, worker: str, payload: Any, outcome: Any = "label", seconds: float = 3.0, at: str = "1") -> Answer:
    return Answer(
        id=f"{row}-{worker}-{at}",
        request=str(row),
        worker=worker,
        outcome=outcome,
        payload=payload,
        active_seconds=seconds,
        price=0 if outcome == "declined" else 30_000,
        at=at,
    )


def crew(
    n: int, accuracy: dict[str, float], seed: int = 0, each: int = 3, **odd: Callable[[int], Answer]
) -> list[Asked]:
    """``n`` items answered by ``each`` of the workers; ``odd`` has what some answer instead."""
    rng, asked = np.random.default_rng(seed), []
    for row in range(n):
        truth = int(rng.integers(4))
        said = []
        for w in rng.permutation(sorted(accuracy))[:each].tolist():
            wrong = int(rng.random() >= accuracy[w]) * int(rng.integers(1, 4))
            payload = {"category": KINDS[(truth + wrong) % 4]}
            said.append(odd[w](row) if w in odd else answer(row, w, payload, seconds=float(rng.lognormal(1, 0.6))))
        asked.append(Asked(item(row), said))
    return asked


def by_name(people: workers.People) -> dict[str, workers.Worker]:
    return {w.worker: w for w in people.workers}


class TestMeasure:
    def test_counts_and_shares(self, task: Task) -> None:
        cat = {"category": "cat"}
        asked = [
            Asked(item(0), [answer(0, "a", cat, seconds=2), answer(0, "b", None, "declined")]),
            Asked(item(1), [answer(1, "a", None, "cannot_tell", seconds=8), answer(1, "b", None, "empty", seconds=0)]),
            Asked(item(1), [answer(1, "a", cat, seconds=4)]),  # labelled again
        ]
        found = workers.measure(asked, task, {})
        a, b = by_name(found)["a"], by_name(found)["b"]
        assert (a.answers, a.items, a.declined, a.cannot_tell, a.empty) == (3, 2, 0.0, pytest.approx(1 / 3), 0.0)
        assert (a.seconds, a.paid, a.quality, a.scored, a.skill, a.flag) == (4, 90_000, None, 0, None, "")
        assert (b.answers, b.items, b.declined, b.empty, b.seconds, b.paid) == (1, 1, 0.5, 1.0, None, 30_000)
        assert (found.items, found.answers, found.sampled) == (2, 4, 3)
        assert found.alpha.value is None
        assert found.agreement is None
        assert (a.wage, b.wage) == (pytest.approx(0.09 * 3600 / 14), None)

    def test_rejected_answers_are_not_paid_and_take_their_time(self, task: Task) -> None:
        said = [answer(0, "a", {"category": "cat"}, seconds=10), answer(1, "a", {"category": "cat"}, seconds=26)]
        asked = [Asked(item(x.request == "1"), [x]) for x in said]
        a = workers.measure(asked, task, {}, unpaid={said[1].id}).workers[0]
        assert (a.answers, a.paid, a.wage) == (2, 30_000, pytest.approx(3.0))

    def test_an_hour_s_pay_goes_by_answers_with_a_time(self, task: Task) -> None:
        said = [answer(0, "a", {"category": "cat"}, seconds=36), answer(1, "a", {"category": "cat"}, seconds=0)]
        a = workers.measure([Asked(item(i), [x]) for i, x in enumerate(said)], task, {}).workers[0]
        assert (a.paid, a.wage) == (60_000, pytest.approx(3.0))

    def test_quality_leaves_the_worker_out(self, task: Task) -> None:
        cat, dog = {"category": "cat"}, {"category": "dog"}
        asked = [Asked(item(0), [answer(0, w, p) for w, p in (("a", cat), ("b", cat), ("c", cat), ("d", dog))])]
        found = by_name(workers.measure(asked, task, {}))
        assert [found[w].quality for w in "abcd"] == [1.0, 1.0, 1.0, 0.0]
        two = [Asked(item(0), [answer(0, "a", cat), answer(0, "b", dog)])]  # one other makes no label to judge by
        assert [w.quality for w in workers.measure(two, task, {}).workers] == [None, None]

    def test_alpha_and_agreement_are_those_of_the_labels_given(self, task: Task) -> None:
        asked = crew(60, {"a": 0.9, "b": 0.7, "c": 0.8, "d": 0.6})
        asked[0].answers[0] = answer(0, "z", None, "cannot_tell")  # type: ignore[index]
        found = workers.measure(asked, task, {})
        given = [[a.payload["category"] for a in x.answers if a.payload is not None] for x in asked]
        assert found.alpha == krippendorff_alpha(given, lambda a, b: float(a != b))
        assert found.agreement == pytest.approx(1 - (found.alpha.observed or 0))
        assert found.halves.items == 60

    def test_the_last_of_several_answers_counts(self, task: Task) -> None:
        cat, dog = {"category": "cat"}, {"category": "dog"}
        both = [answer(0, "a", dog, at="2"), answer(0, "a", cat, at="1"), answer(0, "b", dog), answer(0, "c", dog)]
        found = workers.measure([Asked(item(0), both)], task, {})
        assert found.agreement == 1.0
        assert by_name(found)["a"].quality == 1.0

    def test_only_a_sample_is_measured_but_everything_counted(self, task: Task) -> None:
        asked = crew(200, dict.fromkeys("abcdef", 0.8))
        found = workers.measure(asked, task, {}, limit=50)
        assert (found.sampled, found.halves.items, found.alpha.units) == (50, 50, 50)
        assert sum(w.scored for w in found.workers) == 150
        assert sum(w.answers for w in found.workers) == found.answers == 600
        assert found == workers.measure(asked, task, {}, limit=50)
        assert found.alpha != workers.measure(asked, task, {}, seed=1, limit=50).alpha

    def test_masks_of_two_sizes_are_not_compared(self, registry: Registry) -> None:
        def of(width: int, category: str) -> dict[str, Any]:
            from gtloop import masks

            index = np.full((64, width), CATEGORIES.index(category), np.int16)
            return masks.from_map(index, CATEGORIES).model_dump(mode="json", exclude_none=True)

        masks_task: Task = registry.build("task", "segmentation", {}, Context(categories=CATEGORIES))
        asked = []
        for row in range(12):
            width = 96 if row % 2 else 80
            said = [answer(row, w, of(width, CATEGORIES[row // 2 % 2])) for w in "abc"]
            asked.append(Asked(item(row, (width, 64)), said))
        found = workers.measure(asked, masks_task, {}).alpha
        # of items of one size, half the pairs of different ones have the same category
        assert (found.value, found.observed) == (1.0, 0.0)
        assert found.expected == pytest.approx(9 / 15)

    def test_a_task_that_fails_is_named(self, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any) -> float:
            raise ZeroDivisionError("division by zero")

        monkeypatch.setattr(task, "error", fail)
        with pytest.raises(PluginFault, match=r"task 'classification'.*ZeroDivisionError"):
            workers.measure(crew(3, dict.fromkeys("abc", 0.5)), task, {})


class TestWhoStandsOut:
    def test_bad_work_is_named_and_comes_first(self, task: Task) -> None:
        people = {**{f"w{k}": 0.85 for k in range(8)}, "bad": 0.3}
        found = workers.measure(crew(300, people), task, {}).workers
        assert found[0].worker == "bad"
        assert "below the others on the same" in found[0].flag
        assert [w.flag for w in found[1:]] == [""] * 8

    def test_equals_are_rarely_named(self, task: Task) -> None:
        """The level is 1 in 100 a crew; in forty crews of equals two would already be too many (p < 0.01)."""
        named = 0
        for seed in range(40):
            found = workers.measure(crew(120, dict.fromkeys("abcdefgh", 0.75), seed), task, {}, seed)
            named += any(w.flag for w in found.workers)
        assert named <= 2

    def test_few_answers_prove_nothing(self, task: Task) -> None:
        people = {**{f"w{k}": 0.9 for k in range(5)}, "new": 0.0}
        asked = crew(200, people)
        few = [a for a in asked if all(x.worker != "new" for x in a.answers)]
        few += [a for a in asked if any(x.worker == "new" for x in a.answers)][:9]
        found = by_name(workers.measure(few, task, {}))["new"]
        assert found.scored == 9
        assert found.quality is not None
        assert found.quality < 0.2
        assert found.flag == ""

    def test_always_the_same_answer(self, task: Task) -> None:
        people = {**{f"w{k}": 0.9 for k in range(5)}, "lazy": 0.9}
        asked = crew(120, people, lazy=lambda row: answer(row, "lazy", {"category": "owl"}))
        found = by_name(workers.measure(asked, task, {}))
        n = found["lazy"].answers
        assert f"the same answer {n} times of {n}" in found["lazy"].flag
        assert all(w.flag == "" for name, w in found.items() if name != "lazy")

    def test_what_everybody_answers_is_no_sign(self, task: Task) -> None:
        asked = [Asked(item(row), [answer(row, w, {"category": "owl"}) for w in "abc"]) for row in range(50)]
        assert [w.flag for w in workers.measure(asked, task, {}).workers] == [""] * 3

    def test_far_too_fast(self, task: Task) -> None:
        fast = crew(120, dict.fromkeys("abcdef", 0.9))
        sped = [
            Asked(a.item, [x.model_copy(update={"active_seconds": 0.2}) if x.worker == "a" else x for x in a.answers])
            for a in fast
        ]
        found = by_name(workers.measure(sped, task, {}))
        assert "of the time that others take" in found["a"].flag
        assert all(found[w].flag == "" for w in "bcdef")

    def test_easy_items_make_nobody_too_fast(self, task: Task) -> None:
        """Time is held against that of others on the same items: who got the quick ones is no spammer."""
        asked = []
        for row in range(60):
            team, seconds = ("abc", 0.5) if row % 2 else ("def", 60.0)
            asked.append(Asked(item(row), [answer(row, w, {"category": "owl"}, seconds=seconds) for w in team]))
        assert [w.flag for w in workers.measure(asked, task, {}).workers] == [""] * 6


# ------------------------------------------------------------------------------------------- a run

CROWD = 8


def make_run(base: Path, registry: Registry, kind: str, **flags: Any) -> Path:
    images = base / "images"
    tiny_items(images, 120)
    payloads = tiny_truth(kind, 120)
    assert payloads is not None
    lines = [json.dumps({"name": f"tiny_{i:03d}.png", "payload": p}) for i, p in enumerate(payloads)]
    (base / "truth.jsonl").write_text("\n".join(lines))
    given = {
        "run.source": str(images),
        "run.task": kind,
        "run.classes": CATEGORIES,
        "run.detector": "stub",
        "run.annotator": "synthetic",
        "run.truth": str(base / "truth.jsonl"),
        "prices.answer_usd": "0.036",
        "annotators.synthetic.workers": CROWD,
        "annotators.synthetic.spammers": 0.12,
        "annotators.synthetic.decline": 0.05,
        **flags,
    }
    run_or_resume(base / "run", config.load(None, given), registry)
    return base / "run"


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Path:
    return make_run(tmp_path_factory.mktemp("boxes"), registry, "bbox")


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Path:
    return make_run(tmp_path_factory.mktemp("waiting"), registry, "bbox", **{"run.annotator": "files"})


def spammer(run: Path) -> str:
    """The one that the synthetic annotator made one."""
    seed = gtloop.open(run).settings.run.seed
    return f"synthetic-{int(keyed.rng(seed, 'spammers').permutation(CROWD)[0]):03d}"


@pytest.fixture(scope="module")
def printed(boxes: Path, registry: Registry) -> dict[str, Any]:
    """What ``gtloop workers --json`` prints of the run with boxes."""
    found: dict[str, Any] = json.loads(invoke(registry, str(boxes), "--json").stdout)
    return found


@pytest.fixture(scope="module")
def facts(boxes: Path, registry: Registry) -> measure.Facts:
    return measure.gather(gtloop.open(boxes), registry)


def invoke(registry: Registry, *args: str) -> Any:
    app = typer.Typer()

    @app.callback()
    def root(ctx: typer.Context) -> None:
        ctx.obj = Cli(registry)

    command.register(app)
    return CliRunner().invoke(app, ["workers", *args])


class TestRun:
    def test_answers_are_those_that_the_ledger_counts(self, boxes: Path, registry: Registry) -> None:
        run = gtloop.open(boxes)
        found = list(run.answers(run.task(registry)))
        said = [a for _, _, answers in found for a in answers]
        assert sum(a.outcome != "declined" for a in said) == run.state.facts.annotations
        assert any(a.outcome == "declined" for a in said)
        assert len({a.id for a in said}) == len(said)
        assert {purpose for _, purpose, _ in found} >= {"train", "validation"}
        human = {label.row for label in run.labels() if label.source == "human"}
        assert human <= {row for row, _, _ in found}

    def test_answers_make_the_labels_of_the_run(self, boxes: Path, registry: Registry) -> None:
        """The first ones, before there is a model that votes: the same answers, the same label."""
        run = gtloop.open(boxes)
        task = run.task(registry)
        first = run.store.read(run.state.facts.human_files[0])
        skills = run.root / "labels" / "skills-00001.parquet"
        known = run.store.read_path(str(skills))["skills_json"][0] if skills.exists() else {}
        answers = {row: a for row, _, a in run.answers(task)}
        made = []
        for row in first["row"].tolist():
            usable = [a for a in answers.get(row, []) if a.outcome != "declined"]
            made.append(task.consolidate(usable, known).payload if usable else None)
        assert made == first["payload_json"]
        assert any(m is not None for m in made)

    def test_answers_have_the_categories_of_now(self, boxes: Path, registry: Registry, tmp_path: Path) -> None:
        copy = shutil.copytree(boxes, tmp_path / "run")
        gtloop.open(copy).rename_categories({"crate": "box"})
        run_or_resume(copy, gtloop.open(copy).settings, registry)
        run = gtloop.open(copy)
        named = {
            b["category"]
            for _, _, answers in run.answers(run.task(registry))
            for a in answers
            for b in (a.payload or {"boxes": []})["boxes"]
        }
        assert named == {"box", "drum"}

    def test_answers_that_do_not_fit_are_counted_but_not_measured(
        self, boxes: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = gtloop.open(boxes)
        task = run.task(registry)
        before = workers.of_run(run, task)
        strange = spammer(boxes)
        given = [
            (row, purpose, [a.model_copy(update={"outcome": "label", "payload": {"boxes": 7}}) for a in answers])
            if any(a.worker == strange for a in answers)
            else (row, purpose, answers)
            for row, purpose, answers in run.answers()
        ]
        monkeypatch.setattr(run, "answers", lambda shown: iter(given))
        after = workers.of_run(run, task)
        assert after.answers >= before.answers
        assert by_name(after)[strange].scored == 0
        assert by_name(before)[strange].scored > 0

    def test_skills_are_the_last(self, boxes: Path) -> None:
        run = gtloop.open(boxes)
        ref = run.state.facts.skills
        assert run.skills() == ({} if ref is None else run.store.read(ref)["skills_json"][0])


class TestCommand:
    def test_the_spammer_is_named_and_ranked_worst(self, boxes: Path, printed: dict[str, Any]) -> None:
        found = printed
        first = found["workers"][0]
        assert first["worker"] == spammer(boxes)
        assert first["flag"]
        assert first["scored"] >= 10
        known = [w["quality"] for w in found["workers"] if w["quality"] is not None]
        assert first["quality"] == min(known)

    def test_json(self, boxes: Path, registry: Registry, printed: dict[str, Any]) -> None:
        found = printed
        status = gtloop.open(boxes).status(registry)
        assert found["answers"] == status["annotations"] == sum(w["answers"] for w in found["workers"])
        assert sum(w["paid_usd"] for w in found["workers"]) == pytest.approx(status["cost_usd"]["human"])
        assert found["items"] == status["items"]["human"] + status["items"]["unlabelable"]
        assert (found["task"], found["metric"]) == ("bbox", "mean IoU")
        assert 0 < found["alpha"]["value"] < 1
        assert 0 < found["split_half"]["quality"] < 1
        assert found["agreement"] == pytest.approx(1 - found["alpha"]["observed"])
        assert sum(w["declined"] > 0 for w in found["workers"]) > 1

    def test_the_same_every_time(self, boxes: Path, registry: Registry, printed: dict[str, Any]) -> None:
        assert json.loads(invoke(registry, str(boxes), "--json").stdout) == printed

    def test_table(self, boxes: Path, registry: Registry, printed: dict[str, Any]) -> None:
        shown, found = invoke(registry, str(boxes)).stdout, printed
        lines = shown.splitlines()
        assert lines[0].split()[:4] == ["worker", "answers", "quality", "skill"]
        assert lines[1].split()[:2] == [spammer(boxes), str(found["workers"][0]["answers"])]
        assert f"Krippendorff's alpha {found['alpha']['value']:.3f}" in shown
        assert f"by mean IoU {found['split_half']['quality']:.3f}" in shown
        assert f"{found['answers']} answers of {len(found['workers'])} people to {found['items']} items" in shown

    def test_fewer_items(self, boxes: Path, registry: Registry) -> None:
        shown = invoke(registry, str(boxes), "--items", "20").stdout
        assert "agreement and quality from 20 items" in shown

    def test_the_help_names_the_defaults(self, registry: Registry) -> None:
        words = " ".join(invoke(registry, "--help").stdout.replace("│", " ").split())
        assert f"default: {workers.ITEMS}, or {workers.MASKS} for masks" in words

    def test_nobody_has_answered(self, waiting: Path, registry: Registry) -> None:
        result = invoke(registry, str(waiting))
        assert isinstance(result.exception, RunError)
        assert "nobody has answered yet" in str(result.exception)


class TestReport:
    def test_figures_are_in_the_facts(self, facts: measure.Facts, printed: dict[str, Any]) -> None:
        assert json.loads(json.dumps(facts.status["people"])) == {k: printed[k] for k in facts.status["people"]}

    def test_panel(self, boxes: Path, registry: Registry, facts: measure.Facts, tmp_path: Path) -> None:
        run = gtloop.open(boxes)
        html = page.write_report(facts, run, run.task(registry), tmp_path).read_text("utf-8")
        assert (tmp_path / "people.png").exists()
        assert spammer(boxes) in html
        assert "stands out: " in html
        assert "Krippendorff&#39;s alpha" in html

    def test_nobody_no_panel(self, waiting: Path, registry: Registry) -> None:
        facts = measure.gather(gtloop.open(waiting), registry)
        assert facts.status["people"] is None
        assert [p.name for p in panels.plots(facts, CATEGORIES) if p.name == "people"] == []

    def test_one_dot_a_worker_with_a_quality(self, facts: measure.Facts) -> None:
        from matplotlib.figure import Figure

        from gtloop_plugins.commands.reporting import crowd

        assert facts.people is not None
        known = [w for w in facts.people.workers if w.quality is not None]
        figure = Figure()
        crowd.people(known, True, "mean IoU")(figure, plots.LIGHT)
        dots = np.asarray(figure.axes[0].collections[0].get_offsets())
        assert dots == pytest.approx(np.array([[w.seconds, w.quality] for w in known]))
        assert [t.get_text() for t in figure.axes[0].texts] == [w.worker for w in known if w.flag]

    def test_without_times_the_number_of_answers_is_shown(self, facts: measure.Facts) -> None:
        assert facts.people is not None
        timeless = [replace(w, seconds=None) for w in facts.people.workers]
        plot = panels.plots(replace(facts, people=replace(facts.people, workers=timeless)), CATEGORIES)[-1]
        assert plot.name == "people"
        assert "by the number of answers" in plot.caption
