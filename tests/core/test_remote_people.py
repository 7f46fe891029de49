"""Books and looks of annotators whose people are at somebody else's service."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gtloop import remote_people
from gtloop.errors import GtloopError, Unreachable
from gtloop.records import Answer, Closed
from gtloop.remote_people import Looks, collect


class Books(remote_people.Books):
    FILE = "some.sqlite"
    SCHEMA = "CREATE TABLE IF NOT EXISTS thing (id TEXT PRIMARY KEY);"


class Parts:
    """Does as told at each look."""

    def __init__(self, books: Books, do: Callable[[Books], None]) -> None:
        self.books, self.do = books, do

    def look(self) -> None:
        self.do(self.books)


def answer(n: int) -> Answer:
    return Answer(id=f"a{n}", request="r", worker=f"w{n}", outcome="label", at="2026-11-30T12:00:00+00:00")


def looks(folder: Path, do: Callable[[Books], None], poll_s: float = 0.0, patience_s: float = 0.0) -> Looks:
    return Looks("some", lambda: Parts(Books(folder), do), poll_s=poll_s, patience_s=patience_s)


def test_nothing_is_told_before_it_is_handed_over_and_everything_is_told_again(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.tell(answer(1))
    assert books.told(0) == []
    books.tell(Closed(request="r", delivered=1))
    books.hand_over()
    books.tell(answer(2))
    for again in (books, Books(tmp_path)):
        assert [(n, type(r)) for n, r in again.told(0)] == [(1, Answer), (2, Closed)]
        assert [n for n, _ in again.told(1)] == [2]


def test_a_transaction_is_one_also_when_nested(tmp_path: Path) -> None:
    books = Books(tmp_path)

    def half(books: Books) -> None:
        with books.writing():
            books.do("INSERT INTO thing VALUES ('x')")
            books.put("key", "value")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half(books)
    assert books.rows("SELECT * FROM thing") == []
    assert books.known("key") is None
    assert books.fact("key", "first") == books.fact("key", "second") == "first"


def test_collecting_looks_only_when_nothing_is_left_to_tell(tmp_path: Path) -> None:
    seen: list[int] = []

    def look(books: Books) -> None:
        seen.append(len(seen))
        books.tell(answer(len(seen)))
        books.hand_over()

    books, some = Books(tmp_path), looks(tmp_path, look)
    first = collect(books, some, "", 60)
    assert [a.id for a in first.answers] == ["a1"]
    assert first.cursor == "1"
    assert collect(books, some, "", 60) == first
    assert len(seen) == 1
    assert [a.id for a in collect(books, some, first.cursor, 60).answers] == ["a2"]


def test_a_look_that_takes_long_keeps_nobody_waiting_and_is_never_doubled(tmp_path: Path) -> None:
    go, begun = threading.Event(), []

    def look(books: Books) -> None:
        begun.append(1)
        assert go.wait(60)
        books.tell(answer(1))
        books.hand_over()

    books, some = Books(tmp_path), looks(tmp_path, look, poll_s=3600)
    assert collect(books, some, "", 0.01) == collect(books, some, "", 0.01)
    go.set()
    some.rest()
    assert [a.id for a in collect(books, some, "", 60).answers] == ["a1"]
    assert not collect(books, some, "1", 0.01).answers
    assert begun == [1]


def test_failures_for_want_of_the_service_are_borne_for_a_while(tmp_path: Path) -> None:
    down: Callable[[Books], None] = lambda _: (_ for _ in ()).throw(Unreachable("the service is down"))  # noqa: E731
    some = looks(tmp_path, down, patience_s=3600)
    some.wait(time.monotonic() + 60)
    some.wait(time.monotonic() + 60)
    impatient = looks(tmp_path, down, patience_s=-1)
    with pytest.raises(Unreachable, match="down"):
        impatient.wait(time.monotonic() + 60)


def test_another_failure_is_told_at_once_and_the_next_look_goes_on(tmp_path: Path) -> None:
    faults: list[Exception] = [GtloopError("the token is wrong")]

    def look(books: Books) -> None:
        if faults:
            raise faults.pop()
        books.tell(answer(1))
        books.hand_over()

    books, some = Books(tmp_path), looks(tmp_path, look, patience_s=3600)
    with pytest.raises(GtloopError, match="token"):
        collect(books, some, "", 60)
    assert len(collect(books, some, "", 60).answers) == 1
