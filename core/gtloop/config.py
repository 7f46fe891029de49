"""Settings of a run: preset < gtloop.toml < flags < ``-o``, each checked with the path in the message."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gtloop.errors import ConfigError
from gtloop.labelfiles import absolute
from gtloop.origins import keys, origin
from gtloop.settings import RunTable, Settings

PRESETS = ("default", "ground-truth")
PLUGIN_TABLES = ("tasks", "annotators", "detectors", "samplers", "scores", "formats", "executors", "observers")
FROZEN = (
    *("run.source", "run.task", "run.classes", "run.seed", "run.preset", "run.cut", "run.labels", "run.warm_from"),
    *("run.ledger", "promise", "loop", "sizes", "people.gold"),
)
"""What can't change during a run; everything else can, as an event."""
MAY_CHANGE = ("sizes.batch", "promise.audit_rate")
"""Keys of frozen tables that can."""


def load(
    config: Path | None,
    flags: Mapping[str, Any],
    overrides: tuple[str, ...] = (),
    defaults: Callable[[str], Mapping[str, Any]] | None = None,
) -> Settings:
    """Resolve settings.

    Args:
        config: A ``gtloop.toml``, or None.
        flags: Dotted key (``run.task``) to value, from the command line.
        overrides: ``-o`` strings, ``kind.plugin.key=value`` or ``table.key=value``.
        defaults: Name of an annotator to the settings that suit it; they count where no preset is named.

    Raises:
        ConfigError: With the path of what is wrong, and the nearest name.
    """
    given: dict[str, Any] = {}
    if config is not None:
        _merge(given, _read(config))
    origins = dict.fromkeys(keys(given), str(config))
    origins |= _type_in(given, flags, overrides, "command line")
    run = given.get("run", {})
    run = run if isinstance(run, dict) else {}
    tables = preset(run.get("preset", PRESETS[0]), str(run.get("task", RunTable().task)))
    if defaults is not None and run.get("preset", PRESETS[0]) == PRESETS[0]:
        for key, value in defaults(str(run.get("annotator", RunTable().annotator))).items():
            _put(tables, key, value)
    _merge(tables, given)
    return _validated(tables, origins, "options")


def _type_in(
    tables: dict[str, Any], values: Mapping[str, Any], overrides: tuple[str, ...], where: str
) -> dict[str, str]:
    """Put values and ``-o`` strings into ``tables``; their keys, each with its origin (of the values: ``where``)."""
    typed = dict(map(_override, overrides))
    for key, value in (*values.items(), *typed.items()):
        _put(tables, key, value)
    return {**dict.fromkeys(values, where), **dict.fromkeys(typed, "-o")}


def _validated(tables: Mapping[str, Any], origins: dict[str, str], where: str) -> Settings:
    """``where`` is the origin of what has no other."""
    try:
        settings = Settings.model_validate(tables)
    except ValidationError as e:
        raise ConfigError("; ".join(_explain(origins, where, err) for err in e.errors(include_url=False))) from None
    settings._origins.update(origins)
    return settings


def changed(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """``settings`` with other values, by dotted key.

    Raises:
        ConfigError: A key is unknown or frozen, or a value does not fit.
    """
    new = replaced(settings, values)
    changes(settings, new)
    return new


def replaced(settings: Settings, values: Mapping[str, Any], overrides: tuple[str, ...] = ()) -> Settings:
    """``settings`` with other values, by dotted key, frozen ones too; ``overrides`` as in ``load``.

    Raises:
        ConfigError: A key is unknown, or a value does not fit.
    """
    tables = settings.model_dump(mode="json")
    return _validated(tables, _type_in(tables, values, overrides, "settings"), "settings")


def preset(name: str, task: str) -> dict[str, Any]:
    """The tables of a preset, with what it says ``for`` the task."""
    if name not in PRESETS:
        raise ConfigError(f"no preset named {name!r}; there are: {', '.join(PRESETS)}")
    text = resources.files("gtloop").joinpath("presets", f"{name}.toml").read_text("utf-8")
    tables = tomllib.loads(text)
    _merge(tables, tables.pop("for", {}).get(task.partition("@")[0], {}))
    return tables


def changes(old: Settings, new: Settings) -> dict[str, Any]:
    """Dotted keys whose values differ, with the new values.

    Raises:
        ConfigError: A frozen one differs.
    """
    if new.run.ledger is not None:
        raise ConfigError("run.ledger is frozen for this run; leave it out, or start another run with --run")
    a, b = old.model_dump(mode="json"), new.model_dump(mode="json")
    found: dict[str, Any] = {}
    for table, values in b.items():
        for key, value in values.items():
            if a[table].get(key) != value:
                found[f"{table}.{key}"] = value
        for key in a[table].keys() - values.keys():
            found[f"{table}.{key}"] = None if table == "observers" else {}
    for key in found:
        if key not in MAY_CHANGE and any(key == f or key.startswith(f + ".") for f in FROZEN):
            was = a[key.partition(".")[0]].get(key.partition(".")[2])
            raise ConfigError(
                f"{key} is frozen for this run: it was {was!r}, now {found[key]!r}; "
                "put it back, or start another run with --run"
            )
    return found


def to_toml(settings: Settings) -> str:
    """The settings as TOML, for ``run.toml``."""
    lines: list[str] = []
    for table, values in settings.model_dump(mode="json", exclude_none=True).items():
        nested = {k: v for k, v in values.items() if isinstance(v, dict)}
        plain = {k: v for k, v in values.items() if k not in nested}
        if plain:
            lines += [f"[{table}]", *(f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in plain.items()), ""]
        for name, options in nested.items():
            if options or table == "observers":
                lines += [f"[{table}.{name}]"]
                lines += [f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in options.items() if v is not None]
                lines += [""]
    return "\n".join(lines)


def _read(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}; write one with: gtloop init IMAGES") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: not valid TOML: {e}") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {name}: must be a table such as [run] (got {table!r}); keys go below one")
    for name, key in _PATHS:  # paths in a file are relative to it
        table = tables.get(name, {})
        if isinstance(value := table.get(key), str):
            table[key] = absolute(value, path.parent, prefixed=key in ("truth", "labels", "gold"))
        elif isinstance(value, list):
            table[key] = [absolute(v, path.parent, prefixed=False) if isinstance(v, str) else v for v in value]
    return tables


_PATHS = (
    *(("run", key) for key in ("source", "truth", "labels", "warm_from")),
    *(("people", key) for key in ("gold", "good", "bad")),
)


def _override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or len(parts) < 2:
        raise ConfigError(f"-o {text}: write it as kind.plugin.key=value, for example annotators.synthetic.noise=0.1")
    if parts[0] + "s" in PLUGIN_TABLES and len(parts) == 3:
        parts[0] += "s"
    return ".".join(parts), _listed(value.strip())


def _listed(value: str) -> Any:
    """A list, where ``value`` is one as JSON or TOML write it (``["a", "b"]``); else ``value``."""
    if value.startswith("["):
        with suppress(tomllib.TOMLDecodeError):
            return tomllib.loads(f"value = {value}")["value"]
    return value


def _put(tables: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        tables = tables.setdefault(part, {})
        if not isinstance(tables, dict):
            raise ConfigError(f"{key}: {part} is a value, not a table; write kind.plugin.key or table.key")
    tables[last] = value


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _explain(origins: Mapping[str, str], where: str, error: Any) -> str:
    path = ".".join(str(p) for p in error["loc"])
    where = origin(origins, path, where)
    got = f"(got {error['input']!r})"
    if error["type"] != "extra_forbidden":
        return f"{where}: {path}: {error['msg'][:1].lower()}{error['msg'][1:]} {got}"
    *parents, name = error["loc"]
    model: Any = Settings
    for part in parents:
        model = model.model_fields[part].annotation
    close = difflib.get_close_matches(str(name), list(model.model_fields), n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(model.model_fields)}"
    return f"{where}: {path}: unknown key {got}{hint}"
