"""Observers: on where the settings have a table for them, told once, closed at the end; a bad one hurts nobody."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field
from runs import Ended, cli, make_images, small, status

import gtloop
from gtloop import config, interfaces
from gtloop.events import Event
from gtloop.interfaces import Context, Observer
from gtloop.settings import Settings
from gtloop.state import State


class Diary(Observer):
    """Writes down what happens to it."""

    name = "diary"
    summary = "writes down what happens to it"
    built: ClassVar[list[Diary]] = []

    class Options(interfaces.Options):
        pen: str = Field("blue", description="colour")
        change_at: str = Field("", description="type of an event at which something else happens")

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        self.seen: list[str] = []
        self.closed = 0
        Diary.built.append(self)

    def observe(self, event: Event, state: State) -> None:
        self.seen.append(event.key() or type(event).__name__)
        if CHANGES and type(event).__name__ == self.options.change_at:
            CHANGES.pop()(self.context.workdir.parents[1])

    def close(self) -> None:
        self.closed += 1


CHANGES: list[Any] = []
"""What happens next, as a function of the run folder."""


class Angry(Observer):
    """Raises whatever is asked of it."""

    name = "angry"
    summary = "raises whatever is asked of it"

    def observe(self, event: Event, state: State) -> None:
        raise RuntimeError("no\nway")

    def close(self) -> None:
        raise RuntimeError("not now")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Diary.built.clear()
    CHANGES.clear()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_images(tmp_path, 40)[0]


def run(source: Path, *more: object) -> Ended:
    return cli(*small(source, source.parent / "run", *more), modules=[hooks()])


def hooks() -> types.ModuleType:
    module = types.ModuleType("writers")
    module.gtloop_observers = gtloop.hookimpl(lambda: [Diary, Angry], specname="gtloop_observers")  # type: ignore[attr-defined]
    return module


def told() -> list[Diary]:
    return [d for d in Diary.built if d.seen]


def test_who_has_no_table_is_off(source: Path) -> None:
    assert run(source).code == 0
    assert Diary.built == []


def test_an_empty_table_turns_one_on(source: Path, tmp_path: Path) -> None:
    toml = tmp_path / "gtloop.toml"
    toml.write_text("[observers.diary]\n")
    assert run(source, "--config", toml).code == 0
    (diary,) = told()
    kept = [entry.event for entry in gtloop.open(tmp_path / "run").events()]
    assert diary.seen == [e.key() or type(e).__name__ for e in kept[1:]], "all but the start of the run, in order"
    assert diary.closed == 1
    assert diary.options.pen == "blue"
    assert diary.context.run == "run"
    assert "[observers.diary]" in (tmp_path / "run" / "run.toml").read_text()


def test_what_one_raises_is_logged_with_its_name(source: Path, tmp_path: Path) -> None:
    toml = tmp_path / "gtloop.toml"
    toml.write_text("[observers.angry]\n[observers.diary]\n")
    ended = run(source, "--config", toml)
    assert ended.code == 0, ended.err
    assert "observer 'angry' failed: RuntimeError: no way" in ended.err
    assert "observer 'angry' failed: RuntimeError: not now" in ended.err
    (diary,) = told()
    assert diary.seen[-1] == "run-finished:1"
    assert diary.closed == 1


def test_it_is_closed_where_the_run_breaks(source: Path) -> None:
    def vanish(root: Path) -> None:
        for path in (root / "answers").glob("*"):
            path.unlink()

    CHANGES.append(vanish)
    ended = run(source, "-o", "observers.diary.change_at=AnswersCollected")
    assert ended.code == 1, ended.out
    (diary,) = told()
    assert diary.closed == 1


@pytest.mark.slow
def test_one_that_is_left_out_later_is_off(source: Path, tmp_path: Path) -> None:
    paid = ("-o", "prices.answer_usd=0.01", "--budget")
    assert run(source, *paid, "0.4", "-o", "observers.diary.pen=red").code == 4
    (diary,) = told()
    before = len(diary.seen)
    assert run(source, *paid, "9").code == 0
    assert told() == [diary]
    assert len(diary.seen) == before
    opened = gtloop.open(tmp_path / "run")
    assert opened.settings.observers == {}
    assert Settings.model_validate(opened.state.facts.typed).observers == {}
    assert cli("report", tmp_path / "run", modules=[hooks()]).code == 0
    pages = [page.read_text("utf-8") for page in (tmp_path / "run").rglob("*.html")]
    assert any("observers.diary: off" in page for page in pages)


def test_the_same_flags_turn_the_same_on_again(source: Path) -> None:
    words = ("-o", "prices.answer_usd=0.01", "-o", "observers.diary.pen=red", "--budget")
    assert run(source, *words, "0.4").code == 4
    assert run(source, *words, "9").code == 0
    first, second = told()
    assert not set(first.seen) & {key for key in second.seen if ":" in key}, "an event is told twice"
    assert second.seen[-1] == "run-finished:1"


def test_changed_options_take_effect_while_it_runs(source: Path) -> None:
    CHANGES.append(lambda root: gtloop.open(root).change(**{"observers.diary.pen": "red"}))
    assert run(source, "-o", "observers.diary.change_at=BatchSubmitted").code == 0
    blue, red = told()
    assert (blue.options.pen, red.options.pen) == ("blue", "red")
    assert (blue.closed, red.closed) == (1, 1)
    assert blue.seen[-1] == "SettingsChanged"


def test_another_change_leaves_it_as_it_is(source: Path) -> None:
    CHANGES.append(lambda root: gtloop.open(root).change(**{"run.budget_usd": 50.0}))
    assert run(source, "-o", "observers.diary.change_at=RunFinished").code == 0
    (diary,) = told()
    assert (diary.seen[-1], diary.closed) == ("SettingsChanged", 1)


def test_a_change_to_what_it_cannot_have_is_refused(source: Path, tmp_path: Path) -> None:
    CHANGES.append(lambda root: gtloop.open(root).change(**{"observers.diary.pencil": "red"}))
    assert run(source, "-o", "observers.diary.change_at=LabelsConsolidated").code == 0
    refused = [e.event for e in gtloop.open(tmp_path / "run").events() if e.event.type == "letter-refused"]
    assert ["observers.diary.pencil: unknown option" in e.why for e in refused] == [True]


@pytest.mark.slow
def test_reading_a_run_builds_none(source: Path, tmp_path: Path) -> None:
    assert run(source, "-o", "observers.diary.pen=red").code == 0
    Diary.built.clear()
    for command in ("status", "report", "export"):
        assert cli(command, tmp_path / "run", modules=[hooks()]).code == 0
    assert status(tmp_path / "run")["state"] == "finished"
    assert Diary.built == []


def test_no_setting_of_an_observer_is_frozen() -> None:
    on = config.load(None, {}, ("observer.webhook.on=done",))
    assert on.observers == {"webhook": {"on": "done"}}
    off = config.load(None, {})
    assert config.changes(off, on) == {"observers.webhook": {"on": "done"}}
    assert config.changes(on, off) == {"observers.webhook": None}
    assert config.replaced(on, {"observers.webhook": None}) == off
