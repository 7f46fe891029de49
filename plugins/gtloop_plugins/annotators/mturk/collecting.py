"""Answers come back: looks for HITs with news, takes each assignment in once, and closes requests.

A look costs one call for every hundred HITs that are done, and one for each of those with answers that are new. HITs
that are still open are looked at in turn, a few at a time: nothing waits for their answers before they are done.
"""

from __future__ import annotations

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
PEEKS = 20
"""HITs that are open and looked at in one look."""


class Collecting:
    """Brings the books up to date."""

    def __init__(self, assignment_s: float, context: Context, service: Service, books: Books) -> None:
        self._assignment_s, self._context, self._service, self._books = assignment_s, context, service, books
        self._turn: deque[int] = deque()

    def look(self) -> None:
        """Take in all that is done, in the order in which it was posted.

        Raises:
            Unreachable: The service does not answer; what was taken in stays so.
        """
        waiting = self._books.hits("done = 0 AND hit IS NOT NULL")
        ours = {h.hit for h in waiting}
        ready: dict[str, dict[str, Any]] = {}
        for kind in sorted({h.type for h in waiting}):
            for found in self._service.pages("list_reviewable_hits", "HITs", HITTypeId=kind):
                if found["HITId"] in ours:
                    ready[found["HITId"]] = found
        for hit in waiting:
            if hit.hit in ready:
                self._finish(hit, ready[hit.hit])
            elif now() > hit.ends + self._assignment_s + GRACE_S:
                self._ask_after(hit)
        self._close()

    def peek(self) -> None:
        """Look at some HITs that are open, in turn: they may have a part of their answers."""
        waiting = {h.number: h for h in self._books.hits("done = 0 AND hit IS NOT NULL AND planned > 1")}
        self._turn = deque(n for n in self._turn if n in waiting)
        self._turn.extend(sorted(waiting.keys() - set(self._turn)))
        for number in list(self._turn)[:PEEKS]:
            self._take(waiting[number])
            self._turn.rotate(-1)

    def _ask_after(self, hit: Hit) -> None:
        """A HIT that must be over, and that no list names."""
        try:
            found = self._service.call("get_hit", HITId=hit.hit)["HIT"]
        except Refused:  # somebody deleted it by hand
            self._books.change(hit.number, done=1, deleted=1)
            return
        if found["HITStatus"] in ("Reviewable", "Reviewing", "Disposed"):
            self._finish(hit, found)

    def _finish(self, hit: Hit, found: dict[str, Any]) -> None:
        """Take in a HIT to which nothing can come any more; somebody may still be at work on one that expired."""
        taken = self._take(hit)
        if found.get("NumberOfAssignmentsPending", 0) or found["MaxAssignments"] < hit.planned:
            return
        submitted = found["MaxAssignments"] - found.get("NumberOfAssignmentsAvailable", 0)
        if taken < submitted and now() < hit.ends and not hit.withdrawn:
            return  # the counts are ahead of the list; the next look brings the rest
        self._books.finish(hit)

    def _take(self, hit: Hit) -> int:
        """Write down the assignments of a HIT that are new; returns how many there are in all."""
        known = self._books.assigned(hit.number)
        request = self._books.request(hit.request)
        assert request is not None
        pages = self._service.pages("list_assignments_for_hit", "Assignments", HITId=hit.hit)
        found = {a["AssignmentId"]: a for a in pages}
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
