"""What ``gtloop report`` says about how a run was made."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import Field, SecretStr

import gtloop
from gtloop import config
from gtloop.interfaces import Options
from gtloop.registry import Registry
from gtloop.run import run_or_resume, take_in
from gtloop.testing.fakes import CATEGORIES, tiny_items
from gtloop_plugins.commands.reporting.recipe import HIDDEN, again, options, recipe
from gtloop_plugins.samplers.random import Random


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load(discover=False, extra_modules=["gtloop_plugins"])


def run_of(base: Path, registry: Registry, **flags: Any) -> Path:
    """A run that waits for people."""
    tiny_items(base / "images", 30)
    given = {
        "run.source": str(base / "images"),
        "run.classes": CATEGORIES,
        "run.detector": "stub",
        "run.annotator": "files",
        **flags,
    }
    run_or_resume(base / "run", config.load(None, given), registry)
    return base / "run"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Path:
    return run_of(tmp_path_factory.mktemp("plain"), registry)


def rows(run: Path, registry: Registry) -> dict[str, str]:
    return dict(recipe(gtloop.open(run), registry))


def test_a_run_that_was_imported_is_made_again_by_an_import(plain: Path, registry: Registry, tmp_path: Path) -> None:
    assert again(gtloop.open(plain)).startswith("Again, from the same folder: gtloop run --config ")
    shutil.copytree(plain, tmp_path / "run")
    (tmp_path / "run" / "import.json").write_text('{"job": "/jobs/my crates"}')
    assert again(gtloop.open(tmp_path / "run")).endswith("gtloop import groundtruth '/jobs/my crates' --run NEW")
    assert "sizes" not in rows(tmp_path / "run", registry), "its first plan was never followed"


def test_a_run_by_default_has_its_choices_and_sizes_and_nothing_else(plain: Path, registry: Registry) -> None:
    found = rows(plain, registry)
    assert list(found)[-2:] == ["sizes", "gtloop"]
    assert not [key for key in found if "." in key]
    assert found["annotator"] == "files, 3 people an image"
    assert found["sizes"] == (
        "10 for validation, 10 of them as a probe; 20 for training at first; batches of 10; a look after 30"
    )


def test_what_is_no_default_is_there(tmp_path: Path, registry: Registry) -> None:
    flags = {
        "run.cut": 0.3,
        "loop.start": "sampler",
        "sizes.train": 7,
        "promise.looks": 1,  # the preset's
        "scores.mean.empty": "zero",  # not the run's score
        "detectors.stub.min_area": "16",
    }
    found = rows(run_of(tmp_path, registry, **flags), registry)
    given = {key: value for key, value in found.items() if "." in key}
    assert given == {"run.cut": "0.3", "loop.start": "sampler", "sizes.train": "7", "detectors.stub.min_area": "16"}


def test_an_option_of_the_preset_is_a_default(tmp_path: Path, registry: Registry) -> None:
    found = rows(run_of(tmp_path, registry, **{"run.preset": "ground-truth"}), registry)
    assert not [key for key in found if "." in key]
    assert found["sizes"].endswith("a look after every batch")


def test_what_the_preset_has_otherwise_is_there_though_it_is_the_default_of_the_plugin(
    tmp_path: Path, registry: Registry
) -> None:
    flags = {"run.preset": "ground-truth", "scores.mean.empty": "one-minus-below"}
    found = rows(run_of(tmp_path, registry, **flags), registry)
    assert {key: value for key, value in found.items() if "." in key} == {"scores.mean.empty": "one-minus-below"}


def test_a_default_may_be_written_as_text(registry: Registry) -> None:
    assert options("detector", "stub", {"min_area": "9"}, registry) == [("min_area", "9", True)]


def test_what_was_changed_on_the_way_is_told_in_order(plain: Path, registry: Registry, tmp_path: Path) -> None:
    moved = tmp_path / "run"
    shutil.copytree(plain, moved)
    for change in ({"run.budget_usd": 90.0}, {"detectors.stub": {"min_area": 16}}):
        take_in(moved, registry, gtloop.open(moved).change(**change))
    take_in(moved, registry, gtloop.open(moved).rename_categories({CATEGORIES[0]: "box"}))
    found = recipe(gtloop.open(moved), registry)
    assert found[: len(found) - 4] == recipe(gtloop.open(plain), registry)[:-1]
    assert [text for what, text in found if what.startswith("iteration")] == [
        "run.budget_usd 90.0",
        "detectors.stub: min_area 16",
        f"renamed {CATEGORIES[0]} to box",
    ]


class Keyed(Random):
    name = "keyed"
    summary = "asks a service"

    class Options(Options):
        login: SecretStr = Field(SecretStr(""), description="marked by its type")
        pin: str = Field("", repr=False, description="marked by hand")
        api_key: str = Field("", description="not marked")
        max_tokens: int = Field(1, description="no secret")
        url: str = Field("", description="where it is")


GIVEN = {"login": "s3cret", "pin": "s3cret", "api_key": "s3cret", "max_tokens": "9", "url": "https://me:s3cret@host/a"}


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    module = ModuleType("keyed_module")
    module.gtloop_samplers = gtloop.hookimpl(specname="gtloop_samplers")(lambda: [Keyed])  # type: ignore[attr-defined]
    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins", module])
    flags = {f"samplers.keyed.{key}": value for key, value in GIVEN.items()}
    run = run_of(tmp_path, registry, **{"run.sampler": "keyed"}, **flags)
    found = rows(run, registry)
    assert "s3cret" not in str(found)
    assert {key: found[f"samplers.keyed.{key}"] for key in ("pin", "api_key", "max_tokens", "url")} == {
        "pin": HIDDEN,
        "api_key": HIDDEN,
        "max_tokens": "9",
        "url": "https://host/a",
    }
    without = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    assert {text for _, text, _ in options("sampler", "keyed", GIVEN, without)} == {HIDDEN}
