"""The ledger in a real PostgreSQL server: one driver, nothing lost, no password anywhere."""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
import threading
import types
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import runs
from ports import free_port
from runs import cli, small
from test_page import Person, _run, started, wait_for  # noqa: F401 (a fixture)

import gtloop
from gtloop import events as ev
from gtloop.errors import Busy, ConfigError, RunError
from gtloop.ledgers import address_of, driving, open_ledger
from gtloop.postgres import PostgresLedger

if TYPE_CHECKING:
    from postgres import Server

HOLD = """
import sys, time
from pathlib import Path
from gtloop.ledgers import driving
with driving(Path(sys.argv[1])):
    print("driving", flush=True)
    time.sleep(60)
"""


def happened(n: int) -> ev.BudgetReached:
    return ev.BudgetReached(needed=n, left=0)


@pytest.fixture
def root(postgres: Server, tmp_path: Path) -> Path:
    """The folder of a run whose ledger is in the server, and empty."""
    folder = tmp_path / "run"
    folder.mkdir()
    with driving(folder, postgres.url(), create=True):
        pass
    return folder


@pytest.fixture
def elsewhere(root: Path, tmp_path: Path) -> Path:
    """The same run from another machine, whose file locks this one doesn't see."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.copy(root / "ledger.toml", folder)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_images(tmp_path_factory.mktemp("source"), 60)[0]


def end_sessions(postgres: Server) -> None:
    """Every connection to the database ends."""
    postgres.sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )


def taken(log: Any) -> list[int]:
    return [e.event.needed for e in log.read()]


# ------------------------------------------------------------------------------------------- one driver


@pytest.mark.parametrize("where", ["root", "elsewhere"])
def test_a_second_driver_is_refused_until_the_first_is_killed(
    root: Path, where: str, request: pytest.FixtureRequest
) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(root)], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "driving\n"
        with (
            pytest.raises(Busy, match=f"driven by another process \\(pid {first.pid}"),
            driving(request.getfixturevalue(where)),
        ):
            pass
        with closing(open_ledger(root)) as log:
            assert log.claimed()
    finally:
        first.kill()
        first.wait()
    with driving(request.getfixturevalue(where)) as log:
        log.append([happened(1)])
    assert not log.claimed()


def test_who_has_lost_the_lock_to_another_appends_nothing(postgres: Server, root: Path, elsewhere: Path) -> None:
    with driving(root) as first:
        first.append([happened(1)])
        end_sessions(postgres)
        with driving(elsewhere) as second:
            second.append([happened(2)])
        with pytest.raises(RunError, match="another process wrote"):
            first.letters()
        with pytest.raises(RunError, match="another process wrote"):
            first.append([happened(3)])
    assert taken(second) == [1, 2]


def test_who_finds_the_lock_taken_stops(
    postgres: Server, root: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gtloop.postgres.PATIENCE_S", 0.5)
    with driving(root) as first:
        end_sessions(postgres)
        with driving(elsewhere) as second:
            with pytest.raises(Busy):
                first.append([happened(1)])
            second.append([happened(2)])
    assert taken(second) == [2]


def test_a_lost_connection_alone_stops_nobody(postgres: Server, root: Path) -> None:
    with driving(root) as log:
        log.append([happened(1), happened(2)])
        end_sessions(postgres)
        assert [e.seq for e in log.append([happened(3)])] == [3]
        end_sessions(postgres)
        assert log.letters() == []
        assert log.claimed()
        log.append([happened(4)])
        assert taken(log) == [1, 2, 3, 4]


def test_a_commit_that_was_not_acknowledged_is_not_made_twice(
    postgres: Server, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is lost between the commit and its answer."""
    once, lost = PostgresLedger._once, []

    def losing(log: PostgresLedger, work: Any, end: float) -> Any:
        found = once(log, work, end)
        if not lost:
            lost.append(True)
            end_sessions(postgres)
            once(log, lambda c: c.exec_driver_sql("SELECT 1"), end)
        return found

    with driving(root) as log:
        monkeypatch.setattr(PostgresLedger, "_once", losing)
        assert [e.seq for e in log.append([happened(1), happened(1)])] == [1, 2]
        assert lost
        assert [e.seq for e in log.append([happened(2)])] == [3]
        assert taken(log) == [1, 1, 2]


def test_two_who_append_at_the_same_place(root: Path) -> None:
    """Even with no lock at all, as behind a pool that takes connections away: one is refused."""
    address = address_of(root)
    assert address is not None
    with closing(PostgresLedger.at(root, address)) as one, closing(PostgresLedger.at(root, address)) as other:
        for log in (one, other):
            log._claimed, log._driver = True, log._engine.connect()
        one.append([happened(1)])
        with pytest.raises(RunError, match="another process wrote"):
            other.append([happened(2)])
        assert taken(one) == [1]


def test_a_reader_never_misses_a_letter(root: Path) -> None:
    """Letters of many writers are committed in the order of their numbers."""
    found: list[str] = []

    def write(who: int) -> None:
        with closing(open_ledger(root)) as mine:
            for n in range(25):
                mine.post("pause", f"{who}-{n}", "{}")

    writers = [threading.Thread(target=write, args=(who,)) for who in range(6)]
    with driving(root) as log:
        for writer in writers:
            writer.start()
        last, over = 0, False
        while not over:
            over = not any(writer.is_alive() for writer in writers)
            for letter in log.letters(last):
                found.append(letter.kind)
                last = letter.number
        assert len(found) == len(log.letters()) == 150


# -------------------------------------------------------------------------------------- the server fails


class _Saboteur(types.ModuleType):
    """A plugin that does something to the server after the n-th event."""

    def __init__(self, n: int, what: Any) -> None:
        super().__init__("saboteur")
        left = [n]

        @gtloop.hookimpl
        def gtloop_event(event: Any) -> None:
            left[0] -= 1
            if left[0] == 0:
                what()

        self.gtloop_event = gtloop_event


def test_a_server_that_comes_back_is_waited_for(
    postgres: Server, images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def crash() -> None:
        postgres.stop()
        threading.Timer(1.0, postgres.start).start()

    args = ("-o", f"run.ledger={postgres.url()}")
    assert cli(*small(images, tmp_path / "file")).code == 0
    with caplog.at_level(logging.WARNING, "gtloop"):
        ended = cli(*small(images, tmp_path / "run", *args), modules=[_Saboteur(9, crash)])
    assert ended.code == 0, ended.err
    assert "waiting for it" in caplog.text + ended.err
    assert runs.facts(tmp_path / "run") == runs.facts(tmp_path / "file")


def test_a_run_whose_server_stays_away_ends_and_goes_on_later(
    postgres: Server, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gtloop.postgres.PATIENCE_S", 0.5)
    args = small(images, tmp_path / "run", "-o", f"run.ledger={postgres.url()}")
    ended = cli(*args, modules=[_Saboteur(9, postgres.stop)])
    try:
        assert (ended.code, "nothing is lost: run again" in ended.error) == (1, True)
        ended = cli("status", tmp_path / "run")
        assert (ended.code, "see that the server runs" in ended.error) == (1, True)
    finally:
        postgres.start()
    assert runs.status(tmp_path / "run")["state"] == "running"
    assert cli(*args).code == 0
    assert runs.status(tmp_path / "run")["state"] == "finished"


# ------------------------------------------------------------------------------- addresses and passwords


def test_a_password_is_taken_from_the_environment_and_written_nowhere(
    postgres: Server, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from postgres import GUEST, PASSWORD

    postgres.sql(f"GRANT CREATE ON DATABASE postgres TO {GUEST}")
    root, bare = tmp_path / "run", postgres.url(user=GUEST)
    secret = bare.replace("@", f":{quote(PASSWORD, safe='')}@", 1)
    said = []
    for command in (
        small(images, root, "-o", f"run.ledger={secret}"),
        small(images, root, "-o", f"run.ledger={secret}", "-o", "run.seed=x"),
        small(images, root, "-o", f"run.ledger={secret.replace('postgresql', 'mysql')}"),
    ):
        ended = cli(*command)
        assert ended.code == 2
        assert not root.exists()
        said.append(ended)
    assert "leave the password out" in said[0].error
    ended = cli(*small(images, root, "-o", f"run.ledger={bare}"))
    assert (ended.code, "PGPASSWORD" in ended.error) == (1, True)
    monkeypatch.setenv("PGPASSWORD", "wrong")
    ended = cli(*small(images, root, "-o", f"run.ledger={bare}"))
    assert (ended.code, "PGPASSWORD" in ended.error) == (1, True)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert cli(*small(images, root, "-o", f"run.ledger={bare}", "--budget", "0")).code == 4
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.setenv("GTLOOP_LEDGER", secret)
    said += [cli(*small(images, root, "--budget", "0")), cli("status", root, "--json"), cli("report", root, "--json")]
    assert [e.code for e in said[3:]] == [4, 0, 0]
    assert cli(*small(images, tmp_path / "other", "--budget", "0")).code == 4
    assert runs.status(tmp_path / "other")["state"] == "paused: budget"
    files = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    everything = [*files, *(f"{e.out}{e.err}".encode() for e in said)]
    address = address_of(tmp_path / "other")
    assert address is not None
    rows = postgres.sql(f"SELECT body FROM {address.schema}.event")
    everything += [row[0].encode() for row in rows]
    for text in (PASSWORD, quote(PASSWORD, safe="")):
        assert not any(text.encode() in e for e in everything)


def test_servers_that_cannot_be_used(postgres: Server, images: Path, tmp_path: Path) -> None:
    postgres.sql("CREATE ROLE stranger LOGIN")
    nobody = postgres.url().replace(str(postgres.port), "1")
    for url, says in (
        (nobody, "see that the server runs"),
        (postgres.url("nowhere"), "createdb"),
        (postgres.url(user="nobody"), "createuser"),
        (postgres.url(user="stranger"), "GRANT CREATE ON DATABASE"),
    ):
        ended = cli(*small(images, tmp_path / "run", "-o", f"run.ledger={url}"))
        assert ended.code == 1
        assert says in ended.error
        assert "holds no run" in cli("status", tmp_path / "run").error, "another address may be tried"
    for url in ("sqlite:///x", "postgresql", "postgresql://h:port/x", "://"):
        ended = cli(*small(images, tmp_path / "run", "-o", f"run.ledger={url}"))
        assert (ended.code, "write an address as postgresql://" in ended.error) == (2, True)
    assert cli(*small(images, tmp_path / "run", "-o", f"run.ledger={postgres.url()}", "--budget", "0")).code == 4


def test_without_the_library(root: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gtloop.servers.find_spec", lambda name: None)
    for command in (("status", root), small(images, root.parent / "new", "-o", "run.ledger=postgresql://h/d")):
        ended = cli(*command)
        assert (ended.code, "pip install 'gtloop[postgres]'" in ended.error) == (2, True)


def test_a_ledger_that_is_gone_or_of_another_version(postgres: Server, images: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    args = small(images, root, "-o", f"run.ledger={postgres.url()}")
    assert cli(*args, "--budget", "0").code == 4
    address = address_of(root)
    assert address is not None
    postgres.sql(f"UPDATE {address.schema}.schema_version SET version = 99")
    for command in (("status", root), args):
        ended = cli(*command)
        assert (ended.code, "another version of gtloop" in ended.error) == (1, True)
    postgres.sql(f"DROP SCHEMA {address.schema} CASCADE")
    for command in (("status", root), args):
        ended = cli(*command)
        assert (ended.code, f"no schema {address.schema}" in ended.error) == (1, True)
    for text, says in (
        ("torn", "ledger.toml can't be read"),
        ('url = "postgresql://me:secret@host/x"\nschema = "a"', "leave the password out"),
        ('url = "postgresql://host/x"\nschema = "a; b"', "letters, digits and _ only"),
    ):
        (root / "ledger.toml").write_text(text)
        ended = cli("status", root)
        assert says in ended.error
        assert "secret" not in ended.err


def test_a_ledger_stays_where_it_is(postgres: Server, images: Path, tmp_path: Path) -> None:
    server, file = tmp_path / "server", tmp_path / "file"
    there = ("-o", f"run.ledger={postgres.url()}", "--budget", "0")
    assert cli(*small(images, server, *there)).code == 4
    assert cli(*small(images, file, "--budget", "0")).code == 4
    assert cli(*small(images, server, *there)).code == 4, "the same address may be given again"
    for command in (
        small(images, file, *there),
        small(images, server, "-o", f"run.ledger={postgres.url('else')}"),
    ):
        ended = cli(*command)
        assert (ended.code, "leave run.ledger out" in ended.error) == (2, True)
    with pytest.raises(ConfigError, match="frozen"):
        gtloop.open(server).change(**{"run.ledger": postgres.url()})
    assert "run.ledger" not in (server / "run.toml").read_text()


def test_a_run_that_nobody_agrees_to_leaves_nothing_in_the_server(
    postgres: Server, images: Path, tmp_path: Path
) -> None:
    before = postgres.sql("SELECT count(*) FROM pg_namespace")
    given = runs.settings(images, images.parent / "truth.jsonl", run__ledger=postgres.url())
    with pytest.raises(RunError, match="nothing was started"):
        runs.run_here(tmp_path / "run", given, agree=lambda why: False)
    assert not (tmp_path / "run").exists()
    assert postgres.sql("SELECT count(*) FROM pg_namespace") == before


# ------------------------------------------------------------------------------------------ several pages


@pytest.mark.slow
def test_several_processes_serve_one_run(postgres: Server, started: Any, tmp_path: Path) -> None:  # noqa: F811
    """Two people at two pages, each asked about every image once; a link holds at both."""
    people = ("-o", 'annotators.local.people=["anna", "ben"]', "--workers", 2)
    words = _run(tmp_path, *people, "-o", f"run.ledger={postgres.url()}")
    assert started(*words, "--no-wait").end() == 3
    assert not list((tmp_path / "run").rglob("*.sqlite*"))
    pages = [started("serve", tmp_path / "run"), started("serve", tmp_path / "run", "--port", free_port())]
    links = [page.link(who) for page, who in zip(pages, ("anna", "ben"), strict=True)]
    anna, ben = (Person(link) for link in links)
    here, there = (link.split("/join/")[0] for link in links)
    assert here != there
    anna.label(1)
    Person(links[0].replace(here, there)).label(1)
    driver = started(*words)  # finds pages, and opens none
    threads = [threading.Thread(target=person.label_all, args=(driver,)) for person in (anna, ben)]
    for thread in threads:
        thread.start()
    assert driver.end(300) == 0, driver.lines
    for thread in threads:
        thread.join()
    assert "is being served by another process" in "".join(driver.lines)
    owner = Person(pages[1].link("dashboard"))
    wait_for(lambda: owner.http.get("/api/dashboard").json()["status"]["state"] == "finished")
    for page in pages:
        page.process.send_signal(signal.SIGTERM)
        assert page.end() == 0, page.lines
    answers = [(row, a.worker) for row, _, given in gtloop.open(tmp_path / "run").answers() for a in given]
    assert len(answers) == len(set(answers)) == anna.answered + ben.answered + 1
    assert len({who for _, who in answers}) == 2
