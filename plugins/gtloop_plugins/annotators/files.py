"""Annotator ``files``: requests out as JSON lines, answers in as JSON lines, for any outside tool."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gtloop import keyed
from gtloop.errors import BadAnswer
from gtloop.files import write_atomic
from gtloop.interfaces import Annotator, Collected, Context, Options
from gtloop.journal import Journal
from gtloop.ledger import now
from gtloop.records import Answer, Closed, Outcome, Payload, Request

BATCH = 1000
"""Most answers of one ``collect``."""


class FilesOptions(Options):
    folder: Path | None = Field(None, description="where the files are exchanged; default: a folder inside the run")


class AnswerLine(BaseModel):
    """One line of ``answers.jsonl``; keys that gtloop does not know are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    request: str
    worker: str = Field(min_length=1)
    outcome: Outcome
    payload: Payload | None = None
    active_seconds: float = Field(0.0, ge=0, allow_inf_nan=False)
    id: str | None = Field(None, min_length=1)
    at: datetime | None = None


class _Cursor(NamedTuple):
    """``offset`` bytes of answers and ``line`` entries of the journal are dealt with; ``check`` guards the offset."""

    offset: int = 0
    line: int = 0
    check: int = 0


class _Refused(Exception):
    """Why a line goes to ``answers.rejected.jsonl``."""


class _Duplicate(Exception):
    """A line that says what is known already."""


class _Desk:
    """What the journal and the answers so far add up to; rebuilt by reading both again."""

    def __init__(self) -> None:
        self.requests: dict[str, Request] = {}
        self.asked_at: dict[str, str] = {}
        self.ended: dict[str, Literal["cancelled", "expired"]] = {}
        self.outcomes: dict[str, dict[str, Outcome]] = {}
        self.ids: set[str] = set()
        self.read = 0

    def follow(self, entries: Sequence[dict[str, Any]]) -> None:
        for entry in entries[self.read :]:
            if "request" in entry:
                request = Request.model_validate(entry["request"])
                self.requests[request.id], self.asked_at[request.id] = request, entry["at"]
                self.ended.pop(request.id, None)
            else:
                self.ended[entry["end"]] = entry["reason"]
        self.read = len(entries)

    def check(self, line: AnswerLine) -> None:
        """Raise ``_Duplicate`` or ``_Refused`` where the line does not belong here."""
        request = self.requests.get(line.request)
        if request is None:
            raise _Refused(f"request {line.request!r} is unknown; copy the id from requests.jsonl")
        if line.worker in self.outcomes.get(line.request, {}):
            raise _Duplicate
        if line.request in self.ended:
            raise _Refused(f"request {line.request!r} was {self.ended[line.request]} before this answer was read")
        if line.worker in request.exclude_workers:
            raise _Refused(f"worker {line.worker!r} may not answer request {line.request!r}")
        if line.id in self.ids:
            raise _Refused(f"id {line.id!r} is taken by another answer; leave it out or make it unique")
        if line.outcome != "declined" and self.delivered(line.request) >= request.answers:
            raise _Refused(f"request {line.request!r} already has the {request.answers} answers that it asked for")

    def record(self, line: AnswerLine) -> None:
        self.outcomes.setdefault(line.request, {})[line.worker] = line.outcome
        if line.id is not None:
            self.ids.add(line.id)

    def complete(self, answer: Answer) -> list[Closed]:
        """The closure of a request whose last answer this is."""
        wanted = self.requests[answer.request].answers
        if answer.outcome == "declined" or self.delivered(answer.request) != wanted:
            return []
        return [Closed(request=answer.request, delivered=wanted)]

    def endings(self, entries: Sequence[dict[str, Any]]) -> list[Closed]:
        """Closures of what these entries of the journal end."""
        return [
            Closed(request=e["end"], delivered=self.delivered(e["end"]), reason=e["reason"])
            for e in entries
            if "end" in e
        ]

    def late(self, at: datetime) -> list[str]:
        """Requests that are short of answers after their deadline."""
        return [
            r.id
            for r in self.requests.values()
            if r.deadline_s is not None
            and r.id not in self.ended
            and (at - datetime.fromisoformat(self.asked_at[r.id])).total_seconds() > r.deadline_s
            and self.delivered(r.id) < r.answers
        ]

    def delivered(self, request: str) -> int:
        return sum(outcome != "declined" for outcome in self.outcomes.get(request, {}).values())


class Files(Annotator):
    """Hands images to an outside tool and reads what it wrote.

    ``requests.jsonl`` holds one line for each open request: ``id``, ``image`` (uri), ``width`` and ``height`` (as
    displayed, null while unknown), ``task``, ``categories``, ``instructions``, ``answers`` (how many people), ``mode``,
    ``proposal``, ``exclude_workers``. It is replaced as a whole, so that a reader never sees half of it. The tool
    appends to ``answers.jsonl`` what ``AnswerLine`` says; boxes are absolute pixels of the image as displayed. What
    can't be used goes to ``answers.rejected.jsonl`` with the reason. A tool may also write ``answers.jsonl`` anew: it
    is read again, and what is known by (request, worker) counts once.
    """

    name = "files"
    summary = "requests.jsonl out, answers.jsonl in: any outside tool or agency"
    Options = FilesOptions
    patient = True

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        self._state: tuple[int, _Desk] | None = None  # what the last collect knew; only saves reading it again

    def submit(self, requests: Sequence[Request]) -> None:
        """Add what is new or grown, and write ``requests.jsonl`` anew."""
        asked = {e["request"]["id"]: int(e["request"]["answers"]) for e in self._journal.entries() if "request" in e}
        fresh = []
        for request in requests:
            if request.answers > asked.get(request.id, 0):
                asked[request.id] = request.answers
                fresh.append({"request": request.model_dump(mode="json"), "at": now()})
        self._journal.append(fresh)
        self._publish()

    def cancel(self, request_ids: Sequence[str]) -> None:
        """Take requests out of ``requests.jsonl``; answers that still come are rejected."""
        self._end(list(dict.fromkeys(request_ids)), "cancelled")

    def collect(self, cursor: str, limit_s: float) -> Collected:
        """What the lines of ``answers.jsonl`` after ``cursor`` say; returns at once."""
        at = _Cursor(*(int(part) for part in cursor.split(":"))) if cursor else _Cursor()
        if at.check != self._check(at.offset):
            at = _Cursor(0, at.line, 0)  # the tool wrote its file anew
        desk, line = self._desk_at(at.offset), at.line
        answers: list[Answer] = []
        closed: list[Closed] = []
        refused: list[dict[str, Any]] = []
        offset = at.offset
        for end, text in self._lines(at.offset):
            offset = end
            try:
                answers.append(self._accept(desk, text))
            except _Refused as why:
                refused.append({"reason": str(why), "line": text})
            except _Duplicate:
                continue
            else:
                closed += desk.complete(answers[-1])
            if len(answers) == BATCH:
                break
        self._reject(refused)
        if offset == at.offset:
            # Whoever asks again from here has what came before: only now is an answer in time never shut out.
            self._expire(desk)
        closed += desk.endings(self._journal.entries()[line:])
        self._state = (offset, desk)
        return Collected(answers, closed, f"{offset}:{desk.read}:{self._check(offset)}")

    def where(self) -> str:
        """Which file to fill."""
        folder = self._folder.resolve()
        ask, told = folder / "requests.jsonl", folder / "answers.jsonl"
        return f"{ask} lists the images; append one JSON line for each answer to {told}"

    @cached_property
    def _folder(self) -> Path:
        folder: Path = self.options.folder or self.context.workdir
        return folder

    @cached_property
    def _journal(self) -> Journal:
        return Journal(self.context.workdir / "journal.jsonl")

    @cached_property
    def _rejected(self) -> Journal:
        return Journal(self._folder / "answers.rejected.jsonl")

    def _end(self, request_ids: Sequence[str], reason: Literal["cancelled", "expired"]) -> None:
        desk = _Desk()
        desk.follow(self._journal.entries())
        gone = [i for i in request_ids if i in desk.requests and i not in desk.ended]
        self._journal.append([{"end": i, "reason": reason} for i in gone])
        if gone:
            self._publish()

    def _expire(self, desk: _Desk) -> None:
        late = desk.late(datetime.now(UTC))
        if late:
            self._end(late, "expired")
            desk.follow(self._journal.entries())

    def _publish(self) -> None:
        desk = _Desk()
        desk.follow(self._journal.entries())
        lines = [json.dumps(self._line(r)) + "\n" for r in desk.requests.values() if r.id not in desk.ended]
        write_atomic(self._folder / "requests.jsonl", "".join(lines).encode())

    def _line(self, request: Request) -> dict[str, Any]:
        form = self.context.form
        width, height = request.item.display_size or (None, None)
        return {
            "id": request.id,
            "image": request.item.uri,
            "width": width,
            "height": height,
            "task": form.task if form else None,
            "categories": list(self.context.categories),
            "instructions": form.instructions if form else "",
            "answers": request.answers,
            "mode": request.mode,
            "proposal": request.proposal,
            "exclude_workers": list(request.exclude_workers),
        }

    def _desk_at(self, offset: int) -> _Desk:
        """The desk after the lines before ``offset``: the last call's, or rebuilt."""
        if self._state is not None and self._state[0] == offset:
            desk = self._state[1]
            desk.follow(self._journal.entries())
            return desk
        desk = _Desk()
        desk.follow(self._journal.entries())
        refused = {e["line"] for e in self._rejected.entries()}
        for end, text in self._lines(0):
            if end > offset:
                break
            if text not in refused:
                with suppress(ValidationError):  # refused too, but somebody tidied the rejects
                    desk.record(AnswerLine.model_validate_json(text))
        return desk

    def _lines(self, start: int) -> Iterator[tuple[int, str]]:
        """(offset behind it, text) of each line from ``start``; the last may lack its newline if it is whole JSON."""
        path = self._folder / "answers.jsonl"
        if not path.exists():
            return
        with path.open("rb") as f:
            f.seek(start)
            for data in f:
                start += len(data)
                text = data.decode("utf-8-sig", errors="replace").strip()
                if not data.endswith(b"\n") and not _is_json(text):
                    return
                if text:
                    yield start, text

    def _check(self, offset: int) -> int:
        """Checksum of the 256 bytes of the answers before ``offset``; -1 where there are not so many."""
        path = self._folder / "answers.jsonl"
        if offset == 0:
            return 0
        if not path.exists() or path.stat().st_size < offset:
            return -1
        with path.open("rb") as f:
            f.seek(max(0, offset - 256))
            return zlib.crc32(f.read(min(256, offset)))

    def _reject(self, refused: Sequence[dict[str, Any]]) -> None:
        known = {e["line"] for e in self._rejected.entries()} if refused else set()
        self._rejected.append([e for e in refused if e["line"] not in known])

    def _accept(self, desk: _Desk, text: str) -> Answer:
        """Turn a line into an answer, and put it down on the desk.

        Raises:
            _Refused: It can't be used.
            _Duplicate: This worker has answered this request.
        """
        try:
            line = AnswerLine.model_validate_json(text)
        except ValidationError as e:
            first = e.errors()[0]
            raise _Refused(f"{'.'.join(map(str, first['loc'])) or 'line'}: {first['msg']}") from None
        desk.check(line)
        payload = self._payload(line, desk.requests[line.request])
        desk.record(line)
        at = line.at or datetime.now(UTC)
        return Answer(
            id=line.id or keyed.digest(line.request, line.worker),
            request=line.request,
            worker=line.worker,
            outcome=line.outcome,
            payload=payload,
            active_seconds=line.active_seconds,
            price=0 if line.outcome == "declined" else self.context.price_per_answer,
            at=(at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="milliseconds"),
        )

    def _payload(self, line: AnswerLine, request: Request) -> Payload | None:
        form = self.context.form
        if line.outcome == "empty" and form is not None and not form.empty_allowed:
            raise _Refused(f"outcome 'empty': an image of task {form.task!r} is never empty")
        if line.outcome != "label":
            return None
        if line.payload is None:
            raise _Refused("outcome 'label' needs a payload")
        try:
            return self.context.task.parse(line.payload, request.item) if self.context.task else line.payload
        except BadAnswer as e:
            raise _Refused(str(e)) from None


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
