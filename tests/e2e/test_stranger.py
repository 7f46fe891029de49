"""A stranger's plugin, as a user has it: wheels of gtloop and of contrib/gtloop-template in a fresh environment.

Nothing of this checkout is on its path, and only the base dependencies are there: no torch, no pytest. The packages
come from the index that pip is set to.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from runs import make_images

from gtloop.interfaces import KINDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "contrib" / "gtloop-template"
IMAGES = 180
CAREFUL = ["-o", "annotators.synthetic.noise=0", "-o", "annotators.synthetic.spammers=0"]
"""People without faults, so that labels by machine depend on the detector alone."""
RUN = ["--classes", "crate,drum", "--annotator", "synthetic", "--truth", "truth.jsonl"]
SIZES = [x for s in ("probe=5", "validation=30", "train=20", "batch=20", "look_at=80") for x in ("-o", f"sizes.{s}")]


class Environment(NamedTuple):
    """A virtual environment, and where the wheels are that it was made of."""

    bin: Path
    wheels: Path

    def call(self, folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in ``folder``, with nothing of this one's settings."""
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GTLOOP", "VIRTUAL_ENV"))}
        env = {**keep, "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        words = [str(c) for c in command]
        return subprocess.run(
            [str(self.bin / words[0]), *words[1:]], cwd=folder, env=env, capture_output=True, text=True, timeout=300
        )

    def must(self, folder: Path, *command: object) -> str:
        """What a command prints that has to succeed."""
        done = self.call(folder, *command)
        assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
        return done.stdout

    def pip(self, *words: object) -> None:
        self.must(self.wheels, "python", "-m", "pip", "--quiet", "--disable-pip-version-check", *words)


def build(project: Path, wheels: Path) -> Path:
    """The wheel of a project; the build leaves nothing in the project itself."""
    before = set(wheels.glob("*.whl"))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = set(wheels.glob("*.whl")) - before
    return wheel


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """gtloop and gtloop-template, from their wheels, and what they depend on."""
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "wheels").mkdir()
    both = [build(project, folder / "wheels") for project in (ROOT, TEMPLATE)]
    venv.create(folder / "env", with_pip=True, symlinks=True)
    made = Environment(folder / "env" / "bin", folder / "wheels")
    made.pip("install", "--prefer-binary", *both)
    return made


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with ``photos/`` and ``truth.jsonl``."""
    make_images(tmp_path, IMAGES)
    (tmp_path / "images").rename(tmp_path / "photos")
    return tmp_path


@pytest.fixture
def without_template(fresh: Environment) -> Iterator[Environment]:
    fresh.pip("uninstall", "--yes", "gtloop-template")
    yield fresh
    fresh.pip("install", "--no-deps", "--no-index", *fresh.wheels.glob("gtloop_template-*.whl"))


@pytest.fixture
def with_broken_neighbour(fresh: Environment, tmp_path: Path) -> Iterator[Environment]:
    """A distribution of which the module can't be imported."""
    project = tmp_path / "gtloop-broken"
    shutil.copytree(TEMPLATE, project, ignore=shutil.ignore_patterns("dist", ".*_cache"))
    text = (project / "pyproject.toml").read_text().replace("gtloop-template", "gtloop-broken")
    text = text.replace('template = "gtloop_template"', 'broken = "gtloop_broken"').replace(
        "src/gtloop_template", "src"
    )
    (project / "pyproject.toml").write_text(text + '\n[tool.hatch.build.targets.wheel.sources]\n"src" = ""\n')
    shutil.rmtree(project / "src")
    (project / "src" / "gtloop_broken").mkdir(parents=True)
    (project / "src" / "gtloop_broken" / "__init__.py").write_text("import a_library_that_nobody_has\n")
    (project / "wheels").mkdir()
    fresh.pip("install", "--no-deps", "--no-index", build(project, project / "wheels"))
    yield fresh
    fresh.pip("uninstall", "--yes", "gtloop-broken")


def listed(env: Environment, folder: Path) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = json.loads(env.must(folder, "gtloop", "plugins", "list", "--json"))
    return found


def test_it_is_listed_beside_the_built_in_plugins(fresh: Environment, tmp_path: Path) -> None:
    found = listed(fresh, tmp_path)
    assert found["failed"] == []
    ours = [p for p in found["plugins"] if p["distribution"] == "gtloop-template"]
    assert [(p["kind"], p["name"], p["version"], p["status"]) for p in ours] == [
        ("detector", "template", "0.1.0", "ready"),
        ("sampler", "template", "0.1.0", "ready"),
    ]
    ready = {p["name"] for p in found["plugins"] if p["status"] == "ready"}
    assert {"bbox", "synthetic", "jsonl", "local"} <= ready
    lacking = {p["name"]: p["status"] for p in found["plugins"] if p["status"] != "ready"}
    assert lacking["torchvision"].startswith("missing torch"), "the environment is not bare"


def test_it_keeps_the_contract_there(fresh: Environment, tmp_path: Path) -> None:
    told = json.loads(fresh.must(tmp_path, "gtloop", "plugins", "check", "template", "--json"))
    assert list(told) == ["detector template", "sampler template"]
    assert [v for found in told.values() for v in found if not v["ok"]] == []
    assert [len(found) >= 13 for found in told.values()] == [True, True]


def test_a_run_uses_it_to_the_end(fresh: Environment, work: Path) -> None:
    chosen = "--detector", "template", "--sampler", "template"
    out = fresh.must(work, "gtloop", "run", "photos", "--run", "run", *RUN, *chosen, *SIZES, *CAREFUL, "--json")
    found = json.loads(out)
    assert (found["outcome"], found["detector"], found["sampler"]) == ("finished", "template", "template")
    assert found["items"]["machine"] > 0, "its predictions labelled nothing"
    assert "active" in {i["phase"] for i in found["iterations"]}, "the sampler was never asked"
    fresh.must(work, "gtloop", "export", "run", "--out", "labels.jsonl")
    rows = [json.loads(line) for line in (work / "labels.jsonl").read_text().splitlines()]
    assert {r["name"] for r in rows} == {p.name for p in (work / "photos").iterdir()}
    assert sum(r["source"] == "machine" for r in rows) == found["items"]["machine"]


def test_what_its_readme_says_to_use_it_works(fresh: Environment, work: Path) -> None:
    use = (TEMPLATE / "README.md").read_text().partition("## Use")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", use, flags=re.S)
    commands = [c.split() for c in block.replace("\\\n", " ").splitlines()]
    assert [c[:2] for c in commands] == [["gtloop", "plugins"], ["gtloop", "run"], ["gtloop", "export"]]
    for command in commands:
        fresh.must(work, *command)


def test_a_plugin_can_be_begun_there(fresh: Environment, tmp_path: Path) -> None:
    """The skeletons are in the wheel."""
    for kind in KINDS:
        fresh.must(tmp_path, "gtloop", "plugins", "new", f"my-{kind}", "--kind", kind)
        assert (tmp_path / f"gtloop-my-{kind}" / "src" / f"gtloop_my_{kind}" / "plugin.py").stat().st_size > 1000


def test_a_broken_neighbour_hurts_nobody(with_broken_neighbour: Environment, work: Path) -> None:
    found = listed(with_broken_neighbour, work)
    (failed,) = found["failed"]
    assert (failed["name"], failed["distribution"]) == ("broken", "gtloop-broken")
    assert "a_library_that_nobody_has" in failed["error"]
    assert {p["kind"] for p in found["plugins"] if p["name"] == "template"} == {"detector", "sampler"}
    shown = with_broken_neighbour.must(work, "gtloop", "plugins", "list")
    assert re.search(r"broken\s+gtloop-broken\s+failed", shown)
    out = with_broken_neighbour.must(work, "gtloop", "run", "photos", *RUN, "--detector", "template", *SIZES, "--json")
    assert json.loads(out)["outcome"] == "finished"


def test_once_uninstalled_its_name_is_one_clear_error(without_template: Environment, work: Path) -> None:
    done = without_template.call(work, "gtloop", "run", "photos", *RUN, "--detector", "template")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: no detector named 'template'.")
    assert "Installed: " in line
    assert {p["distribution"] for p in listed(without_template, work)["plugins"]} == {"gtloop"}
