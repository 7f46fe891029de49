"""Checks for plugins: run them from pytest (``contracts``), the command line, or with ``verdicts``.

A test file of a plugin is short::

    from gtloop.testing import DetectorContract
    from gtloop_mine import Mine

    class TestMine(DetectorContract):
        plugin = Mine

``gtloop.testing.pytest_plugin`` has fixtures, for who wants them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gtloop.testing.case import Case, CheckFailed, CheckSkipped
from gtloop.testing.checks import ALL_CHECKS, Verdict, each_verdict, verdicts

if TYPE_CHECKING:
    from gtloop.testing.contracts import (
        AnnotatorContract,
        DetectorContract,
        ExecutorContract,
        FormatContract,
        ObserverContract,
        SamplerContract,
        ScoreContract,
        TaskContract,
    )

__all__ = [
    "ALL_CHECKS",
    "AnnotatorContract",
    "Case",
    "CheckFailed",
    "CheckSkipped",
    "DetectorContract",
    "ExecutorContract",
    "FormatContract",
    "ObserverContract",
    "SamplerContract",
    "ScoreContract",
    "TaskContract",
    "Verdict",
    "each_verdict",
    "verdicts",
]


def __getattr__(name: str) -> Any:
    if name.endswith("Contract") and name in __all__:  # pytest is needed for these only
        from gtloop.testing import contracts

        return getattr(contracts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
