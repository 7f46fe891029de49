"""All checks by kind, and their verdicts about one plugin.

A check is a plain function of a ``Case``; its first docstring line says what holds. Three front ends use
the same tuples: ``gtloop plugins check NAME``, the pytest classes of ``gtloop.testing.contracts``, and
``verdicts`` here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gtloop.errors import GtloopError
from gtloop.interfaces import Plugin
from gtloop.records import Payload
from gtloop.registry import Registry
from gtloop.testing.case import Case, CheckFailed, CheckSkipped, People, task_names
from gtloop.testing.checks_annotator import ANNOTATOR_CHECKS
from gtloop.testing.checks_common import COMMON_CHECKS
from gtloop.testing.checks_detector import DETECTOR_CHECKS
from gtloop.testing.checks_executor import EXECUTOR_CHECKS
from gtloop.testing.checks_format import FORMAT_CHECKS
from gtloop.testing.checks_ranking import SAMPLER_CHECKS, SCORE_CHECKS
from gtloop.testing.checks_task import TASK_CHECKS

Check = Callable[[Case], None]

KIND_CHECKS: dict[str, tuple[Check, ...]] = {
    "task": TASK_CHECKS,
    "annotator": ANNOTATOR_CHECKS,
    "detector": DETECTOR_CHECKS,
    "sampler": SAMPLER_CHECKS,
    "score": SCORE_CHECKS,
    "format": FORMAT_CHECKS,
    "executor": EXECUTOR_CHECKS,
}
ALL_CHECKS: dict[str, tuple[Check, ...]] = {kind: COMMON_CHECKS + own for kind, own in KIND_CHECKS.items()}
"""Kind to its checks, the common ones first."""


class Verdict(NamedTuple):
    """What a check says; ``skipped`` ones are ok, with the reason as message."""

    check: str
    ok: bool
    message: str
    skipped: bool = False


def cases(
    cls: type[Plugin],
    folder: Path,
    registry: Registry,
    options: Mapping[str, Any] | Callable[[Path, str], Mapping[str, Any]] | None = None,
    truth: Sequence[Payload] | None = None,
    people: People | None = None,
) -> list[Case]:
    """One case for every installed task that the plugin works with.

    Args:
        cls: The plugin.
        folder: Empty scratch folder.
        registry: Where tasks come from.
        options: Of every instance; or a function of (scratch folder, task name) that gives them.
        truth: Labels of ``fakes.tiny_items``, for a task that gtloop has none for.
        people: Plays the people of an annotator whose answers come from outside.
    """
    made = []
    for task in task_names(cls, registry):
        given = options(folder, task) if callable(options) else options or {}
        made.append(Case(cls, folder, registry, task, given, truth, people))
    return made


def run(check: Check, case: Case) -> Verdict:
    """Run one check; whatever the plugin raises is a verdict."""
    at = f"task {case.task_name}: " if case.task_name and case.cls.kind != "task" else ""
    try:
        check(case)
    except CheckSkipped as e:
        return Verdict(check.__name__, True, at + str(e), skipped=True)
    except CheckFailed as e:
        return Verdict(check.__name__, False, at + str(e))
    except GtloopError as e:
        return Verdict(check.__name__, False, f"{at}{type(e).__name__}: {e}")
    except Exception as e:
        return Verdict(check.__name__, False, f"{at}raised {type(e).__name__}: {e}")
    return Verdict(check.__name__, True, (check.__doc__ or "").partition("\n")[0])


def verdicts(
    cls: type[Plugin],
    registry: Registry | None = None,
    options: Mapping[str, Any] | Callable[[Path, str], Mapping[str, Any]] | None = None,
    truth: Sequence[Payload] | None = None,
    people: People | None = None,
) -> list[Verdict]:
    """Every check of a plugin's kind, on every task that it works with; arguments as ``cases``."""
    with tempfile.TemporaryDirectory(prefix="gtloop-check-") as folder:
        return list(_verdicts(cases(cls, Path(folder), registry or Registry.load(), options, truth, people)))


def _verdicts(all_cases: Sequence[Case]) -> Iterator[Verdict]:
    yield from (run(check, all_cases[0]) for check in COMMON_CHECKS)
    yield from (run(check, case) for case in all_cases for check in KIND_CHECKS[case.cls.kind])
