"""A row of the table: a broken plugin and the verdict that it has to get."""

from __future__ import annotations

from typing import NamedTuple

from gtloop.interfaces import Plugin
from gtloop.registry import Registry
from gtloop.testing import Verdict, verdicts


class Row(NamedTuple):
    """``words`` are in the message; ``also`` names the checks that can't help failing with it."""

    cls: type[Plugin]
    check: str
    words: str
    also: tuple[str, ...] = ()

    @property
    def fault(self) -> str:
        return (self.cls.__doc__ or "").partition("\n")[0].rstrip(".")


def failures(row: Row, registry: Registry) -> list[Verdict]:
    """The failed verdicts about the plugin; a check on several tasks counts once."""
    found: dict[str, Verdict] = {}
    for v in verdicts(row.cls, registry):
        if not v.ok:
            found.setdefault(v.check, v)
    return list(found.values())
