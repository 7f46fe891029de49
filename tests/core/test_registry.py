"""Plugins load one by one, guarded, and are chosen with errors that say what to type next."""

from __future__ import annotations

import itertools
import logging
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from gtloop import errors
from gtloop.compatibility import check_fit
from gtloop.interfaces import Context, Form, Primitive
from gtloop.registry import Registry

COUNT = itertools.count()

SAMPLER = """
import gtloop
from pydantic import Field
from gtloop.interfaces import Options, Sampler

class {cls}(Sampler):
    name = "{name}"
    summary = "for tests"
    {extra}

    class Options(Options):
        depth: int = Field(3, description="how deep")
        loud: bool = Field(True, description="how loud")
        folder: str = Field("here", description="where")

    def select(self, view, n, rng):
        return view.rows[:n], "first"

@gtloop.hookimpl
def gtloop_samplers():
    return [{cls}]
"""


def sampler(name: str = "mine", cls: str = "Mine", extra: str = "pass") -> str:
    return SAMPLER.format(name=name, cls=cls, extra=extra)


Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution with one entry point on the path, as pip would."""

    def put(point: str, source: str, distribution: str = "", version: str = "1.0", provides: str = "") -> str:
        module = f"plugin_under_test_{next(COUNT)}"
        distribution = distribution or f"dist-{point}"
        site = tmp_path / distribution
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(textwrap.dedent(source))
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (info / "METADATA").write_text(metadata + (f"Provides-Extra: {provides}\n" if provides else ""))
        (info / "entry_points.txt").write_text(f"[gtloop]\n{point} = {module}\n")
        monkeypatch.syspath_prepend(str(site))
        return module

    return put


def module(source: str) -> ModuleType:
    made = ModuleType(f"module_under_test_{next(COUNT)}")
    exec(textwrap.dedent(source), made.__dict__)
    return made


def alone(*sources: str) -> Registry:
    return Registry.load(discover=False, extra_modules=[module(s) for s in sources])


def test_a_broken_plugin_is_recorded_and_hurts_nobody(install: Install) -> None:
    install("aaa", "import no_such_library")
    install("bbb", sampler("good"))
    install("ccc", "raise SystemExit(3)")
    registry = Registry.load()
    assert "good" in registry.names("sampler")
    failed = {f.name: f for f in registry.failed}
    assert {"aaa", "ccc"} <= set(failed)
    assert failed["aaa"].distribution == "dist-aaa"
    assert failed["aaa"].error == "cannot be loaded: ModuleNotFoundError: No module named 'no_such_library'"
    assert "Traceback" in failed["aaa"].traceback
    assert "bbb" not in failed


def test_a_misspelt_hook_hurts_its_owner_only(install: Install) -> None:
    install("misspelt", sampler("typo") + "\n@gtloop.hookimpl\ndef gtloop_anotators():\n    return []\n")
    install("wrongargs", sampler("args") + "\n@gtloop.hookimpl\ndef gtloop_event(event, stat):\n    return []\n")
    install("good", sampler("good"))
    registry = Registry.load()
    assert not {"typo", "args"} & set(registry.names("sampler"))
    assert "good" in registry.names("sampler")
    errors_by_name = {f.name: f.error for f in registry.failed}
    assert "gtloop_anotators" in errors_by_name["misspelt"]
    assert "stat" in errors_by_name["wrongargs"]


def test_a_hook_that_raises_is_recorded() -> None:
    registry = alone("import gtloop\n@gtloop.hookimpl\ndef gtloop_tasks():\n    raise ValueError('no tasks today')\n")
    (failed,) = registry.failed
    assert failed.error == "gtloop_tasks raised: ValueError: no tasks today"


def test_block_and_allow_list(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("one", sampler("first"))
    install("two", sampler("second"), distribution="other-dist")
    install("three", sampler("third"))
    registry = Registry.load(block=["one", "other-dist"])
    assert set(registry.names("sampler")) & {"first", "second", "third"} == {"third"}
    assert {o.plugin for o in registry.blocked} == {"one", "two"}
    monkeypatch.setenv("GTLOOP_PLUGINS", "one, absent")
    registry = Registry.load()
    assert set(registry.names("sampler")) & {"first", "second", "third"} == {"first"}
    assert {"two", "three"} <= {o.plugin for o in registry.blocked}
    assert "GTLOOP_PLUGINS names 'absent', which is not installed" in [f.error for f in registry.failed]
    monkeypatch.setenv("GTLOOP_PLUGINS", "")
    assert "first" not in Registry.load().names("sampler")
    assert not any(o.plugin == "builtin" for o in Registry.load().blocked)


def test_providers_say_where_they_come_from(install: Install) -> None:
    install("one", sampler("first"), distribution="nice-dist", version="2.5")
    (mine,) = [p for p in Registry.load().providers("sampler") if p.cls.name == "first"]
    assert mine[1:] == ("one", "nice-dist", "2.5")
    assert not mine.builtin


def test_builtins_come_by_their_own_entry_point() -> None:
    registry = Registry.load()
    assert "random" in registry.names("sampler")
    assert all(p.builtin and p.distribution == "gtloop" for p in registry.providers("score"))
    assert [f for f in registry.failed if f.name == "builtin"] == []


def test_discovery_off_loads_the_given_modules_only(install: Install) -> None:
    install("one", sampler("first"))
    registry = Registry.load(discover=False)
    assert all(registry.names(kind) == [] for kind in ("task", "sampler", "executor"))
    by_name = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    assert by_name.find("sampler", "random").builtin


def test_unknown_name_suggests_and_lists() -> None:
    registry = alone(sampler("uncertainty"), sampler("other"))
    with pytest.raises(errors.UnknownName) as e:
        registry.get("sampler", "uncertanty")
    assert str(e.value) == ("no sampler named 'uncertanty'. Did you mean 'uncertainty'? Installed: other, uncertainty.")
    assert e.value.exit_code == 2
    with pytest.raises(errors.UnknownName, match=r"no executor named 'x'\. Installed: none\."):
        registry.get("executor", "x")


def test_unknown_name_points_at_failed_plugins() -> None:
    with pytest.raises(errors.UnknownName, match=r"1 failed to load: gtloop plugins list --errors"):
        alone("import gtloop\n@gtloop.hookimpl\ndef gtloop_tasks():\n    return [3]\n").get("task", "bbox")


def test_clash_only_when_the_name_is_selected(install: Install) -> None:
    install("one", sampler("same"), distribution="dist-a", version="1.0")
    install("two", sampler("same"), distribution="dist-b", version="2.0")
    install("three", sampler("free"))
    registry = Registry.load()
    assert registry.get("sampler", "free").name == "free"
    with pytest.raises(errors.NameClash) as e:
        registry.get("sampler", "same")
    assert str(e.value) == (
        "sampler 'same' is provided by both 'one' (dist-a 1.0) and 'two' (dist-b 2.0); "
        "say same@dist-a, or block one: --block two"
    )
    assert registry.find("sampler", "same@dist-b").plugin == "two"
    with pytest.raises(errors.UnknownName, match="Did you mean 'same@dist-a'"):
        registry.get("sampler", "same@dist-c")
    assert Registry.load(block=["two"]).find("sampler", "same").plugin == "one"


def test_two_distributions_may_use_the_same_entry_point_name(install: Install) -> None:
    install("same", sampler("first"), distribution="dist-a")
    install("same", sampler("second"), distribution="dist-b")
    registry = Registry.load()
    assert {"first", "second"} <= set(registry.names("sampler"))
    assert registry.find("sampler", "second").plugin == "same@dist-b"
    assert "second" not in Registry.load(block=["same@dist-b"]).names("sampler")
    assert "first" in Registry.load(block=["same@dist-b"]).names("sampler")


def test_missing_extra_says_the_pip_line(install: Install) -> None:
    needs = 'requires = ("no_such_lib.sub", "numpy"); extra = {}'
    install("one", sampler("a", extra=needs.format("'gpu'")), distribution="dist-a", provides="gpu")
    install("two", sampler("b", extra=needs.format("'nice-lib>=2'")), distribution="dist-b")
    install("three", sampler("c", extra=needs.format("None")), distribution="dist-c")
    registry = Registry.load()
    for name, line in {"a": "'dist-a[gpu]'", "b": "'nice-lib>=2'", "c": "no_such_lib.sub"}.items():
        with pytest.raises(errors.MissingExtra) as e:
            registry.get("sampler", name)
        assert str(e.value) == f"sampler '{name}' needs the package no_such_lib.sub. Install: pip install {line}"
    assert registry.find("sampler", "a").missing == ["no_such_lib.sub"]


def test_a_builtin_names_the_extra_of_gtloop() -> None:
    from gtloop.provided import Provided

    registry = alone(sampler("a", extra='requires = ("no_such_lib",); extra = "vision"'))
    provided = Provided(registry.find("sampler", "a").cls, "builtin", "gtloop", "0.1.0")
    assert provided.install == "pip install 'gtloop[vision]'"


def test_incompatible_api_says_which_side_to_upgrade() -> None:
    for api, side in ((0, "upgrade module"), (99, "upgrade gtloop")):
        with pytest.raises(errors.IncompatibleApi, match=f"was written for plugin API {api}, .*{side}"):
            alone(sampler("old", extra=f"api = {api}")).get("sampler", "old")


@pytest.mark.parametrize(
    ("cls", "fault"),
    [
        ("class Bad: name = 'bad'; summary = 'x'", "not a subclass of gtloop.interfaces.Sampler"),
        ("class Bad(Sampler): name = 'bad'; summary = 'x'", "does not implement select"),
        ("class Bad(Sampler): summary = 'x'; select = None", "has no name"),
        ("class Bad(Sampler): name = 'bad'; select = None", "has no summary"),
        ("class Bad(Sampler): name = 'Bad_1'; summary = 'x'; select = None", "is not a slug"),
        ("class Bad(Sampler): name = 'bad'; summary = 'x'; select = None; Options = dict", "Options is not a subclass"),
        ("class Bad(Score): name = 'bad'; summary = 'x'; score = None", "not a subclass of gtloop.interfaces.Sampler"),
        ("Bad = 7", "7 is not a subclass"),
    ],
)
def test_a_class_that_is_not_what_it_says_is_recorded(cls: str, fault: str) -> None:
    source = f"import gtloop\nfrom gtloop.interfaces import Sampler, Score\n{cls}\n"
    registry = alone(source + "@gtloop.hookimpl\ndef gtloop_samplers():\n    return [Bad]\n", sampler("good"))
    assert registry.names("sampler") == ["good"]
    (failed,) = registry.failed
    assert fault in failed.error


def test_one_plugin_cannot_provide_a_name_twice() -> None:
    twice = sampler("same", "A") + sampler("same", "B").replace("return [B]", "return [A, B]")
    registry = alone(twice)
    assert registry.get("sampler", "same").__name__ == "A"
    assert [f.error for f in registry.failed] == ["sampler 'same' is provided twice: A, B"]


def test_options_coerce_strings_and_explain() -> None:
    registry = alone(sampler("mine"))
    options: Any = registry.options("sampler", "mine", {"depth": "7", "loud": "false"}, "-o")
    assert (options.depth, options.loud, options.folder) == (7, False, "here")
    with pytest.raises(errors.ConfigError) as e:
        registry.options("sampler", "mine", {"dept": 7}, "gtloop.toml")
    assert str(e.value) == "gtloop.toml: samplers.mine.dept: unknown option (got 7); did you mean depth?"
    with pytest.raises(errors.ConfigError) as e:
        registry.options("sampler", "mine", {"depth": "deep", "zzz": 1}, "-o")
    assert str(e.value) == (
        "-o: samplers.mine.depth: input should be a valid integer, unable to parse string as an integer (got 'deep'); "
        "-o: samplers.mine.zzz: unknown option (got 1); there are: depth, loud, folder"
    )


def test_each_option_is_blamed_on_where_it_was_given() -> None:
    registry = alone(sampler("mine"))
    with pytest.raises(errors.ConfigError) as e:
        registry.options("sampler", "mine", {"depth": "deep", "zzz": 1, "yyy": 1}, {"depth": "my.toml", "zzz": "-o"})
    assert [fault.split(": ")[0] for fault in str(e.value).split("; ") if "samplers" in fault] == [
        *("my.toml", "-o", "options")
    ]


def test_a_required_option_is_named() -> None:
    source = sampler("mine").replace('Field("here", ', "Field(")
    with pytest.raises(errors.ConfigError, match=r"^-o: samplers\.mine\.folder: is required \(where\)$"):
        alone(source).options("sampler", "mine", {}, "-o")


def test_build_makes_the_plugin(tmp_path: Path) -> None:
    registry = alone(sampler("mine"))
    context = Context(workdir=tmp_path)
    made = registry.build("sampler", "mine", {"depth": 4}, context)
    assert (made.options.depth, made.context) == (4, context)
    again = registry.build("sampler", "mine", made.options, context)
    assert again.options is made.options


def test_a_constructor_that_raises_is_the_plugins_fault() -> None:
    source = sampler("mine", extra="def __init__(self, options, context): raise KeyError('x')")
    with pytest.raises(errors.PluginFault, match=r"sampler 'mine' can't be built: KeyError: 'x'"):
        alone(source).build("sampler", "mine", {}, Context())


def test_commands_are_guarded_one_by_one() -> None:
    good = "import gtloop\n@gtloop.hookimpl\ndef gtloop_commands(app):\n    app.command('hello')(lambda: None)\n"
    bad = "import gtloop\n@gtloop.hookimpl\ndef gtloop_commands(app):\n    raise RuntimeError('no')\n"
    registry = alone(bad, good, bad)
    app = typer.Typer()
    registry.commands(app)
    assert [c.name for c in app.registered_commands] == ["hello"]
    assert [f.error for f in registry.failed] == ["gtloop_commands raised: RuntimeError: no"] * 2


def test_observers_are_logged_and_swallowed(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []
    good = module("import gtloop\n@gtloop.hookimpl\ndef gtloop_event(event):\n    seen.append(event)\n")
    good.__dict__["seen"] = seen
    bad = module("import gtloop\n@gtloop.hookimpl\ndef gtloop_event(event, state):\n    raise RuntimeError('no')\n")
    registry = Registry.load(discover=False, extra_modules=[bad, good, module(sampler())])
    event: Any = object()
    state: Any = object()
    with caplog.at_level(logging.ERROR, logger="gtloop.plugins"):
        registry.notify(event, state)
    assert seen == [event]
    (record,) = caplog.records
    assert bad.__name__ in record.getMessage()
    assert record.exc_info is not None


class Thing:
    """A stand-in with the attributes that the check reads."""

    def __init__(self, name: str, **attributes: Any) -> None:
        self.name = name
        self.__dict__.update(attributes)


FITS = """
import gtloop
from gtloop.interfaces import Annotator, Detector

class Able(Detector):
    name = "able"; summary = "does dots"; tasks = frozenset({"dots"})
    load = prepare = predict_batch = None

class Pen(Annotator):
    name = "pen"; summary = "shows anything"
    submit = collect = None

class Clicker(Annotator):
    name = "clicker"; summary = "shows choices"; forms = frozenset({"choice"})
    submit = collect = None

@gtloop.hookimpl
def gtloop_detectors():
    return [Able]

@gtloop.hookimpl
def gtloop_annotators():
    return [Pen, Clicker]
"""


def test_check_fit_reports_every_problem_at_once() -> None:
    registry = alone(FITS)
    form = Form(task="dots", instructions="", primitives=(Primitive(kind="point", name="dot"),))
    task: Any = Thing("dots", feature_names=("n_objects",), form=lambda: form)
    detector: Any = Thing("blind", tasks=frozenset({"bbox"}))
    score: Any = Thing("mean", needs=frozenset({"confidence_mean", "n_objects"}))
    greedy: Any = Thing("greedy", needs=frozenset({"score", "embedding"}))
    clicker: Any = registry.get("annotator", "clicker")
    with pytest.raises(errors.Unsupported) as e:
        check_fit(registry, task, clicker, detector, greedy, score)
    assert str(e.value) == (
        "detector 'blind' does not do task 'dots' (it does: bbox). Detectors that do: able; "
        "annotator 'clicker' cannot show the form of task 'dots': it lacks point (it can show: choice). "
        "Annotators that can: pen; "
        "score 'mean' needs confidence_mean, which task 'dots' does not give (it gives: n_objects)"
    )
    able: Any = registry.get("detector", "able")
    pen: Any = registry.get("annotator", "pen")
    count: Any = Thing("count", needs=frozenset({"n_objects"}))
    assert check_fit(registry, task, pen, able, greedy, count) == [
        "sampler 'greedy' needs embedding, which task 'dots' and detector 'able' do not give: it picks at random"
    ]
    simple: Any = Thing("simple", needs=frozenset({"score"}))
    assert check_fit(registry, task, pen, able, simple, count) == []


@pytest.mark.parametrize("value", ["5", "'hello'", "True", "[1]"])
def test_what_a_command_returns_is_no_exit_code(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from gtloop import cli

    def commands(_: Registry, app: typer.Typer) -> None:
        more = typer.Typer()
        more.command("deep")(lambda: eval(value))
        more.command("other")(lambda: None)
        app.command("flat")(lambda: eval(value))
        app.add_typer(more, name="more")

        @app.command()
        def leave() -> None:
            raise typer.Exit(7)

    monkeypatch.setattr(Registry, "load", lambda **_: Registry())
    monkeypatch.setattr(Registry, "commands", commands)
    for args, code in ((["flat"], 0), (["more", "deep"], 0), (["leave"], 7)):
        with pytest.raises(SystemExit) as ended:
            cli.main(args)
        assert ended.value.code == code
