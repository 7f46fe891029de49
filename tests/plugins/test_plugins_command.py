"""``gtloop plugins``: list, show, check."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import gtloop
from gtloop import errors
from gtloop.interfaces import Pick
from gtloop.registry import Registry
from gtloop_plugins.samplers.random import Random


class Lazy(Random):
    name = "lazy"
    summary = "takes the first rows"

    def select(self, view: Any, n: int, rng: Any) -> Pick:
        return Pick(view.rows[:n], "first")


class Missing(Random):
    name = "missing-library"
    summary = "needs what is not there"
    requires = ("no_such_library",)


def plugin(name: str, hook: str, function: Any) -> ModuleType:
    module = ModuleType(name)
    setattr(module, hook, gtloop.hookimpl(specname=hook)(function))
    return module


@pytest.fixture
def invoke() -> Any:
    def boom() -> None:
        raise ValueError("not today")

    extra = plugin("extra_module", "gtloop_samplers", lambda: [Lazy, Missing])
    broken = plugin("broken_module", "gtloop_scores", boom)
    blocked = plugin("blocked_module", "gtloop_scores", boom)
    modules = ["gtloop_plugins", extra, broken, blocked]
    registry = Registry.load(discover=False, extra_modules=modules, block=["blocked_module"])
    app = typer.Typer()

    @app.callback()
    def main(ctx: typer.Context) -> None:
        ctx.obj = SimpleNamespace(registry=registry, json=lambda facts: typer.echo(json.dumps(facts)))

    registry.commands(app)

    def run(*args: str) -> Any:
        return CliRunner().invoke(app, ["plugins", *args])

    return run


def test_list_shows_kind_name_origin_status(invoke: Any) -> None:
    done = invoke("list")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    assert ["sampler", "random", "gtloop", gtloop.__version__, "ready"] in [line[:5] for line in lines]
    assert any(line[:2] == ["sampler", "missing-library"] and "no_such_library" in line for line in lines)
    assert any(line[:1] == ["broken_module"] and "failed" in line for line in lines)
    assert any(line[:1] == ["blocked_module"] and "blocked" in line for line in lines)
    assert "gtloop plugins list --errors" in done.output
    assert invoke().output == done.output


def test_list_as_json(invoke: Any) -> None:
    facts = json.loads(invoke("list", "--json").output)
    by_name = {(p["kind"], p["name"]): p for p in facts["plugins"]}
    assert by_name["task", "bbox"]["status"] == "ready"
    assert by_name["sampler", "missing-library"]["status"] == "missing no_such_library"
    assert by_name["sampler", "lazy"]["distribution"] == "module extra_module"
    assert [f["error"] for f in facts["failed"]] == ["gtloop_scores raised: ValueError: not today"]
    assert [b["plugin"] for b in facts["blocked"]] == ["blocked_module"]


def test_errors_prints_tracebacks(invoke: Any) -> None:
    done = invoke("list", "--errors")
    assert done.exit_code == 0
    assert "broken_module (module broken_module): gtloop_scores raised: ValueError: not today" in done.output
    assert "Traceback (most recent call last)" in done.output


def test_show_tells_the_options(invoke: Any) -> None:
    done = invoke("show", "uncertainty")
    assert done.exit_code == 0
    assert "sampler uncertainty: takes the images" in done.output
    assert "measure" in done.output
    assert "'least-confidence'" in done.output
    assert "-o samplers.uncertainty.KEY=VALUE" in done.output
    assert "licence: Apache-2.0" in done.output
    facts = json.loads(invoke("show", "predictions", "--json").output)
    assert facts["kind"] == "detector"
    assert facts["trainable"] is False
    options = {o["name"]: o for o in facts["options"]}
    assert options["path"]["default"] == "required"
    assert all(o["description"] for o in options.values())


def test_show_says_what_to_install(invoke: Any) -> None:
    assert "install: pip install no_such_library" in invoke("show", "missing-library").output


def test_an_unknown_name_is_a_usage_error(invoke: Any) -> None:
    done = invoke("show", "uncertanty")
    assert isinstance(done.exception, errors.UnknownName)
    assert "Did you mean 'uncertainty'?" in str(done.exception)
    done = invoke("show", "random", "--kind", "model")
    assert isinstance(done.exception, errors.UsageError)
    assert "there are: task, annotator" in str(done.exception)


def test_check_passes_a_sound_plugin(invoke: Any) -> None:
    done = invoke("check", "random")
    assert done.exit_code == 0, done.output
    assert "ok    check_seed_decides: The same view and generator give the same rows." in done.output
    assert "13 ok, 0 failed, 0 skipped" in done.output


def test_check_fails_a_broken_one(invoke: Any) -> None:
    done = invoke("check", "lazy", "--json")
    assert done.exit_code == 1
    (found,) = json.loads(done.output).values()
    assert [v["check"] for v in found if not v["ok"]] == ["check_ties_are_broken_at_random"]


def test_failures_are_repeated_with_what_to_do(invoke: Any) -> None:
    done = invoke("check", "lazy")
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert lines[0] == "sampler lazy"
    fault = "among 40 equal candidates it picks the same 5 whatever the generator"
    assert f"  FAIL  check_ties_are_broken_at_random: {fault}" in lines
    at = lines.index("  failure 1 of 1: check_ties_are_broken_at_random")
    assert lines[at + 1] == f"    fault:      {fault}"
    assert lines[at + 2] == "    what to do: Permute the rows with the given generator, then sort stably."
    assert lines[-1] == "  12 ok, 1 failed, 0 skipped"


FILE = """
import gtloop
from gtloop.interfaces import Pick, Sampler

class Lazy(Sampler):
    name = "lazy-file"
    summary = "takes the first rows"

    def select(self, view, n, rng):
        return Pick(view.rows[:n], "first")

class Misnamed(Lazy):
    name = "Lazy File"

@gtloop.hookimpl
def gtloop_samplers():
    return [Lazy{more}]
"""


@pytest.fixture
def path_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """``check FILE`` puts the file's folder on the path of its process; here, for one test."""
    monkeypatch.setattr("sys.path", list(sys.path))


@pytest.mark.usefixtures("path_kept")
def test_check_of_a_file_and_of_a_package(invoke: Any, tmp_path: Path) -> None:
    file = tmp_path / "plugin_file_under_test.py"
    file.write_text(FILE.format(more=", Misnamed"))
    done = invoke("check", str(file))
    assert done.exit_code == 1
    assert "load: sampler Misnamed: name 'Lazy File' is not a slug" in done.output
    assert "failure 1 of 1: check_ties_are_broken_at_random" in done.output
    assert "2 plugins checked, 2 broken: plugin_file_under_test (module plugin_file_under_test)" in done.output

    package = tmp_path / "src" / "plugin_package_under_test"
    (package / "parts").mkdir(parents=True)
    (package / "parts" / "__init__.py").write_text("")
    (package / "parts" / "lazy.py").write_text(FILE.format(more=""))
    (package / "__init__.py").write_text("from plugin_package_under_test.parts.lazy import gtloop_samplers\n")
    for name in (str(package), str(package / "parts" / "lazy.py"), "plugin_package_under_test"):
        (found,) = json.loads(invoke("check", name, "--json").output).items()
        assert found[0] == "sampler lazy-file"
        assert [v["check"] for v in found[1] if not v["ok"]] == ["check_ties_are_broken_at_random"]


@pytest.mark.usefixtures("path_kept")
def test_check_of_a_file_that_is_no_plugin_says_why(invoke: Any, tmp_path: Path) -> None:
    broken, none, taken = (tmp_path / n for n in ("fails_under_test.py", "none_under_test.py", "colorsys.py"))
    broken.write_text("x = 1\nimport no_such_library\n")
    none.write_text("x = 1\n")
    taken.write_text(FILE.format(more=""))
    done = invoke("check", str(broken))
    assert done.exit_code == 1
    assert "FAIL  load: cannot be loaded: ModuleNotFoundError: No module named 'no_such_library'" in done.output
    assert f"See {broken}, line 2." in done.output
    for path, words in (
        (none, "provides no plugin: it needs a function such as gtloop_samplers"),
        (taken, "another module named 'colorsys' is there already"),
        (tmp_path / "absent.py", "is no .py file and no folder with an __init__.py"),
    ):
        done = invoke("check", str(path))
        assert isinstance(done.exception, errors.UsageError), done.output
        assert words in str(done.exception)


def test_check_all_checks_what_is_not_built_in(invoke: Any) -> None:
    done = invoke("check", "--all", "--json")
    assert done.exit_code == 1
    found = json.loads(done.output)
    assert list(found) == [
        "broken_module (module broken_module)",
        "sampler lazy (module extra_module)",
        "sampler missing-library (module extra_module)",
    ]
    assert found["broken_module (module broken_module)"][0]["message"] == "gtloop_scores raised: ValueError: not today"
    (missing,) = found["sampler missing-library (module extra_module)"]
    assert missing["skipped"]
    assert "pip install no_such_library" in missing["message"]
    assert "3 plugins checked, 2 broken" in invoke("check", "--all").output
    for wrong in ((), ("lazy", "--all"), ("--all", "-o", "a=1")):
        assert isinstance(invoke("check", *wrong).exception, errors.UsageError)


def test_check_takes_options_and_refuses_wrong_ones(invoke: Any) -> None:
    assert invoke("check", "uncertainty", "-o", "measure=entropy").exit_code == 0
    done = invoke("check", "uncertainty", "-o", "measur=entropy")
    assert isinstance(done.exception, errors.ConfigError)
    assert "did you mean measure?" in str(done.exception)
    done = invoke("check", "missing-library")
    assert isinstance(done.exception, errors.MissingExtra)
