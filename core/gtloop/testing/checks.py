"""All checks by kind, and their verdicts about one plugin.

A check is a plain function of a ``Case``; its first docstring line says what holds. Three front ends use
the same tuples: ``gtloop plugins check NAME``, the pytest classes of ``gtloop.testing.contracts``, and
``verdicts`` here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gtloop.errors import GtloopError
from gtloop.interfaces import Plugin
from gtloop.records import Payload
from gtloop.registry import Registry
from gtloop.testing.advice import ADVICE
from gtloop.testing.case import Case, CheckFailed, CheckSkipped, NotBuilt, People, one_line, task_names
from gtloop.testing.checks_annotator import ANNOTATOR_CHECKS
from gtloop.testing.checks_common import COMMON_CHECKS, check_can_be_built
from gtloop.testing.checks_detector import DETECTOR_CHECKS
from gtloop.testing.checks_executor import EXECUTOR_CHECKS
from gtloop.testing.checks_format import FORMAT_CHECKS
from gtloop.testing.checks_observer import OBSERVER_CHECKS
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
    "observer": OBSERVER_CHECKS,
}
ALL_CHECKS: dict[str, tuple[Check, ...]] = {
    kind: (*COMMON_CHECKS, check_can_be_built, *own) for kind, own in KIND_CHECKS.items()
}
"""Kind to its checks, the common ones first."""


class Verdict(NamedTuple):
    """What a check says; ``skipped`` ones are ok, with the reason as message.

    ``advice`` says what to do about a failed one.
    """

    check: str
    ok: bool
    message: str
    skipped: bool = False
    advice: str = ""


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
    name = check.__name__
    at = f"task {case.task_name}: " if case.task_name and case.cls.kind != "task" else ""
    try:
        check(case)
    except CheckSkipped as e:
        return Verdict(name, True, at + str(e), skipped=True)
    except NotBuilt as e:
        if check is not check_can_be_built:  # said once, by that check
            return Verdict(name, True, f"{at}the plugin can't be built", skipped=True)
        return Verdict(name, False, str(e), advice=ADVICE[name])
    except CheckFailed as e:
        return Verdict(name, False, at + str(e), advice=ADVICE[name])
    except GtloopError as e:
        return Verdict(name, False, f"{at}{type(e).__name__}: {e}", advice=ADVICE[name])
    except Exception as e:
        return Verdict(name, False, f"{at}raised {type(e).__name__}: {one_line(e)}", advice=ADVICE[name])
    return Verdict(name, True, (check.__doc__ or "").partition("\n")[0])


def verdicts(
    cls: type[Plugin],
    registry: Registry | None = None,
    options: Mapping[str, Any] | Callable[[Path, str], Mapping[str, Any]] | None = None,
    truth: Sequence[Payload] | None = None,
    people: People | None = None,
) -> list[Verdict]:
    """Every check of a plugin's kind, on every task that it works with; arguments as ``cases``."""
    return list(each_verdict(cls, registry, options, truth, people))


def each_verdict(
    cls: type[Plugin],
    registry: Registry | None = None,
    options: Mapping[str, Any] | Callable[[Path, str], Mapping[str, Any]] | None = None,
    truth: Sequence[Payload] | None = None,
    people: People | None = None,
) -> Iterator[Verdict]:
    """As ``verdicts``, each as soon as it is known."""
    with tempfile.TemporaryDirectory(prefix="gtloop-check-") as folder:
        yield from _verdicts(cases(cls, Path(folder), registry or Registry.load(), options, truth, people))


def _verdicts(all_cases: Sequence[Case]) -> Iterator[Verdict]:
    yield from (run(check, all_cases[0]) for check in COMMON_CHECKS)
    for n, case in enumerate(all_cases):
        built = run(check_can_be_built, case)
        if n == 0 or not built.ok:
            yield built
        if built.ok and not built.skipped:
            yield from _once(run(check, case) for check in KIND_CHECKS[case.cls.kind])
        else:
            break


def _once(found: Iterable[Verdict]) -> Iterator[Verdict]:
    """A fault that stops several checks, such as a ``fit`` that raises, fails the first; the others are skipped."""
    said: dict[str, str] = {}
    for v in found:
        if v.ok:
            yield v
            continue
        fault = v.message.rpartition(" raised ")[2]
        if fault in said:
            yield Verdict(v.check, True, f"can't run: {said[fault]} failed", skipped=True)
        else:
            said[fault] = v.check
            yield v
