"""The checks as pytest classes: subclass the one of your plugin's kind and name the plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gtloop.interfaces import Annotator, Plugin
from gtloop.provided import installed
from gtloop.records import Payload, Request
from gtloop.registry import Registry
from gtloop.testing.case import Case
from gtloop.testing.checks import ALL_CHECKS, Check, cases, run


class Contract:
    """Base of the contracts.

    Class attributes:
        plugin: The class under test.
        options: Options of every instance; override ``options_for`` where they depend on the folder or task.
        truth: Labels of the tiny images, for a task that gtloop has none for.
        known_failures: Check name to reason; such a check has to fail (strict xfail).
    """

    kind: ClassVar[str]
    plugin: ClassVar[type[Plugin]]
    options: ClassVar[Mapping[str, Any]] = {}
    truth: ClassVar[Sequence[Payload] | None] = None
    known_failures: ClassVar[Mapping[str, str]] = {}

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each check; pytest calls this method of a test class."""
        if "check" not in metafunc.fixturenames:
            return
        checks = ALL_CHECKS[self.kind]
        unknown = set(self.known_failures) - {c.__name__ for c in checks}
        if unknown:
            raise pytest.UsageError(f"{type(self).__name__}.known_failures: no check {', '.join(sorted(unknown))}")
        metafunc.parametrize("check", [_param(c, self.known_failures.get(c.__name__)) for c in checks])

    def options_for(self, folder: Path, task: str) -> Mapping[str, Any]:
        """Options for a scratch folder and a task."""
        return self.options

    def play_people(self, annotator: Annotator, requests: Sequence[Request], workdir: Path) -> None:
        """Answer requests as people outside would; for annotators that are ``patient``."""
        pytest.skip("answers come from outside: override play_people")

    @pytest.fixture(scope="class")
    @classmethod
    def contract_cases(cls, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
        """One case for each task; shared by the class, so that a model is fitted once."""
        mine = cls()
        missing = [name for name in mine.plugin.requires if not installed(name)]
        if missing:
            pytest.skip(f"needs {', '.join(missing)}")
        people = mine.play_people if getattr(mine.plugin, "patient", False) else None
        registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
        folder = tmp_path_factory.mktemp(mine.plugin.name)
        return cases(mine.plugin, folder, registry, mine.options_for, mine.truth, people)

    def test_contract(self, check: Check, contract_cases: list[Case]) -> None:
        """One check, on every task that the plugin works with."""
        found = [run(check, case) for case in contract_cases]
        failed = [f"{v.message}. {v.advice}" for v in found if not v.ok]
        if failed:
            pytest.fail("; ".join(failed), pytrace=False)
        if all(v.skipped for v in found):
            pytest.skip(f"does not apply: {found[0].message}")


def _param(check: Check, reason: str | None) -> Any:
    marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
    return pytest.param(check, id=check.__name__, marks=marks)


class TaskContract(Contract):
    kind = "task"


class AnnotatorContract(Contract):
    kind = "annotator"


class DetectorContract(Contract):
    kind = "detector"


class SamplerContract(Contract):
    kind = "sampler"


class ScoreContract(Contract):
    kind = "score"


class FormatContract(Contract):
    kind = "format"


class ExecutorContract(Contract):
    kind = "executor"


class ObserverContract(Contract):
    kind = "observer"
