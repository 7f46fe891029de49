"""Participants at the page: who they are, what they get, and the code that they take back."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from gtloop.errors import ConfigError, GtloopError, Unreachable
from gtloop.wording import counted
from gtloop_plugins.annotators.local.crowd import Arrival, Farewell
from gtloop_plugins.annotators.local.refused import Refused
from gtloop_plugins.annotators.local.shifts import Shift

from gtloop_prolific.books import Books
from gtloop_prolific.options import ProlificOptions
from gtloop_prolific.pay import Pay
from gtloop_prolific.service import Refused as Denied
from gtloop_prolific.service import Service

FIELDS = ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID")
_ID = re.compile(r"[0-9A-Za-z]{1,64}")
VERIFY_S = 5.0
"""How long Prolific is asked who somebody is, while they wait."""
SLACK_S = 120
"""Seconds that somebody has beyond Prolific's time, so that a last answer is not lost."""


class Participants:
    """Who comes by a study's URL. What its query says is asked for at Prolific: anybody can type a URL."""

    def __init__(self, options: ProlificOptions, service: Service, books: Books, pay: Pay) -> None:
        self._options, self._service, self._books, self._pay = options, service, books, pay
        self._known: set[tuple[str, ...]] = set()

    def arrive(self, query: Mapping[str, str]) -> Arrival:
        """See ``Crowd``."""
        given = tuple(query.get(field, "") for field in FIELDS)
        if not all(_ID.fullmatch(value) for value in given):
            raise Refused(403, "no_participant", "start the study on Prolific; it leads here with all that is needed")
        person, study_id, submission = given
        studies = self._books.studies("id = ?", study_id)
        if not studies:
            raise Refused(404, "unknown_study", "this run has no such study; return it on Prolific, you lose nothing")
        if given not in self._known:
            self._verify(person, study_id, submission)
            self._known.add(given)
        images = studies[0].images
        lasts = 60.0 * self._pay.most_minutes(images) + SLACK_S
        greeting = f"You get {counted(images, 'image')}. Your code for Prolific comes after the last one."
        return Arrival(person, submission, images, lasts, study_id, greeting)

    def admits(self, person: str) -> bool:
        """See ``Crowd``."""
        return self._books.known(f"out {person}") is None

    def farewell(self, note: str, shift: Shift | None) -> Farewell:
        """See ``Crowd``."""
        studies = self._books.studies("id = ?", note)
        if not studies:
            return Farewell("There is no work for you here now.")
        if shift is None:
            text = "There are no images left for you. Please return the study on Prolific; you have lost nothing."
            return self._back(text, studies[0].turned)
        if shift.left:
            return self._back(
                "The time for these images is over. Please return the study on Prolific.", studies[0].turned
            )
        return self._back("These were all your images. Thank you for your work.", studies[0].code)

    def _back(self, text: str, code: str) -> Farewell:
        return Farewell(text, code, self._options.complete_url(code), "Back to Prolific")

    def _verify(self, person: str, study: str, submission: str) -> None:
        try:
            found = self._service.call("GET", f"/submissions/{submission}/", until=time.monotonic() + VERIFY_S)
        except (Denied, ConfigError):
            found = {}
        except Unreachable:
            raise Refused(503, "later", "Prolific does not answer now; load this page again in a minute") from None
        except GtloopError as e:
            raise Refused(503, "later", str(e)) from None
        if (found.get("participant"), found.get("study_id")) != (person, study):
            raise Refused(403, "no_participant", "Prolific does not know this submission; start the study there")
