"""What the annotator knows, in one append-only file of its own, and what that adds up to.

Entries are JSON objects with one key that says what they are. What is done at the server is written down before (the
intent) and after (what came of it), so that a process may die between any two lines. The cursor of ``collect`` is a
number of entries.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gtloop import keyed
from gtloop.journal import Journal
from gtloop.ledger import now
from gtloop.records import Answer, Closed, Outcome, Request

Ending = Literal["cancelled", "expired"]
MOST = 1000
"""Most answers and closures that are told at a time."""


@dataclass
class Asked:
    """One request and what has become of it.

    Attributes:
        request: As it was last asked.
        at: When that was, ISO 8601.
        task: Id of its task at the server, once that is known.
        overlap: People that the server was last told to ask.
        outcomes: Worker to outcome, of the answers that count or are declined.
        known: Annotations that were dealt with.
        void: Those of them that take somebody's place without counting.
        ended: Why no more is wanted, where that is so.
        closed: Whether that is told, or that it is complete.
        offered: Whether the server goes on to offer it when it is complete, because answers came through a twin.
        retired: Whether the server was told to offer it no more.
    """

    request: Request
    at: str
    task: int | None = None
    overlap: int = 0
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)
    void: set[int] = field(default_factory=set)
    ended: Ending | None = None
    closed: bool = False
    offered: bool = False
    retired: bool = False

    @property
    def delivered(self) -> int:
        return sum(outcome != "declined" for outcome in self.outcomes.values())

    @property
    def open(self) -> bool:
        return not self.closed and self.ended is None

    @property
    def wanted_overlap(self) -> int:
        """How many people the server has to let in so that enough answers count."""
        return self.request.answers + len(self.void)

    def late(self, at: datetime) -> bool:
        """Whether its deadline has passed."""
        deadline = self.request.deadline_s
        return deadline is not None and (at - datetime.fromisoformat(self.at)).total_seconds() > deadline


class Order(NamedTuple):
    """What is to become of a task: ``overlap`` people in all, and no more where it is ``over``."""

    request: str
    task: int
    overlap: int
    over: bool
    twin: bool = False


class Books:
    """The file ``labelstudio.jsonl`` of an annotator's folder; one process writes it."""

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / "labelstudio.jsonl")
        self.asked: dict[str, Asked] = {}
        self.of_task: dict[int, str] = {}
        self.twins: set[int] = set()
        """Tasks of requests that have one already, and that the server still offers."""
        self.images: dict[str, str] = {}
        self.blocked: set[str] = set()
        self.project: int | None = None
        self.makings = 0
        """How often the server was asked to make it."""
        self.tried = False
        """Whether tasks were sent of which it is not known whether they arrived."""
        self.looked: str | None = None
        self._identity: dict[str, str] = {}
        self._pending: list[dict[str, Any]] = []
        for entry in self._journal.entries():
            self._take(entry)
        if not self._identity:
            self.write({"identity": {"namespace": secrets.token_hex(8), "secret": secrets.token_hex(32)}})

    @property
    def key(self) -> str:
        """What marks the project of this run at the server."""
        return f"gtloop:{self._identity['namespace']}"

    def worker(self, user: int | str) -> str:
        """What somebody is called in the run; tells nothing about them without this file."""
        return keyed.digest(self._identity["secret"], "worker", str(user))

    def answer_id(self, annotation: int) -> str:
        return keyed.digest(self._identity["namespace"], "annotation", annotation)

    def note(self, entry: dict[str, Any]) -> None:
        """Take an entry in; it counts from now on, and is on disk after the next ``write``."""
        self._take(entry)
        self._pending.append(entry)

    def write(self, *entries: dict[str, Any]) -> None:
        """Append entries, after those that were noted; they are on disk when this returns."""
        for entry in entries:
            self.note(entry)
        self._journal.append(self._pending)
        self._pending = []

    def ask(self, requests: Sequence[Request]) -> None:
        """Write down what is new or has grown."""
        fresh = {
            r.id: {"ask": r.model_dump(mode="json"), "at": now()}
            for r in requests
            if r.id not in self.asked or r.answers > self.asked[r.id].request.answers
        }
        self.write(*fresh.values())

    def told(self, after: int) -> tuple[list[Answer | Closed], int]:
        """Answers and closures from entry ``after`` on, and the entry behind them."""
        entries = self._journal.entries()
        found: list[Answer | Closed] = []
        if after > len(entries):
            after = 0  # the file is another one; what was told is told again
        while after < len(entries) and len(found) < MOST:
            entry = entries[after]
            if "answer" in entry:
                found.append(Answer.model_validate(entry["answer"]))
            elif "closed" in entry:
                found.append(Closed.model_validate(entry["closed"]))
            after += 1
        return found, after

    def unposted(self) -> list[Asked]:
        """Open requests without a task, in the order in which they were asked."""
        return [a for a in self.asked.values() if a.open and a.task is None]

    def unfinished(self) -> list[int]:
        """Tasks, twins too, whose request is not closed."""
        return [task for task, request in self.of_task.items() if not self.asked[request].closed]

    def orders(self) -> list[Order]:
        """What the server has to be told: more people to ask about a task, or nobody any more."""
        found = [Order(self.of_task[task], task, 1, over=True, twin=True) for task in sorted(self.twins)]
        for a in self.asked.values():
            if a.task is not None and a.open and a.overlap != a.wanted_overlap:
                found.append(Order(a.request.id, a.task, a.wanted_overlap, over=False))
            elif a.task is not None and (a.ended or (a.closed and a.offered)) and not a.retired:
                found.append(Order(a.request.id, a.task, max(1, a.delivered + len(a.void)), over=True))
        return found

    def ending(self, at: datetime) -> list[str]:
        """Requests that have ended or are past their deadline at ``at``, and that are not closed."""
        return [i for i, a in self.asked.items() if not a.closed and (a.ended is not None or a.late(at))]

    def _take(self, entry: dict[str, Any]) -> None:
        if "answer" in entry:
            given = entry["answer"]
            asked = self.asked[given["request"]]
            asked.known.add(entry["annotation"])
            asked.outcomes[given["worker"]] = given["outcome"]
        elif "ignored" in entry:
            asked = self.asked[entry["request"]]
            asked.known.add(entry["ignored"])
            asked.void.add(entry["ignored"])
        elif "ask" in entry:
            self._ask(Request.model_validate(entry["ask"]), entry["at"])
        elif "task" in entry:
            self.of_task[entry["task"]] = entry["request"]
            asked = self.asked[entry["request"]]
            if asked.task is None:
                asked.task, asked.overlap = entry["task"], entry["overlap"]
            else:
                asked.offered = True
                self.twins.add(entry["task"])
        elif "retired_twin" in entry:
            self.twins.discard(entry["retired_twin"])
        elif "overlap" in entry:
            asked = self.asked[entry["request"]]
            asked.overlap, asked.retired = entry["overlap"], entry["retired"]
        elif "end" in entry:
            self.asked[entry["end"]].ended = entry["reason"]
        elif "closed" in entry:
            self.asked[entry["closed"]["request"]].closed = True
        elif "sent" in entry:
            self.tried = entry["sent"]
        elif "image" in entry:
            self.images[entry["image"]] = entry["path"]
        elif "looked" in entry:
            self.looked = entry["looked"]
        elif "blocked" in entry:
            self.blocked.add(entry["blocked"])
        elif "making" in entry:
            self.makings += 1
        elif "project" in entry:
            self.project = entry["project"]
        elif "identity" in entry:
            self._identity = entry["identity"]

    def _ask(self, request: Request, at: str) -> None:
        before = self.asked.get(request.id)
        if before is None:
            self.asked[request.id] = Asked(request, at)
            return
        before.request, before.at = request, at
        before.ended, before.closed, before.retired = None, False, False
