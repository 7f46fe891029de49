"""Answers come back: looks for HITs with news, takes each assignment in once, and closes requests.

A look costs one call for every hundred HITs that are done, and one for each of those with answers that are new. HITs
that are still open are looked at in turn, as far as time allows: nothing waits for their answers before they are done.
"""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC
from typing import Any, Literal

from gtloop import keyed
from gtloop.interfaces import Context
from gtloop.records import Answer, Closed, Request
from gtloop_plugins.annotators.mturk.answers import Said, read
from gtloop_plugins.annotators.mturk.books import Books, Hit, now
from gtloop_plugins.annotators.mturk.service import Refused, Service

GRACE_S = 600
"""After its end, and the time for one assignment, a HIT is looked at by itself if no list names it."""
_GONE = ("HITDoesNotExist", "InvalidHITState")


class Collecting:
    """Brings the books up to date."""

    def __init__(self, assignment_s: float, context: Context, service: Service, books: Books) -> None:
        self._assignment_s, self._context, self._service, self._books = assignment_s, context, service, books
        self._turn: deque[int] = deque()

    def look(self, until: float) -> bool:
        """One look at all that is done, in the order in which it was posted; False where time was too short.

        Raises:
            Unreachable: The service did not answer in time.
        """
        waiting = self._books.hits("done = 0 AND hit IS NOT NULL")
        ready: dict[str, dict[str, Any]] = {}
        ours = {h.hit for h in waiting}
        for kind in sorted({h.type for h in waiting}):
            for one in self._service.pages("list_reviewable_hits", "HITs", until, HITTypeId=kind):
                if one["HITId"] in ours:
                    ready[one["HITId"]] = one
        begun = False
        for hit in waiting:
            found: dict[str, Any] | None = ready.get(hit.hit or "")
            late = now() > hit.ends + self._assignment_s + GRACE_S
            if found is None and not late:
                continue
            if begun and time.monotonic() > until:
                return False
            begun = True
            if found is None:
                found = self._service.call("get_hit", until, HITId=hit.hit)["HIT"]
                if found["HITStatus"] not in ("Reviewable", "Reviewing", "Disposed"):
                    continue
            self._finish(hit, found, until)
        self._close()
        return True

    def peek(self, until: float) -> None:
        """Look at HITs that are open, in turn: some have a part of their answers."""
        waiting = {h.number: h for h in self._books.hits("done = 0 AND hit IS NOT NULL AND planned > 1")}
        self._turn.extend(sorted(waiting.keys() - set(self._turn)))
        for _ in range(len(self._turn)):
            if time.monotonic() > until:
                return
            number = self._turn.popleft()
            if number in waiting:
                self._take(waiting[number], until)
                self._turn.append(number)

    def _finish(self, hit: Hit, found: dict[str, Any], until: float) -> None:
        """Take in a HIT to which nothing can come any more; somebody may still be at work on one that expired."""
        taken = self._take(hit, until)
        if found.get("NumberOfAssignmentsPending", 0) or found["MaxAssignments"] < hit.planned:
            return
        submitted = found["MaxAssignments"] - found.get("NumberOfAssignmentsAvailable", 0)
        if taken < submitted and now() < hit.ends and not hit.withdrawn:
            return  # the counts are ahead of the list; the next look brings the rest
        self._books.change(hit.number, done=1)

    def _take(self, hit: Hit, until: float) -> int:
        """Write down the assignments of a HIT that are new; returns how many there are in all."""
        known = self._books.assigned(hit.number)
        request = self._books.request(hit.request)
        assert request is not None
        try:
            pages = self._service.pages("list_assignments_for_hit", "Assignments", until, HITId=hit.hit)
            found = {a["AssignmentId"]: a for a in pages}
        except Refused as e:
            if e.code in _GONE:  # somebody deleted it by hand
                self._books.change(hit.number, done=1, deleted=1)
                return len(known)
            raise
        for assignment in sorted(found.values(), key=lambda a: (a["SubmitTime"], a["AssignmentId"])):
            if assignment["AssignmentId"] not in known:
                self._accept(hit, request, assignment)
        return len(known.keys() | found.keys())

    def _accept(self, hit: Hit, request: Request, assignment: dict[str, Any]) -> None:
        worker = self._books.pseudonym(assignment["WorkerId"])
        form = self._context.form
        assert form is not None
        said = read(assignment.get("Answer"), request, form)
        if worker in request.exclude_workers or worker in self._books.answered(request.id):
            said = Said("declined", None)  # somebody who knows the image slipped in: paid, and not counted
        submitted = assignment["SubmitTime"].astimezone(UTC)
        accepted = assignment.get("AcceptTime") or submitted
        answer = Answer(
            id=keyed.digest("mturk", assignment["AssignmentId"]),
            request=request.id,
            worker=worker,
            outcome=said.outcome,
            payload=said.payload,
            active_seconds=max(0.0, (submitted - accepted).total_seconds()),
            price=hit.reward,
            fee=hit.fee,
            at=submitted.isoformat(timespec="milliseconds"),
        )
        self._books.take(assignment["AssignmentId"], hit.number, assignment["WorkerId"], answer)

    def _close(self) -> None:
        """Tell what is over."""
        for request, wanted, cancelled, refused in self._books.to_close():
            delivered = self._books.delivered(request)
            reason: Literal["complete", "expired", "declined", "cancelled"] = "expired"
            if delivered >= wanted:
                reason = "complete"
            elif cancelled:
                reason = "cancelled"
            elif refused:
                reason = "declined"
            with self._books.writing():
                self._books.mark(request, closed=1)
                self._books.tell(Closed(request=request, delivered=delivered, reason=reason))
