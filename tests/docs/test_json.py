"""Every field of every ``--json`` is documented in docs/cli.md, and every documented one is there."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gtjobs import job_of
from oiserver import Published
from pages import PHOTOS, ROOT, rows, section
from program import leaves, program

import gtloop
from gtloop.registry import Registry
from gtloop.testing.fakes import tiny_items
from gtloop_plugins.annotators.local import Local

CLI = ROOT / "docs" / "cli.md"

SAMPLES: dict[str, list[list[str]]] = {
    "gtloop status": [["RUN"]],
    "gtloop report": [["RUN"]],
    "gtloop workers": [["RUN"]],
    "gtloop explain": [["RUN"], ["RUN", "0"], ["RUN", "1"], ["RUN", "2"]],
    "gtloop plan": [["--compare", "RUN", "--pilot", "RUN", "--draws", "10"]],
    "gtloop simulate": [
        [
            *("PHOTOS", "--truth", "TRUTH", "--classes", "crate,drum", "--detector", "stub"),
            *("--seeds", "0", "--jobs", "1", "--set", "run.workers=1", "--out", "OUT"),
        ]
    ],
    "gtloop replay": [["RUN", "--set", "promise.target=0.3", "--out", "OUT"]],
    "gtloop export": [["RUN", "--out", "OUT"]],
    "gtloop predict": [["RUN", "PHOTOS", "--out", "OUT"]],
    "gtloop pause": [["WAITING"]],
    "gtloop cancel": [["WAITING"]],
    "gtloop audit": [["RUN"], ["RUN", "--n", "1", "--dry-run"]],
    "gtloop add": [["COPY", "MORE", "--truth", "TRUTH"]],
    "gtloop import labels": [["WAITING", "TRUTH"]],
    "gtloop import groundtruth": [["JOB", "--images", "PHOTOS", "--run", "OUT", "--detector", "stub"]],
    "gtloop data openimages": [
        ["--class", "Bird", "--annotations-url", "OPEN/a", "--images-url", "OPEN/i", "--out", "OUT"]
    ],
    "gtloop relabel": [["COPY", "--source", "machine"]],
    "gtloop review": [["COPY", "--n", "5"]],
    "gtloop forget-worker": [["PAGE", "WORKER"]],
    "gtloop categories": [["COPY"], ["COPY", "--rename", "crate=box"]],
    "gtloop plugins list": [[]],
    "gtloop plugins show": [
        ["bbox"],
        ["files"],
        ["stub"],
        ["uncertainty"],
        ["mean"],
        ["jsonl"],
        ["local", "--kind", "executor"],
    ],
    "gtloop plugins check": [["random"], ["mean"]],
}
"""Command to the arguments of calls that together print all its fields.

RUN is a finished run and COPY one to change, WAITING one that waits for people, PAGE one with a page and a WORKER,
PHOTOS its images with their TRUTH, MORE others, OUT a path, JOB the folder of a Ground Truth job about PHOTOS, OPEN one
with what Open Images publishes.
"""
SAME = dict.fromkeys(("gtloop add", "gtloop import labels", "gtloop relabel", "gtloop review"), "gtloop pause")
"""Commands that share the table of another."""
OPEN = re.compile(
    r"(payload|certificate|settings|audit)\.|^(settings|cheaper)\[\]\.settings\.|compared\.(actual|inside)\."
)
"""What lies below these differs from task to task, or stands in another table."""
LIKE_RUN = {"gtloop run", "gtloop demo"}
"""Commands that print what ``gtloop status`` prints, and how the run ended."""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load(discover=False, extra_modules=["gtloop_plugins"])


def paths(value: Any, at: str = "") -> Iterator[str]:
    """``a``, ``a.b``, ``list[].b``, ... of a JSON value."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield f"{at}{key}"
            yield from paths(child, f"{at}{key}.")
    elif isinstance(value, list):
        for child in value:
            yield from paths(child, f"{at.removesuffix('.')}[].")


def table_of(command: str) -> dict[str, list[str]]:
    return rows(section(CLI, f"## JSON of `{command}`"))


def call(registry: Registry, command: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    """What a command prints with ``--json``."""
    words = [*command.split()[1:], *arguments, "--json"]
    program(registry).main(words, standalone_mode=False)
    return json.loads(capsys.readouterr().out)


def start(photos: Path, root: Path, annotator: str, registry: Registry, capsys: pytest.CaptureFixture[str]) -> Any:
    """What ``run --json`` prints."""
    arguments = [str(photos / "photos"), "--run", str(root), "--classes", "crate,drum", "--annotator", annotator]
    known = ["--truth", str(photos / "truth.jsonl")] if annotator == "synthetic" else []
    return call(registry, "gtloop run", [*arguments, "--detector", "stub", "--no-wait", *known], capsys)


def somebody(photos: Path, root: Path, registry: Registry, capsys: pytest.CaptureFixture[str]) -> str:
    """The id of a person who may label at the page of a new run."""
    start(photos, root, "local", registry, capsys)
    annotator = gtloop.open(root).plugins(registry).annotator
    assert isinstance(annotator, Local)
    assert list(annotator._named()), "who gets a link when the page is served"
    with contextlib.closing(sqlite3.connect(root / "annotator" / "local" / "desk.sqlite")) as desk:
        return str(desk.execute("select id from person where role = 'annotator'").fetchone()[0])


def test_every_command_with_json_has_a_sample_and_a_table(registry: Registry) -> None:
    """A new command needs an entry in SAMPLES, and its section in docs/cli.md."""
    found = {path for path, c in leaves(program(registry)) for p in c.params if "--json" in p.opts}
    assert found == SAMPLES.keys() | LIKE_RUN
    headings = re.findall(r"^## JSON of `(gtloop[^`]*)`$", CLI.read_text(), flags=re.M)
    assert set(headings) == {SAME.get(c, c) for c in SAMPLES} | {"gtloop run"}


@pytest.mark.parametrize("command", sorted(SAMPLES.keys() - {"gtloop status", "gtloop report"}))
def test_every_field_is_documented(
    command: str, photos: Path, registry: Registry, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_for = {"RUN": finished, "OUT": tmp_path / "out", "PHOTOS": photos / "photos", "TRUTH": photos / "truth.jsonl"}
    stand_for |= {"COPY": shutil.copytree(finished, tmp_path / "run"), "MORE": tmp_path / "more"}
    stand_for |= {"WAITING": tmp_path / "waiting"}
    if "JOB" in SAMPLES[command][0]:
        stand_for |= {"JOB": job_of(photos, tmp_path / "crates").root}
    if command == "gtloop data openimages":
        Published().write(tmp_path / "open")
        stand_for |= {f"OPEN/{part}": tmp_path / "open" / part for part in ("a", "i")}
    if any("WAITING" in arguments for arguments in SAMPLES[command]):
        start(photos, stand_for["WAITING"], "files", registry, capsys)
    if "PAGE" in SAMPLES[command][0]:
        stand_for |= {"PAGE": tmp_path / "page", "WORKER": somebody(photos, tmp_path / "page", registry, capsys)}
    tiny_items(tmp_path / "more", 4, seed=1)
    found: set[str] = set()
    for arguments in SAMPLES[command]:
        if command == "gtloop plugins list":
            printed = _plugins_with_faults(tmp_path, capsys)
        else:
            printed = call(registry, command, [str(stand_for.get(a, a)) for a in arguments], capsys)
        if command == "gtloop plugins check":  # its keys are those that were checked
            printed = {"KIND NAME": [verdict for verdicts in printed.values() for verdict in verdicts]}
        found |= {path for path in paths(printed) if not OPEN.search(path)}
    assert table_of(SAME.get(command, command)).keys() == found


def _plugins_with_faults(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """The listing where one plugin fails to load and one is blocked."""
    for name, text in {"gtloop_docs_broken": "import no_such_module\n", "gtloop_docs_blocked": ""}.items():
        (folder / f"{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        modules = ["gtloop_plugins", "gtloop_docs_broken", "gtloop_docs_blocked"]
        registry = Registry.load(discover=False, block=["gtloop_docs_blocked"], extra_modules=modules)
        return call(registry, "gtloop plugins list", [], capsys)


def test_every_field_of_the_status_is_documented(finished: Path, registry: Registry) -> None:
    found = gtloop.open(finished).status(registry)
    assert found["items"]["machine"], "the run must have machine labels, or certificates are not there to document"
    table = table_of("gtloop status")
    steps = {p for p in paths(found) if p.startswith("iterations[].seconds.")}
    assert set(paths(found)) - table.keys() - steps == set()
    assert {p for p in table if "seconds." not in p} <= set(paths(found))


def test_every_field_of_the_report_is_documented(finished: Path, registry: Registry) -> None:
    from gtloop_plugins.commands.reporting.measure import gather

    found = gather(gtloop.open(finished), registry).status
    new = {p for p in paths(found) if not re.search(r"\.(quantiles|seconds)\.|^evaluation\.\w+\.", p)}
    assert new - table_of("gtloop status").keys() == table_of("gtloop report").keys()


def test_every_field_of_a_run_is_documented(
    photos: Path, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``run --json`` prints the status and how it ended; one that waits also says where."""
    known = table_of("gtloop status").keys()
    found: set[str] = set()
    for annotator in ("synthetic", "files"):
        printed = start(photos, tmp_path / annotator, annotator, registry, capsys)
        assert printed["items"]["total"] == PHOTOS
        found |= {p for p in paths(printed) if not p.startswith("iterations[].seconds.")} - known
    assert found == table_of("gtloop run").keys()
