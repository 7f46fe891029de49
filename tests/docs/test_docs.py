"""The documentation is true: commands run, references are complete, the tutorial works, links lead somewhere."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pages import PAGES, ROOT, SHELLS, Block, anchors, blocks, commands, links, rows, section
from pydantic import BaseModel

import gtloop
from gtloop import config, errors, events, hookspecs, plugin_options
from gtloop.cli import EXIT, build_app
from gtloop.interfaces import KINDS, Plugin
from gtloop.money import Prices
from gtloop.promise import Promise, first_rung_items
from gtloop.registry import Registry
from gtloop.sizes import make_plan
from gtloop.testing import verdicts
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth

DOCS = ROOT / "docs"
PHOTOS = 180


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


# ------------------------------------------------------------------------------------------ commands


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``photos/`` and ``truth.jsonl``: tiny generated images with known boxes."""
    folder = tmp_path_factory.mktemp("photos")
    items, truth = tiny_items(folder / "photos", PHOTOS), tiny_truth("bbox", PHOTOS)
    assert truth is not None
    lines = (json.dumps({"name": i.name, "payload": p}) + "\n" for i, p in zip(items, truth, strict=True))
    (folder / "truth.jsonl").write_text("".join(lines))
    return folder


def _shell(block: Block) -> bool:
    return block.language in SHELLS and not block.skipped


def _pages_to_run() -> Iterator[Any]:
    for page in PAGES:
        shell = [b for b in blocks(page) if _shell(b)]
        if any(not b.slow for b in shell):
            yield pytest.param(page, False, id=_name(page))
        if any(b.slow for b in shell):
            yield pytest.param(page, True, id=f"{_name(page)}-slow", marks=pytest.mark.slow)


def _run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": ""}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )


def _shows(shown: list[str], output: str) -> str | None:
    """The first shown line that the output does not have, in order; ``...`` stands for anything."""
    lines = iter(line.rstrip() for line in output.splitlines())
    for want in shown:
        if want.strip() == "...":
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in want.rstrip().split("...")))
        if not any(pattern.fullmatch(line) for line in lines):
            return want
    return None


@pytest.mark.parametrize(("page", "slow"), list(_pages_to_run()))
def test_commands_run(page: Path, slow: bool, photos: Path, tmp_path: Path) -> None:
    """The blocks of a page, from the top, in one folder with ``photos/`` and ``truth.jsonl``."""
    shutil.copytree(photos, tmp_path, dirs_exist_ok=True)
    for block in blocks(page):
        if not _shell(block) or (block.slow and not slow):
            continue
        steps = commands(block)
        for n, (command, shown) in enumerate(steps, 1):
            done = _run(command, tmp_path)
            expected = block.code if n == len(steps) else 0
            report = f"{block.where}: {command}\n{done.stdout}"
            assert done.returncode == expected, f"exit code {done.returncode}, not {expected}\n{report}"
            missing = _shows(shown, done.stdout)
            assert missing is None, f"shown, but not printed: {missing}\n{report}"


def test_skipped_blocks_are_few_and_their_make_targets_exist() -> None:
    skipped = [b for page in PAGES for b in blocks(page) if b.language in SHELLS and b.skipped]
    assert len(skipped) <= 6, [b.where for b in skipped]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    for block in skipped:
        assert len(block.marker.split()) > 3, f"{block.where}: skipped without a reason"
        missing = set(re.findall(r"^make ([a-z-]+)", block.text, flags=re.M)) - targets
        assert not missing, f"{block.where}: the Makefile has no {missing}"


# ---------------------------------------------------------------------------------------- references


def _leaves(command: Any, path: str = "gtloop") -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _leaves(child, f"{path} {name}")


def _program(registry: Registry) -> Any:
    return typer.main.get_command(build_app(registry))


def test_every_command_and_option_is_documented(registry: Registry) -> None:
    documented = set()
    for path, command in _leaves(_program(registry)):
        text = section(DOCS / "cli.md", f"## `{path}`")
        table = rows(text)
        documented.add(path)
        expected: set[str] = set()
        for parameter in command.params:
            if parameter.param_type_name == "option":
                expected.update(o for o in parameter.opts if o != "--help")
            else:
                expected.add(parameter.name.upper())
        assert table.keys() == expected, f"{path}: docs/cli.md has {sorted(table)}, the program {sorted(expected)}"
    headings = re.findall(r"^## `(gtloop[^`]*)`$", (DOCS / "cli.md").read_text(), flags=re.M)
    assert set(headings) == documented


def test_exit_codes_are_documented() -> None:
    table = rows(section(DOCS / "cli.md", "## Exit codes"))
    assert {int(code) for code in table} == {*EXIT.values(), errors.GtloopError.exit_code, errors.UsageError.exit_code}


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return f"`{json.dumps(value if not isinstance(value, tuple) else list(value), default=str)}`"


TABLES: dict[str, type[BaseModel]] = {
    "run": config.RunTable,
    "promise": config.PromiseTable,
    "loop": config.LoopTable,
    "sizes": config.SizesTable,
}


def test_every_setting_is_documented_with_its_default() -> None:
    page = DOCS / "config.md"
    models: dict[str, type[BaseModel]] = {**TABLES, "prices": Prices}
    assert set(config.Settings.model_fields) == {*models, *config.PLUGIN_TABLES}
    for name, model in models.items():
        table = rows(section(page, f"## `[{name}]`"))
        assert list(table) == list(model.model_fields), name
        for key, info in model.model_fields.items():
            assert table[key][0] == _shown(info.default), f"{name}.{key}"


def test_what_the_presets_set_is_documented() -> None:
    flat: dict[str, dict[str, Any]] = {}
    for preset in config.PRESETS:
        for task in ("bbox", "classification"):
            for table, values in config.preset(preset, task).items():
                for key, value in values.items():
                    if isinstance(value, dict):
                        for option, chosen in value.items():
                            flat.setdefault(f"{table}.{key}.{option}", {})[f"{preset} {task}"] = chosen
                    else:
                        flat.setdefault(f"{table}.{key}", {})[f"{preset} {task}"] = value
    columns = [f"{p} {t}" for p in config.PRESETS for t in ("bbox", "classification")]
    expected = {k: [_shown(v[c]) if c in v else "" for c in columns] for k, v in flat.items()}
    assert rows(section(DOCS / "config.md", "## Presets")) == expected


def test_every_option_of_the_built_in_plugins_is_documented(registry: Registry) -> None:
    text = section(DOCS / "config.md", "## Options of the built-in plugins")
    expected = {
        f"{kind}s.{p.cls.name}.{o.name}": [f"`{o.default}`", o.description]
        for kind in KINDS
        for p in registry.providers(kind)
        for o in plugin_options.describe(p.cls)
    }
    assert rows(text) == expected


def test_frozen_settings_are_documented() -> None:
    text = section(DOCS / "config.md", "## What can change during a run")
    assert [key for key in config.FROZEN if f"`{key}`" not in text] == []


def test_every_hook_is_documented_with_its_signature() -> None:
    text = (DOCS / "plugins" / "hooks.md").read_text()
    hooks = {n: f for n, f in vars(hookspecs).items() if n.startswith("gtloop_")}
    for name, function in hooks.items():
        signature = f"def {name}{inspect.signature(function)}".replace("'", "")
        assert signature in text, signature
    assert set(re.findall(r"def (gtloop_\w+)\(", text)) == set(hooks)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_a_plugin_implements_is_documented(kind: str) -> None:
    """Every method and class attribute of a kind's base class stands in the section of that kind."""
    text = section(DOCS / "plugins" / "hooks.md", f"## {KINDS[kind].__name__}")
    own = {n for n in vars(KINDS[kind]) if not n.startswith("_")} | set(vars(KINDS[kind]).get("__annotations__", {}))
    assert [n for n in sorted(own - {"kind"}) if f"`{n}" not in text] == []
    common = section(DOCS / "plugins" / "hooks.md", "## Plugin")
    assert [n for n in Plugin.__annotations__ if f"`{n}" not in common] == []


def _classes(base: type[errors.GtloopError]) -> Iterator[type[errors.GtloopError]]:
    yield base
    for child in base.__subclasses__():
        yield from _classes(child)


def test_every_error_is_documented() -> None:
    table = rows((DOCS / "errors.md").read_text())
    expected = {c.__name__: str(c.exit_code) for c in _classes(errors.GtloopError) if c.__module__ == errors.__name__}
    assert {name: cells[0] for name, cells in table.items()} == expected


def test_every_event_and_field_is_documented() -> None:
    page = DOCS / "events.md"
    kinds = typing.get_args(typing.get_args(events.AnyEvent)[0])
    common = set(events.Event.model_fields)
    assert rows(section(page, "## Every event")).keys() == common | {"type"}
    for cls in kinds:
        table = rows(section(page, f"## `{cls.model_fields['type'].default}`"))
        assert list(table) == [f for f in cls.model_fields if f not in common | {"type"}], cls.__name__
    headings = re.findall(r"^## `([a-z-]+)`$", page.read_text(), flags=re.M)
    assert headings == [cls.model_fields["type"].default for cls in kinds]


def _paths(value: Any, at: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield f"{at}{key}"
            yield from _paths(child, f"{at}{key}.")
    elif isinstance(value, list) and value:
        yield from _paths(value[0], f"{at.removesuffix('.')}[].")


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with human and machine labels."""
    from gtloop.run import run_or_resume

    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    root = tmp_path_factory.mktemp("finished") / "run"
    run_or_resume(root, _settings(photos), registry)
    return root


def _settings(photos: Path, detector: str = "stub", sampler: str = "uncertainty", **more: Any) -> config.Settings:
    flags = {
        "run.source": str(photos / "photos"),
        "run.truth": str(photos / "truth.jsonl"),
        "run.classes": CATEGORIES,
        "run.annotator": "synthetic",
        "run.detector": detector,
        "run.sampler": sampler,
    }
    return config.load(None, flags | {k.replace("__", "."): v for k, v in more.items()})


def test_every_field_of_the_status_is_documented(finished: Path, registry: Registry) -> None:
    found = gtloop.open(finished).status(registry)
    assert found["items"]["machine"], "the run must have machine labels, or certificates are not there to document"
    table = rows(section(DOCS / "cli.md", "## JSON of `gtloop status`"))
    steps = {p for p in _paths(found) if p.startswith("iterations[].seconds.")}
    assert set(_paths(found)) - table.keys() - steps == set()
    assert {p for p in table if "seconds." not in p} <= set(_paths(found)) | {"outcome"}


def test_every_field_of_the_report_is_documented(finished: Path, registry: Registry) -> None:
    from gtloop_plugins.commands.reporting.measure import gather

    found = gather(gtloop.open(finished), registry).status
    known = rows(section(DOCS / "cli.md", "## JSON of `gtloop status`"))
    table = rows(section(DOCS / "cli.md", "## JSON of `gtloop report`"))
    new = {p for p in _paths(found) if not re.search(r"\.(quantiles|seconds)\.|^evaluation\.\w+\.", p)}
    assert new - known.keys() == table.keys()


def test_public_names_are_documented() -> None:
    text = (DOCS / "formats.md").read_text() + (DOCS / "plugins" / "hooks.md").read_text()
    assert [n for n in gtloop.__all__ if f"gtloop.{n}" not in text] == []


# ------------------------------------------------------------------------------------------- figures


def test_sizes_in_loop_md_are_those_of_the_code() -> None:
    """The tables of probe, validation, train, batch and first look, by number of images."""
    for task, target, binary in (("bbox", 0.6, False), ("classification", 0.95, True)):
        settings = config.load(None, {"run.task": task})
        promise = Promise("selective", "q", target, binary=binary)
        table = rows(section(DOCS / "loop.md", f"### Sizes for `{task}`"))
        assert len(table) >= 4
        for n, cells in table.items():
            plan = make_plan(settings, promise, int(n.replace(",", "")))
            shown = [int(c.replace(",", "")) for c in cells]
            assert shown == [plan.probe, plan.validation, plan.train, plan.batch, plan.look_at[0]], n


def test_validation_items_in_promise_md_are_those_of_the_code() -> None:
    table = rows(section(DOCS / "promise.md", "## How many validation items"))
    assert len(table) >= 6
    for target, cells in table.items():
        shown = [int(c) for c in cells]
        assert shown == [first_rung_items(float(target), 0.1, binary) for binary in (False, True)], target


# ------------------------------------------------------------------------------------------ tutorial


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The files of docs/plugins/writing.md, on the import path."""
    folder = tmp_path_factory.mktemp("tutorial")
    files = [b for b in blocks(DOCS / "plugins" / "writing.md") if b.marker.startswith("file: ")]
    for block in files:
        path = folder / block.marker.removeprefix("file: ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def _tutorial_module(folder: Path) -> str:
    points = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]["gtloop"]
    assert len(points) == 1
    name: str = next(iter(points.values()))
    return name


@pytest.fixture
def with_tutorial(tutorial: Path) -> Registry:
    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins", _tutorial_module(tutorial)])
    assert registry.failed == []
    return registry


def _from_tutorial(registry: Registry) -> list[type[Plugin]]:
    return [p.cls for kind in KINDS for p in registry.providers(kind) if not p.builtin]


def test_tutorial_plugins_keep_their_contract(with_tutorial: Registry) -> None:
    classes = _from_tutorial(with_tutorial)
    assert sorted(c.kind for c in classes) == ["detector", "sampler"]
    for cls in classes:
        broken = [f"{v.check}: {v.message}" for v in verdicts(cls, with_tutorial) if not v.ok]
        assert broken == [], cls.name


def test_tutorial_tests_pass(tutorial: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=tutorial,
        env={**os.environ, "PYTHONPATH": str(tutorial)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_tutorial_plugins_do_a_whole_run(with_tutorial: Registry, photos: Path, tmp_path: Path) -> None:
    from gtloop.run import run_or_resume

    detector, sampler = sorted(_from_tutorial(with_tutorial), key=lambda c: c.kind)
    settings = _settings(photos, detector.name, sampler.name, sizes__look_at=80, promise__cross_fit=0)
    outcome, found = run_or_resume(tmp_path / "run", settings, with_tutorial)
    assert outcome == "finished"
    phases = {i["phase"] for i in found["iterations"]}
    assert "active" in phases, "the sampler was never asked"
    assert found["items"]["human"] + found["items"]["machine"] == PHOTOS


def test_tutorial_needs_no_other_file(tutorial: Path) -> None:
    """What the page shows is the whole package: nothing is imported that is not gtloop's or a library's."""
    module: types.ModuleType = __import__(_tutorial_module(tutorial))
    assert Path(str(module.__file__)).is_relative_to(tutorial)


# --------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{_name(page)} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{_name(page)} links to {target}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        linked = ((page.parent / t.partition("#")[0]).resolve() for t in links(page) if t.partition("#")[0])
        todo += [p for p in linked if p.suffix == ".md"]
    assert {_name(p) for p in PAGES} - {_name(p) for p in seen} == set()
