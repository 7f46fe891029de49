"""``gtloop plugins new``: what it writes works as it stands, whatever the kind; and contrib/gtloop-template is such."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from runs import Ended, cli, make_images

import gtloop
from gtloop.interfaces import KINDS, Detector
from gtloop.records import Item, Raw
from gtloop.registry import Registry
from gtloop.testing import verdicts
from gtloop.testing.fakes import tiny_truth
from gtloop_plugins.commands.newplugin import FILES, LONGEST, SUMMARIES, module_of, render, write

TEMPLATE = Path(__file__).resolve().parents[2] / "contrib" / "gtloop-template"


@pytest.fixture
def fresh_imports() -> Iterator[None]:
    """Forget what a test imported from its own folder."""
    before, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.startswith("gtloop_new"):
            del sys.modules[name]


def test_there_is_a_skeleton_for_every_kind() -> None:
    assert list(SUMMARIES) == list(KINDS)


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_it_writes_keeps_the_contract(kind: str, tmp_path: Path, fresh_imports: None) -> None:
    folder = write(f"new-{kind}", kind, tmp_path)
    sys.path.insert(0, str(folder / "src"))
    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins", module_of(f"new-{kind}")])
    assert registry.failed == []
    counts = [{"count": len(label["boxes"])} for label in tiny_truth("bbox") or ()]
    found = verdicts(registry.get(kind, f"new-{kind}"), registry, truth=counts if kind == "task" else None)
    assert [f"{v.check}: {v.message}" for v in found if not v.ok] == []
    assert sum(not v.skipped for v in found) >= 10


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_distribution_is_whole(kind: str) -> None:
    made = render("my-thing", kind)
    assert len(made) == len(FILES)
    assert not [path for path, text in made.items() if re.search(r"@[a-zA-Z]+@", path + text)], "a token is left"
    assert [path for path, text in made.items() if not text] == ["src/gtloop_my_thing/py.typed"]
    project = tomllib.loads(made["pyproject.toml"])["project"]
    assert project["name"] == "gtloop-my-thing"
    assert project["entry-points"]["gtloop"] == {"my-thing": "gtloop_my_thing"}
    assert project["license"] == "Apache-2.0"
    assert SUMMARIES[kind] in project["description"]
    for heading in ("## Install", "## Use", "## Options"):
        assert heading in made["README.md"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("My_Thing", "single hyphens"),
        ("3d", "a letter first"),
        ("../up", "single hyphens"),
        ("x" * (LONGEST + 1), f"at most {LONGEST}"),
        ("gtloop-thing", "leave out 'gtloop-'"),
        ("random", "is taken by sampler 'random' (gtloop "),
        ("builtin", "is taken by"),
        ("plugins", "package gtloop_plugins is installed"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name: str, said: str, tmp_path: Path) -> None:
    ended = cli("plugins", "new", name, "--kind", "sampler", "--out", tmp_path)
    assert ended.code == 2
    assert said in ended.error
    assert list(tmp_path.iterdir()) == []


def test_a_kind_that_is_not_there_is_refused(tmp_path: Path) -> None:
    ended = cli("plugins", "new", "thing", "--kind", "widget", "--out", tmp_path)
    assert ended.code == 2
    assert "no kind named 'widget'; there are: task, annotator" in ended.error


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "gtloop-thing").mkdir()
    ended = cli("plugins", "new", "thing", "--kind", "score", "--out", tmp_path)
    assert ended.code == 2
    assert "is there already" in ended.error
    assert list((tmp_path / "gtloop-thing").iterdir()) == []


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = cli("plugins", "new", "thing", "--kind", "score", "--out", tmp_path / "file")
    assert ended.code == 2
    assert "cannot write" in ended.error


def test_it_says_what_to_do_next(tmp_path: Path) -> None:
    ended = cli("plugins", "new", "thing", "--kind", "format", "--out", tmp_path)
    assert ended.code == 0
    assert "gtloop plugins check thing" in ended.out
    assert "src/gtloop_thing/plugin.py" in ended.out
    assert (tmp_path / "gtloop-thing" / "src" / "gtloop_thing" / "plugin.py").is_file()


# ------------------------------------------------------------------- as their author works with it


def _must(folder: Path, *command: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MYPYPATH": "", **env},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{folder.name}: {' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def type_cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("mypy"))


@pytest.mark.parametrize("name", ["a", "many-words-in-one-long-name-up"], ids=["short", "long"])
def test_it_is_formatted_and_linted_whatever_its_name(name: str, tmp_path: Path) -> None:
    assert len(name) in (1, LONGEST)
    for kind in KINDS:
        write(name, kind, tmp_path / kind)
    _must(tmp_path, "ruff", "format", "--check", "--no-cache")
    _must(tmp_path, "ruff", "check", "--no-cache")


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_it_passes_its_own_checks(kind: str, tmp_path: Path, type_cache: str) -> None:
    """Strict types, a wheel, its own tests, and the contract from the command line."""
    name = f"my-{kind}"
    folder = write(name, kind, tmp_path)
    _must(folder, "mypy", "--cache-dir", type_cache)
    _must(folder, "hatchling", "build", "-t", "wheel")
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")
    site = str(tmp_path / "site")  # like an installed one: the package and its entry points
    assert "skipped" not in _must(folder, "pytest", "-q", "-p", "no:cacheprovider", PYTHONPATH=site)
    told = json.loads(_must(folder, "gtloop", "plugins", "check", name, "--json", PYTHONPATH=site))
    assert list(told) == [f"{kind} {name}"]


# --------------------------------------------------------------- in whole runs, as its README says


class Counter(Detector):
    """Counts bright regions; a detector for the task that ``plugins new`` writes."""

    name = "counter"
    summary = "counts bright regions"
    tasks = frozenset({"new-task"})
    trainable = False

    def load(self, workdir: Path | None) -> None:
        return None

    def prepare(self, image: Any, item: Item) -> int:
        from scipy import ndimage

        return int(ndimage.label(ndimage.binary_opening(np.asarray(image).max(axis=2) > 100))[1])

    def predict_batch(self, model: None, prepared: Sequence[int]) -> list[Raw]:
        return [{"count": float(n), "confidence": 0.9} for n in prepared]


class Site(NamedTuple):
    """A folder with ``photos/`` and ``truth.jsonl``, and a generated plugin that is installed."""

    folder: Path
    modules: list[ModuleType]

    def call(self, command: str, **changes: str) -> Ended:
        for old, replacement in changes.items():
            assert old in command
            command = command.replace(old, replacement)
        words = shlex.split(command)
        assert words[0] == "gtloop"
        return cli(*words[1:], modules=self.modules)


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_imports: None
) -> tuple[Site, list[str]]:
    """The site, and the commands of the README's section on use."""
    kind = request.param
    folder = write(f"new-{kind}", kind, tmp_path)
    monkeypatch.syspath_prepend(str(folder / "src"))
    make_images(tmp_path, 180)
    (tmp_path / "images").rename(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    use = (folder / "README.md").read_text().partition("## Use")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", use, flags=re.S)
    return Site(tmp_path, [importlib.import_module(module_of(f"new-{kind}"))]), block.splitlines()


def _finished(here: Site, ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    (root,) = Path("runs").iterdir()
    found: dict[str, Any] = json.loads(here.call(f"gtloop status {root} --json").out)
    assert found["state"] == "finished"
    assert found["items"]["human"] + found["items"]["machine"] == 180
    return found


@pytest.mark.slow
@pytest.mark.parametrize("site", ["detector", "sampler", "score", "executor", "observer"], indirect=True)
def test_its_readme_runs(site: tuple[Site, list[str]]) -> None:
    here, (command,) = site
    careful = " -o annotators.synthetic.noise=0 -o annotators.synthetic.spammers=0"
    assert _finished(here, here.call(command + careful))["items"]["machine"] > 0


@pytest.mark.parametrize("site", ["format"], indirect=True)
def test_the_readme_of_a_format_exports_and_reads(site: tuple[Site, list[str]]) -> None:
    here, (export, run) = site
    made = here.call(run, **{"labels.tsv": "truth.jsonl --run made --detector stub"})
    assert made.code == 0, made.err
    assert here.call(export, **{"runs/mine": "made"}).code == 0
    _finished(here, here.call(run, **{"labels.tsv": "labels.tsv --detector stub"}))


@pytest.mark.parametrize("site", ["annotator"], indirect=True)
def test_the_readme_of_an_annotator_waits_for_people(site: tuple[Site, list[str]]) -> None:
    here, (run, echo) = site
    run += " --detector stub --workers 1"
    example = json.loads(shlex.split(echo)[1])
    ended = here.call(run)
    truth = {r["name"]: r["payload"] for r in map(json.loads, Path("truth.jsonl").read_text().splitlines())}
    for _ in range(20):
        if ended.code != 3:
            break
        asked = [json.loads(path.read_text()) for path in Path("exchange/open").glob("*.json")]
        assert asked, ended.out
        for n, question in enumerate(asked):
            answer = example | {"request": question["request"], "payload": truth[Path(question["image"]).name]}
            Path(f"exchange/answers/{n}.json").write_text(json.dumps(answer))
        ended = here.call(run)
    assert _finished(here, ended)["annotations"] >= 60
    assert not list(Path("exchange/open").iterdir())
    assert not Path("exchange/refused").exists()


@pytest.mark.parametrize("site", ["task"], indirect=True)
def test_the_readme_of_a_task_runs_with_a_detector_for_it(site: tuple[Site, list[str]]) -> None:
    here, (run,) = site
    hooks = ModuleType("counter")
    hooks.gtloop_detectors = gtloop.hookimpl(lambda: [Counter], specname="gtloop_detectors")  # type: ignore[attr-defined]
    rows = [json.loads(line) for line in Path("truth.jsonl").read_text().splitlines()]
    counts = [{"name": r["name"], "payload": {"count": len(r["payload"]["boxes"])}} for r in rows]
    Path("counts.jsonl").write_text("".join(json.dumps(r) + "\n" for r in counts))
    here.modules.append(hooks)
    found = _finished(here, here.call(run, MODEL="counter", files="synthetic --truth counts.jsonl --target 0.8"))
    assert found["items"]["machine"] > 0


def test_the_template_is_what_the_command_writes() -> None:
    """contrib/gtloop-template has two plugins; what is generated there is as generated."""
    detector, sampler = render("template", "detector"), render("template", "sampler")

    def there(path: str) -> str:
        return (TEMPLATE / path).read_text("utf-8")

    for path in ("LICENSE", ".gitignore", ".github/workflows/test.yml", "src/gtloop_template/py.typed"):
        assert there(path) == detector[path], path
    assert there("src/gtloop_template/detector.py") == detector["src/gtloop_template/plugin.py"]
    assert there("src/gtloop_template/sampler.py") == sampler["src/gtloop_template/plugin.py"]
    ours, generated = (tomllib.loads(text) for text in (there("pyproject.toml"), detector["pyproject.toml"]))
    assert ours["project"].pop("description") != generated["project"].pop("description")
    assert ours == generated


def test_the_template_is_clean() -> None:
    _must(TEMPLATE, "ruff", "format", "--check", "--no-cache")
    _must(TEMPLATE, "ruff", "check", "--no-cache")
