"""Options of a plugin: from a TOML table or ``-o`` strings to its pydantic model, and back to a table for listings."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from gtloop.errors import ConfigError, UsageError
from gtloop.interfaces import Options, Plugin

if TYPE_CHECKING:
    from gtloop.registry import Registry


class OptionInfo(NamedTuple):
    """One option as a listing shows it; ``default`` is ``"required"`` where there is none."""

    name: str
    type: str
    default: str
    description: str


def table_name(kind: str) -> str:
    """Name of the TOML table (and of the hook, after ``gtloop_``) of a kind: its plural."""
    return f"{kind}s"


def annotator_defaults(registry: Registry, name: str) -> Mapping[str, Any]:
    """Settings that suit an annotator, by dotted key; none where the name is not one annotator's."""
    try:
        cls: Any = registry.find("annotator", name).cls
    except UsageError:  # said where plugins are chosen
        return {}
    found: Mapping[str, Any] = cls.defaults
    return found


def validate(cls: type[Plugin], table: Mapping[str, Any], where: str | Mapping[str, str]) -> Options:
    """Validate a plugin's options; strings as ``-o`` gives them become numbers and booleans.

    Args:
        cls: The plugin.
        table: Option name to value.
        where: Where the table comes from, for messages, for example ``gtloop.toml`` or ``-o``; or that of each option.

    Raises:
        ConfigError: With the path of each wrong option, what it got, and the nearest name.
    """
    try:
        return cls.Options.model_validate(dict(table))
    except ValidationError as e:
        path = f"{table_name(cls.kind)}.{cls.name}"
        problems = [f"{_origin(where, error)}: {_explain(cls, path, error)}" for error in e.errors(include_url=False)]
        raise ConfigError("; ".join(problems)) from e


def _origin(where: str | Mapping[str, str], error: ErrorDetails) -> str:
    if isinstance(where, str):
        return where
    return where.get(str(next(iter(error["loc"]), "")), "options")


def _explain(cls: type[Plugin], path: str, error: ErrorDetails) -> str:
    at = ".".join([path, *(str(part) for part in error["loc"])])
    if error["type"] == "missing":
        return f"{at}: is required ({_description(cls, error['loc'])})"
    got = f"(got {error['input']!r})"
    if error["type"] != "extra_forbidden":
        message = error["msg"].removeprefix("Value error, ")
        return f"{at}: {message[:1].lower()}{message[1:]} {got}"
    if len(error["loc"]) > 1:
        return f"{at}: unknown option {got}"
    known = list(cls.Options.model_fields)
    close = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.5)
    if close:
        return f"{at}: unknown option {got}; did you mean {close[0]}?"
    return f"{at}: unknown option {got}; " + (f"there are: {', '.join(known)}" if known else "it has no options")


def _description(cls: type[Plugin], loc: tuple[int | str, ...]) -> str:
    info = cls.Options.model_fields.get(str(loc[0])) if len(loc) == 1 else None
    return info.description if info and info.description else "has no default"


def describe(cls: type[Plugin]) -> list[OptionInfo]:
    """The options of a plugin in the order of their declaration."""
    rows = []
    for name, info in cls.Options.model_fields.items():
        if info.default is not PydanticUndefined:
            default = repr(info.default)
        else:
            default = "required" if info.is_required() else repr(info.get_default(call_default_factory=True))
        kind = info.annotation.__name__ if isinstance(info.annotation, type) else str(info.annotation)
        rows.append(OptionInfo(name, kind.replace("typing.", ""), default, info.description or ""))
    return rows
