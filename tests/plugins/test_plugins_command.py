"""``gtloop plugins``: list, show, check."""

from __future__ import annotations

import json
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


def test_check_takes_options_and_refuses_wrong_ones(invoke: Any) -> None:
    assert invoke("check", "uncertainty", "-o", "measure=entropy").exit_code == 0
    done = invoke("check", "uncertainty", "-o", "measur=entropy")
    assert isinstance(done.exception, errors.ConfigError)
    assert "did you mean measure?" in str(done.exception)
    done = invoke("check", "missing-library")
    assert isinstance(done.exception, errors.MissingExtra)
