"""``gtloop report`` on real small runs: its JSON, its page, its errors."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import gtloop
from gtloop import config
from gtloop.cli import Cli
from gtloop.errors import BadLabels, MissingExtra, UsageError
from gtloop.registry import Registry
from gtloop.run import run_or_resume
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth
from gtloop_plugins.commands import report as command
from gtloop_plugins.commands.reporting import measure


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


def make_run(
    base: Path, registry: Registry, task: str, truth: bool = True, odd: bool = False, n: int = 120, **flags: Any
) -> Path:
    """A real run with the stub detector on generated images; ``odd`` adds a copy and a damaged file."""
    images = base / "images"
    tiny_items(images, n)
    payloads = tiny_truth(task, n)
    assert payloads is not None
    if odd:
        shutil.copy(images / "tiny_003.png", images / "tiny_003_copy.png")
        (images / "torn.png").write_bytes((images / "tiny_001.png").read_bytes()[:400])
    known = base / "truth.jsonl"
    lines = [json.dumps({"name": f"tiny_{i:03d}.png", "payload": p}) for i, p in enumerate(payloads)]
    if odd:
        lines.append(json.dumps({"name": "torn.png", "payload": payloads[1]}))
    known.write_text("\n".join(lines))
    given = {
        "run.source": str(images),
        "run.task": task,
        "run.classes": CATEGORIES,
        "run.detector": "stub",
        "run.annotator": "synthetic" if truth else "files",
        "run.preset": "ground-truth",
        "promise.target": 0.5,
        "sizes.train": 20,
        "sizes.batch": 20,
        **({"run.truth": str(known)} if truth else {}),
        **flags,
    }
    run_or_resume(base / "run", config.load(None, given), registry)
    return base / "run"


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Path:
    return make_run(tmp_path_factory.mktemp("boxes"), registry, "bbox", odd=True)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Path:
    return make_run(tmp_path_factory.mktemp("classes"), registry, "classification")


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Path:
    return make_run(tmp_path_factory.mktemp("painted"), registry, "segmentation", n=60)


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Path:
    return make_run(tmp_path_factory.mktemp("waiting"), registry, "bbox", truth=False, n=30)


def invoke(registry: Registry, *args: str) -> Any:
    app = typer.Typer()

    @app.callback()
    def root(ctx: typer.Context) -> None:
        ctx.obj = Cli(registry)

    command.register(app)
    return CliRunner().invoke(app, ["report", *args])


class TestJson:
    def test_quality_of_a_run(self, boxes: Path, registry: Registry) -> None:
        found = json.loads(invoke(registry, str(boxes), "--json").stdout)
        assert found["items"]["aliases"] == 1
        assert found["items"]["quarantined"] == 1
        assert found["items"]["machine"] > 0
        q = found["quality"]
        assert [q[s]["count"] for s in ("human", "machine")] == [found["items"][s] for s in ("human", "machine")]
        mean = (q["human"]["mean"] * q["human"]["count"] + q["machine"]["mean"] * q["machine"]["count"]) / q["all"][
            "count"
        ]
        assert q["all"]["mean"] == pytest.approx(mean)
        assert found["evaluation"]["machine"]["mean"] == pytest.approx(q["machine"]["mean"])
        promise = found["promise"]
        assert promise["true"] == q["machine"]["mean"]
        assert promise["kept"] is None, "its rule certifies nothing"

    def test_it_holds_all_of_status(self, boxes: Path, registry: Registry) -> None:
        found = json.loads(invoke(registry, str(boxes), "--json").stdout)
        status = gtloop.open(boxes).status(registry)
        promise = {k: found["promise"][k] for k in status["promise"]}
        assert json.loads(json.dumps({**status, "promise": promise})) == {
            **{k: found[k] for k in status},
            "promise": promise,
        }

    def test_no_nan_reaches_json(self, boxes: Path, classes: Path, waiting: Path, registry: Registry) -> None:
        def refuse(name: str) -> None:
            raise AssertionError(name)

        for run in (boxes, classes, waiting):
            json.loads(invoke(registry, str(run), "--json").stdout, parse_constant=refuse)

    def test_without_truth(self, waiting: Path, registry: Registry) -> None:
        found = json.loads(invoke(registry, str(waiting), "--json").stdout)
        assert found["state"] == "waiting"
        assert found["quality"] is None
        assert found["evaluation"] is None
        assert (found["promise"]["true"], found["promise"]["kept"]) == (None, None)

    def test_a_truth_may_be_named_later(self, waiting: Path, registry: Registry) -> None:
        found = json.loads(
            invoke(registry, str(waiting), "--json", "--truth", str(waiting.parent / "truth.jsonl")).stdout
        )
        assert found["quality"]["all"] == measure.quality_figures([])

    def test_an_alias_speaks_for_its_original(self, boxes: Path, registry: Registry, tmp_path: Path) -> None:
        run = gtloop.open(boxes)
        alias = list(run.items.name).index("tiny_003_copy.png")
        original = int(run.items.alias_of[alias])
        payload = (tiny_truth("bbox") or [])[3]
        (tmp_path / "t.jsonl").write_text(json.dumps({"name": "tiny_003_copy.png", "payload": payload}))
        facts = measure.gather(run, registry, tmp_path / "t.jsonl")
        assert [m.label.row for m in facts.measured if m.quality is not None] == [original]

    def test_it_works_without_the_libraries_of_the_page(
        self, boxes: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("matplotlib", "jinja2"):
            monkeypatch.setitem(sys.modules, name, None)
        assert invoke(registry, str(boxes), "--json").exit_code == 0


class TestErrors:
    def test_a_truth_of_other_images(self, boxes: Path, registry: Registry, tmp_path: Path) -> None:
        (tmp_path / "t.jsonl").write_text(json.dumps({"name": "other.png", "payload": {"boxes": []}}))
        result = invoke(registry, str(boxes), "--json", "--truth", str(tmp_path / "t.jsonl"))
        assert isinstance(result.exception, BadLabels)
        assert "none of the images" in str(result.exception)

    def test_a_truth_that_is_not_there(self, boxes: Path, registry: Registry) -> None:
        result = invoke(registry, str(boxes), "--truth", "/nowhere")
        assert isinstance(result.exception, BadLabels)

    def test_json_writes_no_page(self, boxes: Path, registry: Registry, tmp_path: Path) -> None:
        result = invoke(registry, str(boxes), "--json", "--out", str(tmp_path))
        assert isinstance(result.exception, UsageError)

    def test_a_folder_that_is_a_file(self, waiting: Path, registry: Registry, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        result = invoke(registry, str(waiting), "--out", str(tmp_path / "file"))
        assert isinstance(result.exception, UsageError)
        assert "--out" in str(result.exception)

    def test_missing_libraries_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(command, "LIBRARIES", ("matplotlib", "no_such_library"))
        with pytest.raises(MissingExtra, match=r"no_such_library. Install: pip install 'gtloop\[report\]'"):
            command.check_libraries()


class TestPage:
    def html(self, registry: Registry, run: Path, out: Path) -> str:
        result = invoke(registry, str(run), "--out", str(out))
        assert result.exception is None, result.exception
        sentence, path = result.stdout.splitlines()
        assert sentence == gtloop.open(run).status(registry)["summary"]
        assert path == str(out / "index.html")
        return Path(path).read_text("utf-8")

    def test_boxes(self, boxes: Path, registry: Registry, tmp_path: Path) -> None:
        html = self.html(registry, boxes, tmp_path)
        plots = {"money", "iterations", "cost", "learning", "quality", "confidence", "objects", "categories"}
        plots |= {"categories-iterations", "figures", "pace", "people"}
        assert {p.name for p in tmp_path.iterdir()} == {
            "index.html",
            *(f"{n}.{e}" for n in plots for e in ("png", "svg")),
        }
        assert "torn.png" in html
        assert "damaged or truncated" in html
        assert "label of people" in html
        assert "single answers" in html
        assert html.count("<figcaption>") >= 30
        # it needs nothing else: no script, no file, no network
        assert "<script" not in html
        assert "<link" not in html
        uris = re.findall(r'(?:src|srcset|href)="(.{0,11})|url\((.{0,11})', html)
        assert uris
        assert all("".join(u).startswith(("data:image/", "#")) for u in uris)
        assert len(html) < 5_000_000

    def test_classes(self, classes: Path, registry: Registry, tmp_path: Path) -> None:
        html = self.html(registry, classes, tmp_path)
        assert (tmp_path / "confusion.png").exists()
        assert not (tmp_path / "objects.png").exists()
        assert "Images of every category by who" in html
        assert re.search(r"answers: \d × (crate|drum)", html), "answers that can't be drawn"
        assert '<td class="l">crate</td>' in html

    def test_masks(self, painted: Path, registry: Registry, tmp_path: Path) -> None:
        html = self.html(registry, painted, tmp_path)
        assert {f"{n}.png" for n in ("objects", "categories", "figures")} <= {p.name for p in tmp_path.iterdir()}
        assert '<i class="stripes"' in html
        assert "From the top: the outlines of single answers on the label, the label, the truth." in html
        assert all(f"</i>{c}</span>" in html for c in CATEGORIES)
        assert '<div class="grid two">' in html
        assert '<th>people</th><th>machine</th><th>all</th></tr>\n</thead>\n<tr><td class="l">crate</td>' in html

    def test_a_run_that_ends_without_a_look_says_so(
        self, registry: Registry, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
    ) -> None:
        sizes = {"run.preset": "default", "sizes.look_at": 30, "sizes.validation": 10}
        run = make_run(tmp_path_factory.mktemp("unlooked"), registry, "classification", n=20, **sizes)
        html = self.html(registry, run, tmp_path)
        assert "Finished without a look: the first was due after 30 images" in html
        assert "No look yet" not in html

    def test_waiting_run_says_why_there_is_nothing(self, waiting: Path, registry: Registry, tmp_path: Path) -> None:
        html = self.html(registry, waiting, tmp_path)
        assert "Nothing is labelled by machine yet." in html
        assert "people are at it" in html
        assert "No look yet: the first is due after the first model." in html
        assert "Quality against the truth" not in html

    def test_machine_labels_without_truth_are_shown_by_confidence(
        self, boxes: Path, registry: Registry, tmp_path: Path
    ) -> None:
        from gtloop_plugins.commands.reporting.galleries import galleries

        run = gtloop.open(boxes)
        task = run.task(registry)
        facts = measure.gather(run, registry)
        blind = [measure.Measured(m.label, None, None, m.objects, None) for m in facts.measured]
        found = galleries(measure.Facts(facts.status, blind, facts.rows, facts.reasons, None), run, task)
        assert [(g.title, len(g.pictures)) for g in found] == [
            ("Surest labels of the machine", 5),
            ("Least sure labels of the machine", 6),
            ("Surest labels of people", 5),
            ("From answers to labels", 5),
        ]
        assert all("truth" not in {k.what for k in g.key} for g in found)
        assert {len(p.below) for p in found[-1].pictures} == {1}, "answers, and the label"

    def test_labels_are_shown_beside_the_truth(self, boxes: Path, registry: Registry) -> None:
        from gtloop_plugins.commands.reporting.galleries import galleries

        run = gtloop.open(boxes)
        found = {g.title: g for g in galleries(measure.gather(run, registry), run, run.task(registry))}
        for title, parts in (("Surest labels of people", 2), ("From answers to labels", 3)):
            shown = [(p.uri, *p.below) for p in found[title].pictures if p.uri]
            assert {len(uris) for uris in shown} == {parts}
            assert any(len(set(uris)) == parts for uris in shown), "each part is drawn alone"

    @pytest.mark.slow
    def test_a_thousand_pictures_stay_below_five_megabytes(
        self, registry: Registry, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
    ) -> None:
        from gtloop_plugins.demo.scenes import write_dataset

        base = tmp_path_factory.mktemp("thousand")
        write_dataset(base, 100, seed=0)
        lines = [json.loads(line) for line in (base / "truth.jsonl").read_text().splitlines()]
        with (base / "truth.jsonl").open("a") as truth:
            for line in lines:
                picture = (base / "images" / line["name"]).read_bytes()
                for k in range(1, 10):  # the same picture, but another file
                    (base / "images" / f"{k}-{line['name']}").write_bytes(picture + bytes([k]))
                    truth.write(json.dumps(line | {"name": f"{k}-{line['name']}"}) + "\n")
        given = {
            "run.source": str(base / "images"),
            "run.truth": str(base / "truth.jsonl"),
            "run.classes": ("bird",),
            "run.detector": "stub",
            "run.annotator": "synthetic",
            "run.preset": "ground-truth",
            "run.workers": 3,
            "sizes.batch": 300,
        }
        run_or_resume(base / "run", config.load(None, given), registry)
        html = self.html(registry, base / "run", tmp_path)
        assert "1,000 images of the source" in html
        assert 500_000 < len(html) < 5_000_000

    def test_names_are_escaped(self, waiting: Path, registry: Registry, tmp_path: Path) -> None:
        moved = tmp_path / "<b>run"
        shutil.copytree(waiting, moved)
        html = self.html(registry, moved, tmp_path / "out")
        assert "&lt;b&gt;run" in html
        assert "<b>run" not in html
