"""Each deliberately broken plugin fails the one check that names its fault; ``docs/plugins/testing.md`` shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import pytest
from broken.__main__ import PAGE, masked, shown, table
from broken.row import Row, failures
from broken.table import TABLE

from gtloop.registry import Registry
from gtloop.testing import ALL_CHECKS, Verdict, verdicts
from gtloop.testing.advice import ADVICE

CASES = [pytest.param(row, id=row.cls.__name__) for row in TABLE]


@pytest.fixture(scope="module")
def builtin() -> Registry:
    return Registry.load(discover=False, extra_modules=["gtloop_plugins"])


@pytest.fixture(scope="module")
def found(builtin: Registry) -> Iterator[Callable[[Row], list[Verdict]]]:
    """What the checks said about a row's plugin; each plugin is checked once."""
    from gtloop.testing import checks_annotator

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks_annotator, "PATIENCE_S", 0.5)
        yield lru_cache(maxsize=None)(partial(failures, registry=builtin))


@pytest.mark.parametrize("row", CASES)
def test_one_fault_fails_the_one_check_that_names_it(row: Row, found: Callable[[Row], list[Verdict]]) -> None:
    failed = {v.check: v for v in found(row)}
    assert failed.keys() == {row.check, *row.also}, [f"{v.check}: {v.message}" for v in failed.values()]
    assert row.words in failed[row.check].message
    assert failed[row.check].advice == ADVICE[row.check]


def test_every_class_is_another_fault() -> None:
    assert len({row.cls for row in TABLE}) == len(TABLE) >= 20
    assert len({row.fault for row in TABLE}) == len(TABLE)


def test_every_check_has_a_plugin_that_fails_it() -> None:
    """But for trivial ones, each check is shown to be able to fail."""
    checks = {c.__name__ for kind in ALL_CHECKS.values() for c in kind}
    assert checks - {row.check for row in TABLE} <= {"check_no_items_no_predictions"}


def test_every_check_has_advice_and_no_advice_is_left_over() -> None:
    assert ADVICE.keys() == {c.__name__ for kind in ALL_CHECKS.values() for c in kind}
    assert all(text.endswith(".") and "\n" not in text for text in ADVICE.values())


def test_what_cannot_be_built_is_said_once(builtin: Registry) -> None:
    from broken.common import Unbuildable

    found = verdicts(Unbuildable, builtin)
    assert [v.check for v in found if not v.ok] == ["check_can_be_built"]
    assert found[-1].check == "check_can_be_built"


def test_a_fault_that_stops_other_checks_is_said_once(builtin: Registry) -> None:
    from broken.detectors import FitRaises

    found = verdicts(FitRaises, builtin)
    stopped = [v for v in found if v.message == "can't run: check_fits_and_predicts failed"]
    assert len([v for v in found if not v.ok]) == 1
    assert len(stopped) > 5
    assert all(v.skipped for v in stopped)


def test_the_page_shows_what_the_checks_say(found: Callable[[Row], list[Verdict]]) -> None:
    """Up to numbers and paths; ``python -m broken --write`` in ``tests`` mends the page."""
    rows = [shown(row, found(row)) for row in TABLE]
    page = PAGE.read_text("utf-8")
    on_page = [line for line in page.splitlines() if line.startswith("| ") and "`check_" in line]
    assert [masked(line) for line in on_page] == [masked(line) for line in rows], "cd tests; python -m broken --write"
    assert table([]) in page
