"""What a user is told once, at the start: what is left out, what a truth lacks, whose fault a fault is."""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
from PIL import Image
from runs import cli, small

from gtloop import config
from gtloop.errors import RunError
from gtloop.progress import agreed
from gtloop.registry import Registry
from gtloop.testing.fakes import SIZE


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return runs.make_images(tmp_path / "source", 30)[0]


def notes(text: str) -> list[str]:
    """... but for those on the plan: what these small runs do can't certify anything."""
    found = [line.removeprefix("note: ") for line in text.splitlines() if line.startswith("note: ")]
    return [note for note in found if "no machine labels" not in note]


def test_a_truth_that_lacks_images_is_told_once_and_the_run_goes_on(images: Path, tmp_path: Path) -> None:
    truth = images.parent / "truth.jsonl"
    lines = truth.read_text().splitlines()
    truth.write_text("\n".join(lines[::2]))
    (images / "zz_damaged.png").write_bytes(b"")  # nobody is asked about it
    shutil.copy(images / "tiny_000.png", images / "zz_copy.png")  # its original has a truth
    ended = cli(*small(images, tmp_path / "run"))
    assert ended.code == 0, ended.err
    assert notes(ended.err) == [
        "the truth lacks 15 of 30 images, first tiny_001.png: simulated people can't label them"
    ]
    assert runs.status(tmp_path / "run")["items"]["unlabelable"] > 0

    more = runs.make_images(tmp_path / "more", 4, seed=1)[0]
    (line, *_) = (more.parent / "truth.jsonl").read_text().splitlines()
    (more.parent / "truth.jsonl").write_text(line)
    ended = cli("add", tmp_path / "run", more, "--truth", more.parent / "truth.jsonl")
    assert ended.code == 0, ended.err
    assert [note.split(",")[0] for note in notes(ended.err)] == ["the truth lacks 3 of 4 images"]


def test_a_truth_that_says_nothing_is_refused(images: Path, tmp_path: Path) -> None:
    truth = images.parent / "truth.jsonl"
    truth.write_text('{"name": "tiny_000.png", "payload": null}\n')
    ended = cli(*small(images, tmp_path / "run"))
    assert ended.code != 0
    assert "the truth says nothing about any image (first: tiny_000.png)" in ended.error
    other = cli(*small(images, tmp_path / "other", "--annotator", "files"))
    assert other.code == 3, "nobody answers from it"


def test_files_that_are_left_out_are_told_once(images: Path, tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIC", "notes.txt", ".hidden.heic"):
        (images / name).write_bytes(b"x")
    ended = cli(*small(images, tmp_path / "run"))
    assert ended.code == 0, ended.err
    assert notes(ended.err) == [
        "skipped 3 files of types that are not read: 2 .heic, 1 .txt; convert .heic to JPEG or PNG first"
    ]
    assert not notes(cli(*small(images, tmp_path / "run")).err), "once, not with every resume"


@pytest.mark.parametrize(
    ("mode", "size", "says"),
    [
        ("RGB", SIZE, r"looks like masks, but {}/tiny_000.png has colours (RGB); needs an index PNG"),
        ("L", (5, 4), r"{}/tiny_000.png: masks of 5 x 4 pixels, but tiny_000.png is"),
    ],
)
def test_bad_masks_are_named_with_their_fault(
    images: Path, tmp_path: Path, mode: str, size: tuple[int, int], says: str
) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    Image.new(mode, size).save(folder / "tiny_000.png")
    ended = cli(*small(images, tmp_path / "run", "--task", "segmentation", truth=folder))
    assert says.format(folder) in ended.error


def test_masks_with_values_beyond_are_told_of(tmp_path: Path) -> None:
    images, _ = runs.make_images(tmp_path / "source", 20, "segmentation")
    folder = tmp_path / "masks"
    folder.mkdir()
    for path in images.iterdir():
        values = np.zeros(Image.open(path).size[::-1], np.uint8)
        values[:2] = 7
        Image.fromarray(values).save(folder / path.name)
    ended = cli(*small(images, tmp_path / "run", "--task", "segmentation", truth=folder))
    assert ended.code == 0, ended.err
    (note,) = notes(ended.err)
    assert "20 of 20 masks have values that mean nothing: 7 (" in note


def test_an_unknown_option_is_blamed_on_where_it_was_given(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = small(images, tmp_path / "run", "-o", "annotators.synthetic.noisy=1")
    fault = "annotators.synthetic.noisy: unknown option (got '1'); did you mean noise?"
    assert cli(*typed).error == f"-o: {fault}"
    (tmp_path / "gtloop.toml").write_text("[run]\nseed = 1\n[detectors.stub]\nepochs = 3\n")
    wrong = cli(*small(images, tmp_path / "run")).error
    assert wrong.startswith("gtloop.toml: detectors.stub.epochs: unknown option (got 3)")
    (tmp_path / "gtloop.toml").write_text("[run]\nseed = 1\n")
    assert cli(*typed).error == f"-o: {fault}"
    assert cli(*small(images, tmp_path / "run")).code == 0
    assert cli("run", "--run", tmp_path / "run", "-o", "annotators.synthetic.noisy=1").error == f"-o: {fault}"


@pytest.mark.parametrize(
    ("task", "target", "answer"),
    [("bbox", 0.6, "0"), ("classification", 0.95, "0"), ("segmentation", 0.7, "0")],
)
def test_init_says_what_holds_for_the_task(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, target: float, answer: str
) -> None:
    """Its comments are the defaults: a file without their marks means the same run."""
    from gtloop.plugin_options import annotator_defaults

    monkeypatch.chdir(tmp_path)
    (images / "x.heic").write_bytes(b"x")
    ended = cli("init", images, "--task", task, "--classes", "crate,drum")
    assert "written for 30 images (skipped 1 file of types that are not read: 1 .heic; " in ended.out
    text = Path("gtloop.toml").read_text()
    lines = [line.split("#")[1].strip() for line in text.splitlines() if line.startswith("# ") and " = " in line]
    said = tomllib.loads("\n".join(line for line in lines if not line.startswith(("truth", "budget"))))
    assert (said["target"], said["answer_usd"]) == (target, answer)
    registry = Registry.load()
    assert registry.get("task", task).default_target == target
    found = config.load(Path("gtloop.toml"), {}, (), partial(annotator_defaults, registry))
    assert (said["sampler"], said["score"], said["workers"]) == (found.run.sampler, found.run.score, found.run.workers)
    assert str(found.prices.answer_usd) == answer


def test_unreadable_images_are_named(images: Path, tmp_path: Path) -> None:
    (images / "bad.png").write_bytes(b"")
    ended = cli(*small(images, tmp_path / "run", "-o", "run.probe_failures=0.9"))
    assert ended.code == 0, ended.err
    assert "1 unreadable image put aside: bad.png (the file is empty (0 bytes))" in ended.err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("-o", "sizes.train=20"), "people label all 30 images, as the first look is due after 30 labels"),
        (("-o", "sizes.look_at=25"), "10 validation images can't show mean IoU 0.6, 30 are needed"),
        (("-o", "promise.rule=empirical", "-o", "sizes.look_at=25"), ""),
        (("--promise", "dataset", "-o", "promise.max_loss=0.2", "-o", "sizes.look_at=25"), ""),
    ],
)
def test_a_plan_that_can_certify_nothing_is_told_at_the_start(
    images: Path, tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    ended = cli(*small(images, tmp_path / "run", *more, "--budget", 0))
    assert ended.code == 4, ended.err
    told = [line for line in ended.err.splitlines() if "no machine labels" in line]
    assert [line.startswith(f"note: {words}") for line in told] == [True] * bool(words)


@pytest.mark.parametrize("task", ["bbox", "classification"])
@pytest.mark.parametrize(("n", "target"), [(60, 0.6), (60, 0.95), (200, 0.97), (1000, 0.995), (3000, 0.9999)])
@pytest.mark.parametrize("sizes", [{}, {"sizes.validation": 12}, {"sizes.train": 900}, {"sizes.look_at": 4000}])
def test_each_remedy_of_a_hopeless_plan_makes_it_one_that_may_label(
    n: int, target: float, sizes: dict[str, int], task: str
) -> None:
    """Typed as it says; and it is there wherever something of its kind helps."""
    from gtloop.job import make_promise
    from gtloop.remedies import hopeless
    from gtloop.sizes import make_plan

    cls = Registry.load(discover=False, extra_modules=["gtloop_plugins"]).get("task", task)

    def told(flags: dict[str, Any], overrides: tuple[str, ...] = ()) -> str:
        given = config.load(None, {"run.task": task, "promise.target": target, **sizes, **flags}, overrides)
        promise = make_promise(given, cls)
        return hopeless(make_plan(given, promise, n), given, promise, n, True)

    why = told({})
    assert bool(why) == bool(shortfall_of(n, target, sizes, cls, task))
    for remedy in re.findall(r"(?:-o|--\w+) [\w.=]+", why):
        flag, value = remedy.split()
        if flag == "-o":
            assert told({}, (value,)) == "", (why, remedy)
        else:
            assert told({f"promise.{flag.removeprefix('--')}": float(value)}) == "", (why, remedy)
    if why and "each of these would do: -" not in why:
        more = any(not shortfall_of(n * 2**k, target, sizes, cls, task) for k in range(1, 20))
        assert why.endswith("no single setting helps, " + ("more images would" if more else "nor would more images"))
    assert "look_at=" not in why or int(why.partition("look_at=")[2].partition(",")[0]) <= 0.8 * n


@pytest.mark.parametrize("n", [2_000_000, 10**7, 10**7 + 7])
def test_a_remedy_changes_no_more_than_it_has_to(n: int) -> None:
    """However many images there are: one label less in validation, and nothing could be certified."""
    from gtloop.job import make_promise
    from gtloop.remedies import hopeless
    from gtloop.sizes import make_plan

    cls = Registry.load(discover=False, extra_modules=["gtloop_plugins"]).get("task", "bbox")

    def told(**sizes: int) -> str:
        flags = {f"sizes.{k}": v for k, v in sizes.items()}
        given = config.load(None, {"run.task": "bbox", "promise.target": 0.999, **flags})
        promise = make_promise(given, cls)
        return hopeless(make_plan(given, promise, n), given, promise, n, True)

    found = re.search(r"sizes\.validation=(\d+)", told())
    assert found is not None
    least = int(found[1])
    assert told(validation=least) == ""
    assert told(validation=least - 1) != ""


def shortfall_of(n: int, target: float, sizes: dict[str, int], cls: Any, task: str) -> str:
    from gtloop.job import make_promise
    from gtloop.sizes import make_plan, shortfall

    given = config.load(None, {"run.task": task, "promise.target": target, **sizes})
    promise = make_promise(given, cls)
    return shortfall(make_plan(given, promise, n), given, promise, n, True)


@pytest.mark.parametrize("agreed", [False, True])
def test_a_hopeless_plan_starts_only_where_somebody_agrees(images: Path, tmp_path: Path, agreed: bool) -> None:
    """Scripts (no terminal, ``--json``, ``--yes``) are not asked: the tests above are such."""
    heard: list[str] = []

    def agree(why: str) -> bool:
        heard.append(why)
        return agreed

    given = runs.settings(images, images.parent / "truth.jsonl", **{"sizes__train": 30})
    root = tmp_path / "run"
    if agreed:
        assert runs.run_here(root, given, agree=agree)[0] == "finished"
        assert runs.run_here(root, given, agree=agree)[0] == "finished", "and is not asked again"
    else:
        with pytest.raises(RunError, match="nothing was started"):
            runs.run_here(root, given, agree=agree)
        assert not root.exists(), "nobody was asked, and nothing looks like a run"
        assert runs.run_here(root, given)[0] == "finished", "the folder is as good as new"
    assert len(heard) == 1
    assert "no machine labels" in heard[0]


@pytest.mark.parametrize(
    ("ends", "code", "says"),
    [(KeyboardInterrupt, 130, "stopped"), (EOFError, 1, "error: stopped"), (None, 1, "nothing was")],
)
def test_a_no_at_the_question_leaves_no_run(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ends: type[BaseException] | None,
    code: int,
    says: str,
) -> None:
    import typer

    def answer(prompt: str) -> str:
        if ends is not None:
            raise ends
        return "n"

    monkeypatch.setattr(sys.modules[typer.confirm.__module__], "visible_prompt_func", answer)
    monkeypatch.setattr("gtloop.progress.agreed", lambda ask, why: agreed(True, why))
    (tmp_path / "mine").mkdir()
    for root in (tmp_path / "run", tmp_path / "mine"):
        ended = cli(*small(images, root, "-o", "sizes.train=20"))
        assert ended.code == code
        assert says in ended.err
        assert not root.exists()
        ended = cli("status", root)
        assert "holds no run" in ended.error


def test_what_a_user_has_put_into_the_folder_stays(tmp_path: Path) -> None:
    from gtloop.unstarted import ask

    for name in ("ledger.sqlite", "items.parquet", "notes.txt"):
        (tmp_path / name).write_text("x")
    with pytest.raises(RunError, match="nothing was started"):
        ask(tmp_path, lambda why: False, "why")
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_program_without_standard_input_can_run(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)  # as after: gtloop run ... <&-
    assert cli(*small(images, tmp_path / "run")).code == 0
