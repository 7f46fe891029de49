"""Answers come back: a look lists the tasks that changed since the last one, and each annotation is taken in once.

The server is asked in a thread, which knows the service and nothing else; what it brings is written down by whoever
calls ``collect``. So a slow server keeps nobody waiting, and one thread alone writes the books.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple

from gtloop.errors import Unreachable
from gtloop.interfaces import Context
from gtloop.records import Answer, Closed, known_seconds

from gtloop_labelstudio import forms, results
from gtloop_labelstudio.books import Asked, Books, Order
from gtloop_labelstudio.options import LabelStudioOptions
from gtloop_labelstudio.pictures import sized
from gtloop_labelstudio.posting import REQUEST, tell
from gtloop_labelstudio.service import Page, Service

FIELDS = "id,meta,overlap,is_labeled,annotations,completed_by,result,was_cancelled,lead_time,created_at"
"""Of a task and of its annotations: the server chooses by name at every level."""
MARGIN = timedelta(minutes=1)
"""A look begins so long before the last one did: others see a change only once it is committed."""
KEPT = timedelta(minutes=5)
"""How far a new process may have to look back, besides."""
RECHECK_S = 600.0
"""How often all unfinished tasks are listed, changed or not, which the first look of a process does too: a server that
dies half-way through a submission keeps the annotation, but no sign that its task has changed.
"""
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class _Done(NamedTuple):
    """The end of a look: the server's clock at its start (None: it told none), or why it failed."""

    at: datetime | None = None
    fault: Exception | None = None


class Collecting:
    """Brings the books up to date."""

    def __init__(self, options: LabelStudioOptions, context: Context, service: Service, books: Books) -> None:
        self._options, self._context, self._service, self._books = options, context, service, books
        self._news: queue.SimpleQueue[Page | dict[str, Any] | _Done] = queue.SimpleQueue()
        self._looking = False
        self._due = self._rechecked = -1e9  # by the monotonic clock
        self._failing: float | None = None
        self._ending: list[str] = []
        self._since = datetime.fromisoformat(books.looked) if books.looked else LONG_AGO

    def wait(self, after: int, until: float) -> None:
        """Start a look where one is due, and take in what comes, until there is something to tell or time is up.

        Args:
            after: What was told: the cursor.
            until: ``time.monotonic()`` of the end.

        Raises:
            Unreachable: Looks have failed for longer than ``patience_s``.
            GtloopError: Whatever else has ended a look.
        """
        while not self._books.told(after)[0]:
            now = time.monotonic()
            if not self._looking and now >= self._due:
                self._start()
            rest = until - now if self._looking else min(until, max(self._due, now + 0.05)) - now
            try:
                news = self._news.get(timeout=rest) if rest > 0 else self._news.get_nowait()
            except queue.Empty:
                if time.monotonic() >= until:
                    return
                continue
            self._receive(news)

    def rest(self) -> None:
        """Take in all of a look that is under way.

        Raises:
            GtloopError: As ``wait``.
        """
        while self._looking:
            self._receive(self._news.get())

    def _receive(self, news: Page | dict[str, Any] | _Done) -> None:
        if isinstance(news, _Done):
            self._finish(news)
        elif isinstance(news, Page):
            self._take(news)
        else:
            self._books.write(news)

    def _start(self) -> None:
        self._ending = self._books.ending(datetime.now(UTC))
        project = self._books.project
        if project is None:  # nothing was ever posted
            self._finish(_Done())
            return
        since = (self._since - MARGIN).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        recheck: list[int] = []
        if time.monotonic() - self._rechecked >= RECHECK_S:
            recheck, self._rechecked = self._books.unfinished(), time.monotonic()
        given = (project, since, self._books.orders(), recheck)
        self._looking = True
        threading.Thread(target=self._look, args=given, name="labelstudio", daemon=True).start()

    def _look(self, project: int, since: str, orders: Sequence[Order], recheck: Sequence[int]) -> None:
        at: datetime | None = None
        try:
            for order in orders:
                self._news.put(tell(self._service, order))
            changed = self._service.tasks(project, FIELDS, "updated_at", since)
            for page in chain(changed, self._service.those(project, FIELDS, recheck)):
                at = at or page.at
                self._news.put(page)
        except Exception as e:  # ``_finish`` raises it, where somebody hears it
            self._news.put(_Done(fault=e))
        else:
            self._news.put(_Done(at))

    def _finish(self, end: _Done) -> None:
        self._looking, self._due = False, time.monotonic() + self._options.poll_s
        if end.fault is not None:
            self._rechecked = -1e9
            self._failing = self._failing or time.monotonic()
            if isinstance(end.fault, Unreachable) and time.monotonic() - self._failing < self._options.patience_s:
                return
            raise end.fault
        self._failing = None
        self._end()
        if end.at is not None:
            self._since = end.at
            if self._books.looked is None or end.at > datetime.fromisoformat(self._books.looked) + KEPT:
                self._books.note({"looked": end.at.isoformat()})
        self._books.write()

    def _end(self) -> None:
        """Close what had ended before the look that is over: answers that were there in time are taken in by now."""
        for request in self._ending:
            asked = self._books.asked[request]
            if not asked.closed and (asked.ended or asked.late(datetime.now(UTC))):
                if asked.ended is None:
                    self._books.note({"end": request, "reason": "expired"})
                self._close(asked)
        self._ending = []

    # ------------------------------------------------------------------------------------- annotations

    def _take(self, page: Page) -> None:
        for task in page.tasks:
            asked = self._asked(task)
            if asked is None:
                continue
            for annotation in sorted(task["annotations"], key=lambda a: int(a["id"])):
                if annotation["id"] not in asked.known and not asked.closed:
                    self._annotation(asked, annotation)
            if task["id"] == asked.task and asked.closed:
                asked.offered = asked.offered or not task["is_labeled"]
            elif task["id"] == asked.task and asked.open:
                # What the server says counts more than what it was told; it must not take a task for done that is not.
                asked.overlap = -1 if task["is_labeled"] else task["overlap"]
        self._books.write()

    def _asked(self, task: dict[str, Any]) -> Asked | None:
        """What a task is about; None: it is none of ours."""
        request = self._books.of_task.get(task["id"])
        if request is None:
            request = (task["meta"] or {}).get(REQUEST)
            if request not in self._books.asked:
                return None
            self._books.note({"task": task["id"], "request": request, "overlap": task["overlap"]})
        return self._books.asked[request]

    def _annotation(self, asked: Asked, annotation: dict[str, Any]) -> None:
        request, user = asked.request, annotation.get("completed_by")
        user = user["id"] if isinstance(user, dict) else user
        worker = self._books.worker(f"annotation {annotation['id']}" if user is None else user)
        if worker in asked.outcomes or worker in request.exclude_workers or worker in self._books.blocked:
            self._books.note({"ignored": annotation["id"], "request": request.id})
            return
        said = self._said(asked, annotation)
        answer = Answer(
            id=self._books.answer_id(annotation["id"]),
            request=request.id,
            worker=worker,
            outcome=said.outcome,
            payload=said.payload,
            active_seconds=known_seconds(float(annotation.get("lead_time") or 0)),
            price=0 if said.outcome == "declined" else self._context.price_per_answer,
            at=datetime.fromisoformat(annotation["created_at"]).astimezone(UTC).isoformat(timespec="milliseconds"),
        )
        self._books.note({"answer": answer.model_dump(mode="json"), "annotation": annotation["id"]})
        if asked.delivered >= request.answers:
            self._close(asked)

    def _said(self, asked: Asked, annotation: dict[str, Any]) -> results.Said:
        if annotation["was_cancelled"]:
            return results.Said(self._options.skipped, None)
        return results.read(annotation["result"], forms.check(self._context.form), sized(asked.request.item))

    def _close(self, asked: Asked) -> None:
        """Tell that nothing more comes."""
        full = asked.delivered >= asked.request.answers
        reason = "complete" if full or asked.ended is None else asked.ended
        closed = Closed(request=asked.request.id, delivered=asked.delivered, reason=reason)
        self._books.note({"closed": closed.model_dump(mode="json")})
