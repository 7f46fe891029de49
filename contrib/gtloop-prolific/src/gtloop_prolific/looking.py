"""Looking for submissions beside the driver: the API may be slow, and nobody waits for it."""

from __future__ import annotations

import logging
from typing import Any

from gtloop.interfaces import Context
from gtloop.records import Request
from gtloop_plugins.annotators.local import Local
from gtloop_plugins.annotators.local.shifts import Shift

from gtloop_prolific.books import Books, Study
from gtloop_prolific.options import ProlificOptions
from gtloop_prolific.pay import Pay, plan_sets
from gtloop_prolific.reviewing import Reviewing
from gtloop_prolific.service import Refused, Service
from gtloop_prolific.settling import Settling
from gtloop_prolific.studies import Studies

log = logging.getLogger("gtloop.prolific")
Seen = dict[int, list[dict[str, Any]]]
"""All submissions, by number of their study."""
Wanted = dict[int, tuple[Study, int]]
"""Studies and the places that they need, by number."""


class Parts:
    """The parts of an annotator, on books that one thread uses."""

    def __init__(self, options: ProlificOptions, context: Context, page: Local) -> None:
        self._options, self._context, self._page = options, context, page
        self.books, self.service = Books(context.workdir), Service(options)
        self.pay = Pay(options, context.price_per_answer)
        self.studies = Studies(options, context, self.service, self.books)
        self.reviewing = Reviewing(page, self.service, self.books, self.pay)
        self.settling = Settling(options, self.service, self.books, self.pay)

    def look(self) -> None:
        """Bring the books up to date, shut studies, hand over what that has brought, and open studies.

        What is handed over may end the run, and nobody looks again: studies that nobody needs are shut before, whatever
        it takes. Opening others may be refused for want of money, and no answer waits for that.
        """
        seen: Seen = {}
        at_work = {s.note for s in self._page.shifts.running()}
        studies = [s for s in self.books.studies("id IS NOT NULL") if not s.quiet or s.id in at_work]
        for study in studies:
            seen[study.number] = list(self.service.pages("/submissions/", study=study.id))
        # After the lists: a submission that is over has all its answers on the desk.
        running = self.reviewing.take()
        for study in studies:
            self.reviewing.review(study, seen[study.number], running)
        listed = {str(s["id"]) for found in seen.values() for s in found}
        self.reviewing.lapse(running, listed)
        self._ask_again(self.books.regrown())
        self.reviewing.close(running)
        wanted = self._wanted(running)
        self._shut(wanted, running, seen)
        self._decide_rest()
        self.books.hand_over()
        self._open(wanted, running, seen)

    def _ask_again(self, requests: list[Request]) -> None:
        if requests:
            self._page.submit(requests)

    def _decide_rest(self) -> None:
        try:
            self.settling.decide_rest()
        except Refused:  # a person has to look at one submission; the answers of others do not wait for that
            self.books.hand_over()
            raise

    def _wanted(self, running: dict[str, Shift]) -> Wanted:
        """By number of the study, as many places as there are images to give out."""
        pay = Pay(self._options, self._context.price_per_answer, self.books.least_each())
        plan = plan_sets(self._page.shifts.free(), self._options.images)
        if self._beyond(pay, plan, running) > round(self._options.leftovers_usd * 1e6):
            if not running:
                self._give_up()
            plan = {}
        wanted: Wanted = {}
        for size, places in plan.items():
            study = self.books.plan_study(size, max(pay.reward(size), pay.least(size)))
            wanted[study.number] = (study, places)
        return wanted

    def _shut(self, wanted: Wanted, running: dict[str, Shift], seen: Seen) -> None:
        """Take places that nobody needs any more off the market."""
        for study in self.books.studies():
            if study.number in seen and study.number not in wanted:
                self._need(study, 0, running, seen[study.number])

    def _open(self, wanted: Wanted, running: dict[str, Shift], seen: Seen) -> None:
        """Offer the places that are wanted, and no more."""
        for study, places in sorted(wanted.values()):
            known = seen.get(study.number)
            if known is None:
                known = [] if study.id is None else list(self.service.pages("/submissions/", study=study.id))
            self._need(study, places, running, known)

    def _need(self, study: Study, places: int, running: dict[str, Shift], known: list[dict[str, Any]]) -> None:
        self.studies.need(study, places, known, self.books.begun(study.number) | set(running))

    def _beyond(self, pay: Pay, plan: dict[int, int], running: dict[str, Shift]) -> int:
        """Micro-dollars that a plan costs beyond what is reserved; with what such submissions have cost so far."""
        more = sum(n * _surplus(pay, size, pay.least(size)) for size, n in plan.items())
        if not more:
            return 0
        for study in self.books.studies():
            at_work = sum(s.note == study.id for s in running.values())
            more += (self.books.paid(study.number) + at_work) * _surplus(pay, study.images, study.reward)
        return more

    def _give_up(self) -> None:
        """So few images are left that Prolific's least pay would cost more than is reserved: nobody is asked."""
        log.warning(
            "the images that are left are too few for Prolific's least pay, which is more than what is reserved; "
            "to have them labelled all the same, allow for it: -o annotators.prolific.leftovers_usd=1"
        )
        waiting = [r for r, _, _, _, held in self.books.open_requests() if not held]
        with self.books.writing():
            for request in waiting:
                self.books.do("UPDATE request SET ended = 'declined' WHERE id = ? AND ended = ''", request)
        self._page.cancel(waiting)


def _surplus(pay: Pay, images: int, reward: int) -> int:
    """What a submission costs beyond its answers, micro-dollars, the fee included."""
    return max(0, sum(pay.cost(reward)) - sum(pay.cost(pay.reward(images))))
