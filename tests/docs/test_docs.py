"""The references are complete: every command, option, setting, hook, event, error and figure is documented."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from pages import PAGES, ROOT, rows, section
from program import leaves, program
from pydantic import BaseModel

import gtloop.testing
from gtloop import config, errors, events, hookspecs, plugin_options
from gtloop import settings as settings_module
from gtloop.cli import EXIT
from gtloop.interfaces import KINDS, Context, Plugin
from gtloop.money import Prices
from gtloop.opened import Run
from gtloop.promise import Promise, first_rung_items
from gtloop.records import Item, Request
from gtloop.registry import Registry
from gtloop.sizes import make_plan
from gtloop.testing import Verdict
from gtloop.testing.contracts import Contract

DOCS = ROOT / "docs"

# ---------------------------------------------------------------------------------------- references


def test_every_command_and_option_is_documented(registry: Registry) -> None:
    documented = set()
    for path, command in leaves(program(registry)):
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
    "run": settings_module.RunTable,
    "promise": settings_module.PromiseTable,
    "loop": settings_module.LoopTable,
    "sizes": settings_module.SizesTable,
    "people": settings_module.PeopleTable,
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


def test_the_built_in_plugins_are_listed(registry: Registry) -> None:
    """In the settings that name one, and in what ``plugins list`` shows."""
    table = rows(section(DOCS / "config.md", "## `[run]`"))
    for kind in ("task", "annotator", "detector", "sampler", "score", "executor"):
        default, meaning = table[kind]
        listed = {default.strip('`"'), *re.findall(r"`([\w-]+)`", meaning)} - {"truth"}
        assert listed == set(registry.names(kind)), kind
    shown = re.findall(r"^(\w+) +([\w-]+) +gtloop \.\.\.$", (DOCS / "plugins" / "using.md").read_text(), flags=re.M)
    assert shown == [(kind, name) for kind in KINDS for name in registry.names(kind)]
    assert set(rows(section(DOCS / "formats.md", "## Label files"))) == set(registry.names("format"))


def test_what_the_presets_set_is_documented() -> None:
    flat: dict[str, dict[str, Any]] = {}
    for preset in config.PRESETS:
        for task in ("bbox", "classification", "segmentation"):
            for table, values in config.preset(preset, task).items():
                for key, value in values.items():
                    if isinstance(value, dict):
                        for option, chosen in value.items():
                            flat.setdefault(f"{table}.{key}.{option}", {})[f"{preset} {task}"] = chosen
                    else:
                        flat.setdefault(f"{table}.{key}", {})[f"{preset} {task}"] = value
    columns = [f"{p} {t}" for p in config.PRESETS for t in ("bbox", "classification", "segmentation")]
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


def test_public_names_are_documented() -> None:
    text = (DOCS / "formats.md").read_text() + (DOCS / "plugins" / "hooks.md").read_text()
    assert [n for n in gtloop.__all__ if f"gtloop.{n}" not in text] == []


def test_what_the_contract_suite_offers_is_documented() -> None:
    """Its public names, and what a test class may override."""
    text = (DOCS / "plugins" / "testing.md").read_text()
    offered = {n for n in gtloop.testing.__all__ if n not in ("ALL_CHECKS", "Case", "CheckFailed", "CheckSkipped")}
    own = {n for n in vars(Contract) if not n.startswith(("_", "pytest_", "test_", "contract_"))}
    fields = {*Verdict._fields, *(n for n in own | set(Contract.__annotations__) if n != "kind")}
    assert [n for n in sorted(offered | fields) if not re.search(rf"\b{n}\b", text)] == []


def test_what_a_plugin_is_given_is_documented() -> None:
    text = section(DOCS / "plugins" / "hooks.md", "## Plugin")
    assert [f.name for f in dataclasses.fields(Context) if f"`{f.name}" not in text] == []


def test_what_a_run_offers_in_python_is_documented() -> None:
    """Methods of what ``gtloop.open`` gives that take no other object of gtloop's than the registry."""
    text = section(DOCS / "formats.md", "## In Python")
    inner = {"open", "plugins", "task", "rows", "reasons"}
    found = {n for n, f in vars(Run).items() if callable(f) or isinstance(f, classmethod)}
    found = {n for n in found if not n.startswith("_")} - inner
    assert [n for n in sorted(found) if not re.search(rf"\b{n}\b", text)] == []


def test_every_environment_variable_is_documented() -> None:
    written = "".join(page.read_text() for page in PAGES)
    sources = [*(ROOT / "core").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    used = {name for path in sources for name in re.findall(r"\bGTLOOP_[A-Z_]+\b", path.read_text("utf-8"))}
    assert "GTLOOP_PLUGINS" in used
    assert [name for name in sorted(used) if name not in written] == []


def test_what_outside_tools_read_and_write_is_documented() -> None:
    from gtloop_plugins.annotators.files import AnswerLine, Files

    text = section(DOCS / "formats.md", "## Requests and answers")
    item = Item(row=0, id="i", name="a.png", uri="a.png")
    request = Files(Files.Options(), Context())._line(Request(id="r", item=item, answers=3))
    assert [key for key in [*request, *AnswerLine.model_fields] if f"`{key}`" not in text] == []


def test_every_make_target_is_documented() -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.M)
    written = (ROOT / "CONTRIBUTING.md").read_text() + (ROOT / "README.md").read_text()
    assert [t for t in targets if f"make {t}" not in written and t not in ("help", "clean", "format")] == []


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
