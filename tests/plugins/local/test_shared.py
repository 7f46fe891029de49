"""The desk in a PostgreSQL server: what ``test_desk`` asks of a file, and a server that goes away."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import test_crowd
import test_desk
from deskparts import gather, make_local, make_requests
from hypothesis.stateful import run_state_machine_as_test

from gtloop.errors import RunError
from gtloop.servers import new_address
from gtloop_plugins.annotators.local.shared import SharedDatabase

if TYPE_CHECKING:
    from postgres import Server


@pytest.fixture(autouse=True)
def _in_server(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every desk is in a schema of its own; the same for the same folder."""
    made: dict[Path, SharedDatabase] = {}

    def database(workdir: Path) -> SharedDatabase:
        if workdir not in made:
            address = new_address(postgres.url(), workdir)
            postgres.sql(f"CREATE SCHEMA {address.schema}")
            made[workdir] = SharedDatabase(address)
        return SharedDatabase(made[workdir]._address)

    monkeypatch.setattr("gtloop_plugins.annotators.local.desk_database", database)


@pytest.mark.slow
def test_any_schedule() -> None:
    run_state_machine_as_test(test_desk.Schedules, settings=test_desk.TestSchedules.settings)


def test_a_server_that_comes_back_is_waited_for(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = make_local(tmp_path)
    local.submit(make_requests(tmp_path, 3))
    postgres.stop()
    back = threading.Timer(1.0, postgres.start)
    back.start()
    local.cancel(["request-1"])
    back.join()
    monkeypatch.setattr("gtloop_plugins.annotators.local.shared.PATIENCE_S", 0.1)
    postgres.stop()
    try:
        with pytest.raises(RunError, match="nothing is lost"):
            local.collect("", 0)
    finally:
        postgres.start()
    assert [(c.request, c.reason) for c in gather(make_local(tmp_path))[1]] == [("request-1", "cancelled")]


def test_a_crowd_in_a_server(tmp_path: Path) -> None:
    """What guests do on a desk in a file, they do on one in a server."""
    test_crowd.test_shifts_spread_over_images_so_that_the_last_is_whole(tmp_path / "spread")
    test_crowd.test_images_of_a_shift_are_nobody_elses(tmp_path / "kept")
    test_crowd.test_what_a_guest_declines_is_not_asked_again(tmp_path / "declined")
