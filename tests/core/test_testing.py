"""The contract suite catches plugins that break their contract, each by the check that is meant for it."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import Field

from gtloop.errors import NotEnoughData
from gtloop.interfaces import (
    Collected,
    Detector,
    Entry,
    Example,
    Options,
    Pick,
    Plugin,
    PoolView,
    Predicted,
    Progress,
    quiet,
)
from gtloop.records import Answer, Closed, Item, Payload, Raw, Request
from gtloop.registry import Registry
from gtloop.testing import ALL_CHECKS, verdicts
from gtloop.testing.fakes import tiny_items, tiny_truth
from gtloop_plugins.annotators.synthetic import Synthetic
from gtloop_plugins.detectors.stub import Stub
from gtloop_plugins.executors.local import Local
from gtloop_plugins.formats.jsonl import JsonLines
from gtloop_plugins.samplers.random import Random
from gtloop_plugins.scores.mean import Mean
from gtloop_plugins.tasks.classification import Classification

# ------------------------------------------------------------------- what every kind has in common


class BadName(Random):
    name = "Bad Name"


class LongSummary(Random):
    summary = "a summary that goes on and on until no listing of any width has room for the rest of it"


class OldApi(Random):
    api = 0


class BareOptions(Random):
    class Options(Options):
        depth: int = 3


class LaxOptions(Random):
    class Options(Options, extra="allow"):
        depth: int = Field(3, description="how deep")


# ------------------------------------------------------------------------------- samplers, scores


class Repeats(Random):
    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        return Pick(rng.choice(view.rows, min(n, len(view.rows)), replace=True), "drawn with replacement")


class Positions(Random):
    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        return Pick(rng.permutation(len(view.rows))[:n], "positions, not rows")


class Half(Random):
    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        return Pick(rng.permutation(view.rows)[: min(n, len(view.rows) // 2)], "never more than half")


class Unseeded(Random):
    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        return Pick(np.random.default_rng().permutation(view.rows)[:n], "its own generator")


class First(Random):
    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        return Pick(view.rows[:n], "always the first")


class SortsInPlace(Random):
    needs = frozenset({"score"})

    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        view.columns["score"].sort()
        return super().select(view, n, rng)


class Undeclared(Random):
    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        return Pick(view.rows[np.argsort(view.columns["score"] + rng.random(len(view.rows)))[:n]], "reads score")


class TooHigh(Mean):
    def score(self, columns: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
        return super().score(columns) + 0.5


class RanksTheBatch(Mean):
    def score(self, columns: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
        mean = columns["confidence_mean"]
        return np.arange(len(mean)) / max(1, len(mean))


class UpsideDown(Mean):
    def score(self, columns: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
        return 1 - super().score(columns)


class NeedsMore(Mean):
    needs = frozenset({"confidence_mean", "n_objects"})


# --------------------------------------------------------------------------------------- detectors


class Shuffles(Stub):
    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        return sorted(super().predict_batch(model, prepared), key=str)


class Percent(Stub):
    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        raws = super().predict_batch(model, prepared)
        return [{**r, **{k: [100 * v for v in r[k]] for k in ("scores", "probabilities") if k in r}} for r in raws]


class Outside(Stub):
    tasks = frozenset({"bbox"})

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        raws = super().predict_batch(model, prepared)
        return [{**r, "xyxy": [[x1, y1, x2 + 90, y2] for x1, y1, x2, y2 in r["xyxy"]]} for r in raws]


class FitsAnything(Stub):
    def fit(
        self,
        examples: Sequence[Example],
        workdir: Path,
        *,
        seed: int,
        init: Path | None = None,
        effort: float = 1.0,
        progress: Progress = quiet,
    ) -> dict[str, float]:
        try:
            return super().fit(examples, workdir, seed=seed, progress=progress)
        except NotEnoughData:
            return {}


class RandomFit(Stub):
    tasks = frozenset({"bbox"})

    def fit(self, examples: Sequence[Example], workdir: Path, **given: Any) -> dict[str, float]:  # type: ignore[override]
        figures = super().fit(examples, workdir, **given)
        model = json.loads((workdir / "model.json").read_text())
        model["bright"] += np.random.default_rng().uniform(5, 50)
        (workdir / "model.json").write_text(json.dumps(model))
        return figures


class Forgets(Stub):
    """Keeps a part of its model in the object."""

    count = itertools.count(1)

    def __init__(self, options: Any, context: Any) -> None:
        super().__init__(options, context)
        self.shift = float(next(self.count))

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        raws = super().predict_batch(model, prepared)
        return [{**r, "scores": [s / self.shift for s in r["scores"]]} if "scores" in r else r for r in raws]


class Lambda(Stub):
    def prepare(self, image: Any, item: Item) -> Any:
        pixels = super().prepare(image, item)
        return lambda: pixels

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        return super().predict_batch(model, [p() for p in prepared])


class SilentFit(Stub):
    def fit(self, examples: Sequence[Example], workdir: Path, **given: Any) -> dict[str, float]:  # type: ignore[override]
        return super().fit(examples, workdir, **{**given, "progress": quiet})


# -------------------------------------------------------------------------------------- annotators


class Blocks(Synthetic):
    def collect(self, cursor: str, limit_s: float) -> Collected:
        time.sleep(limit_s + 1.3)
        return super().collect(cursor, limit_s)


class AsksAgain(Synthetic):
    """Every submission is a new request to it."""

    calls = itertools.count()

    def submit(self, requests: Sequence[Request]) -> None:
        self._journal.append([{"again": r.model_dump(mode="json"), "call": next(self.calls)} for r in requests])

    def collect(self, cursor: str, limit_s: float) -> Collected:
        answers, closed = [], []
        for entry in self._journal.entries():
            r = Request.model_validate(entry["again"])
            for k in range(r.answers):
                worker = f"w{entry['call']}-{k}"
                answers.append(
                    Answer(
                        id=f"{r.id}-{worker}", request=r.id, worker=worker, outcome="empty", at="2026-01-01T00:00:00Z"
                    )
                )
            closed.append(Closed(request=r.id, delivered=r.answers))
        return Collected(answers, closed, "")


class InMemory(Synthetic):
    """Keeps its requests in the object."""

    def submit(self, requests: Sequence[Request]) -> None:
        self.mine = [*getattr(self, "mine", []), *requests]
        super().submit(requests)

    def collect(self, cursor: str, limit_s: float) -> Collected:
        own = {r.id for r in getattr(self, "mine", [])}
        got = super().collect(cursor, limit_s)
        answers = [a for a in got.answers if a.request in own]
        return Collected(answers, got.closed, got.cursor)


class OneWorker(Synthetic):
    def collect(self, cursor: str, limit_s: float) -> Collected:
        got = super().collect(cursor, limit_s)
        return got._replace(answers=[a.model_copy(update={"worker": "me"}) for a in got.answers])


class WrongPayload(Synthetic):
    def collect(self, cursor: str, limit_s: float) -> Collected:
        got = super().collect(cursor, limit_s)
        strange = {"outcome": "label", "payload": {"category": "zebra"}}
        return got._replace(answers=[a.model_copy(update=strange) for a in got.answers])


class NeverCancels(Synthetic):
    def submit(self, requests: Sequence[Request]) -> None:
        """Ask nobody."""

    def cancel(self, request_ids: Sequence[str]) -> None:
        """Forget about it."""


# ------------------------------------------------------------------------------------------- tasks


class Asymmetric(Classification):
    def error(self, a: Payload, b: Payload) -> float:
        return float(a["category"] < b["category"])


class OrderMatters(Classification):
    def consolidate(self, answers: Sequence[Answer], skills: Mapping[str, Any]) -> Any:
        made = super().consolidate(answers, skills)
        return made._replace(payload=answers[0].payload)


class Guesses(Classification):
    def consolidate(self, answers: Sequence[Answer], skills: Mapping[str, Any]) -> Any:
        made = super().consolidate(answers, skills)
        return made if made.payload else made._replace(payload={"category": self.context.categories[0]})


class TakesAll(Classification):
    def parse(self, payload: Payload, item: Item) -> Payload:
        return payload


class FewFeatures(Classification):
    def features(self, raw: Raw, cut: float) -> NDArray[np.float32]:
        return super().features(raw, cut)[:-1]


class ForgetsCategories(Classification):
    def form(self) -> Any:
        form = super().form()
        return form.model_copy(
            update={"primitives": tuple(p.model_copy(update={"categories": p.categories[:1]}) for p in form.primitives)}
        )


class NoisyAlways(Classification):
    def simulate(self, truth: Payload, worker: Mapping[str, Any], item: Item, rng: np.random.Generator) -> Any:
        return super().simulate({"category": rng.choice(self.context.categories)}, worker, item, rng)


# ------------------------------------------------------------------------------- formats, executors


class DropsEmpty(JsonLines):
    tasks = frozenset({"bbox"})

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        return (e for e in super().read(path, task, categories) if e.payload is None or e.payload["boxes"])


class Shifts(JsonLines):
    tasks = frozenset({"bbox"})

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        for e in super().read(path, task, categories):
            boxes = [{**b, "xyxy": [v + 5 for v in b["xyxy"]]} for b in (e.payload or {}).get("boxes", [])]
            yield e._replace(payload={"boxes": boxes} if e.payload else None)


class Invents(JsonLines):
    tasks = frozenset({"bbox"})

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        return (e._replace(payload=e.payload or {"boxes": []}) for e in super().read(path, task, categories))


class SniffsAll(JsonLines):
    def sniff(self, path: Path) -> bool:
        return True


Out = Iterator[Predicted]


class Collects(Local):
    def predict(
        self, detector: Detector, model: Path | None, items: Any, progress: Progress = quiet
    ) -> Iterator[Predicted]:
        yield from super().predict(detector, model, list(itertools.islice(items, 10_000))[:20], progress)


class Backwards(Local):
    def predict(
        self, detector: Detector, model: Path | None, items: Any, progress: Progress = quiet
    ) -> Iterator[Predicted]:
        yield from reversed(list(super().predict(detector, model, itertools.islice(items, 60), progress)))


class DropsFaults(Local):
    def predict(
        self, detector: Detector, model: Path | None, items: Any, progress: Progress = quiet
    ) -> Iterator[Predicted]:
        return (p for p in super().predict(detector, model, items, progress) if not p.fault)


class ForgetsSizes(Local):
    def predict(
        self, detector: Detector, model: Path | None, items: Any, progress: Progress = quiet
    ) -> Iterator[Predicted]:
        for p in super().predict(detector, model, items, progress):
            yield p._replace(item=p.item.model_copy(update={"width": None, "height": None}))


BROKEN: list[tuple[type[Plugin], str]] = [
    (BadName, "check_name_is_slug"),
    (LongSummary, "check_summary_is_short"),
    (OldApi, "check_api_is_current"),
    (BareOptions, "check_options_are_described"),
    (LaxOptions, "check_options_are_described"),
    (Repeats, "check_picks_distinct_rows_of_the_view"),
    (Positions, "check_picks_distinct_rows_of_the_view"),
    (Half, "check_large_n_takes_the_whole_pool"),
    (Unseeded, "check_seed_decides"),
    (First, "check_ties_are_broken_at_random"),
    (SortsInPlace, "check_input_is_not_changed"),
    (Undeclared, "check_reads_only_what_it_needs"),
    (Undeclared, "check_works_without_predictions"),
    (TooHigh, "check_score_is_in_range"),
    (RanksTheBatch, "check_score_is_pure"),
    (UpsideDown, "check_sure_beats_unsure"),
    (NeedsMore, "check_score_needs_are_declared"),
    (Shuffles, "check_order_and_count_are_kept"),
    (Percent, "check_scores_are_in_range"),
    (Outside, "check_labels_fit_the_image"),
    (Outside, "check_images_of_any_size"),
    (FitsAnything, "check_no_examples_is_not_enough"),
    (RandomFit, "check_same_seed_same_result"),
    (Forgets, "check_model_reloads_from_its_folder"),
    (Lambda, "check_prepared_is_picklable"),
    (SilentFit, "check_fit_reports"),
    (Blocks, "check_collect_never_blocks"),
    (AsksAgain, "check_submit_twice_is_once"),
    (InMemory, "check_survives_a_new_object"),
    (OneWorker, "check_every_answer_arrives"),
    (OneWorker, "check_more_answers_extend"),
    (OneWorker, "check_excluded_workers_do_not_answer"),
    (WrongPayload, "check_answers_are_well_formed"),
    (NeverCancels, "check_cancel_closes"),
    (Asymmetric, "check_error_is_a_distance"),
    (OrderMatters, "check_order_of_answers_is_irrelevant"),
    (Guesses, "check_no_support_gives_no_label"),
    (TakesAll, "check_parse_refuses_nonsense"),
    (FewFeatures, "check_features_match_their_names"),
    (ForgetsCategories, "check_form_mentions_every_category"),
    (NoisyAlways, "check_noise_free_workers_copy_the_truth"),
    (NoisyAlways, "check_simulated_answers_resemble_truth"),
    (DropsEmpty, "check_empty_images_are_kept"),
    (DropsEmpty, "check_counts_in_are_counts_out"),
    (Shifts, "check_reader_reads_what_writer_wrote"),
    (Invents, "check_unlabelled_rows_never_become_labels"),
    (SniffsAll, "check_sniff_knows_its_own"),
    (Collects, "check_predicting_streams"),
    (Backwards, "check_predictions_come_in_order"),
    (DropsFaults, "check_a_bad_image_is_a_fault_not_the_end"),
    (ForgetsSizes, "check_unknown_sizes_are_filled_in"),
]


@pytest.mark.parametrize(("broken", "name"), BROKEN, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_a_broken_plugin_is_caught_by_the_check_for_it(
    broken: type[Plugin], name: str, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gtloop.testing import checks, checks_annotator

    monkeypatch.setattr(checks_annotator, "PATIENCE_S", 0.5)
    (check,) = [c for c in ALL_CHECKS[broken.kind] if c.__name__ == name]
    found = [checks.run(check, case) for case in checks.cases(broken, tmp_path, registry)]
    assert any(not v.ok and not v.skipped for v in found), [v.message for v in found]


def test_heavy_imports_are_caught(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import matplotlib\nfrom gtloop_plugins.samplers.random import Random\nclass Heavy(Random):\n    pass\n"
    (tmp_path / "heavy_plugin_under_test.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    import heavy_plugin_under_test

    failed = {v.check: v.message for v in verdicts(heavy_plugin_under_test.Heavy, registry) if not v.ok}
    assert failed == {
        "check_import_is_light": "importing heavy_plugin_under_test imports matplotlib: import inside functions"
    }


def test_a_sound_plugin_has_no_failed_verdict(registry: Registry) -> None:
    found = verdicts(Random, registry)
    assert [v.check for v in found] == [c.__name__ for c in ALL_CHECKS["sampler"]]
    assert all(v.ok for v in found)


def test_every_check_says_what_holds() -> None:
    for checks in ALL_CHECKS.values():
        names = [c.__name__ for c in checks]
        assert len(set(names)) == len(names)
        assert all(n.startswith("check_") for n in names)
        assert all((c.__doc__ or "").partition("\n")[0].endswith((".", ";")) for c in checks)


def test_tiny_items_are_the_same_everywhere(tmp_path: Path) -> None:
    from gtloop.images import open_image

    first, second = tiny_items(tmp_path / "a", 5), tiny_items(tmp_path / "b", 5)
    for a, b in zip(first, second, strict=True):
        assert Path(a.uri).read_bytes() == Path(b.uri).read_bytes()
    truths = tiny_truth("bbox", 5)
    assert truths is not None
    assert truths[4] == {"boxes": []}
    for item, truth in zip(first, truths, strict=True):
        bright = np.asarray(open_image(item.uri)).max(axis=2) > 120
        inside = np.zeros_like(bright)
        for box in truth["boxes"]:
            x1, y1, x2, y2 = (int(v) for v in box["xyxy"])
            inside[y1:y2, x1:x2] = True
        assert (bright == inside).all()


CONTRACT = """
from gtloop.interfaces import Pick
from gtloop.testing import SamplerContract
from gtloop_plugins.samplers.random import Random

class First(Random):
    def select(self, view, n, rng):
        return Pick(view.rows[:n], "first")

class TestFirst(SamplerContract):
    plugin = First

class TestKnown(SamplerContract):
    plugin = First
    known_failures = {"check_ties_are_broken_at_random": "on purpose"}

class TestStrict(SamplerContract):
    plugin = Random
    known_failures = {"check_seed_decides": "not true"}
"""


def test_the_contract_classes_run_in_plain_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(CONTRACT)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 2, done.stdout
    assert "TestFirst::test_contract[check_ties_are_broken_at_random]" in failed[0]
    assert "TestStrict::test_contract[check_seed_decides]" in failed[1]
    assert "1 xfailed" in done.stdout
