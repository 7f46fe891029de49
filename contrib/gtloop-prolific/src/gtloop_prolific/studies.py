"""Studies: one for each size of submission and reward, created once, and grown as more images wait.

A study is found again by its internal name, which holds the namespace of this run: a call that broke off is looked for
before it is made again. Places are set to a number, never added to.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote as quoted

from gtloop.errors import ConfigError
from gtloop.interfaces import Context
from gtloop.wording import counted
from gtloop_plugins.annotators.local.crowd import PATH

from gtloop_prolific.books import Books, Study
from gtloop_prolific.options import ProlificOptions
from gtloop_prolific.pay import Pay
from gtloop_prolific.service import Refused, Service, Unsure

QUERY = "PROLIFIC_PID={{%PROLIFIC_PID%}}&STUDY_ID={{%STUDY_ID%}}&SESSION_ID={{%SESSION_ID%}}"
TAKES = {"RESERVED", "ACTIVE", "AWAITING REVIEW", "APPROVED", "PARTIALLY APPROVED"}
"""Of submissions that have a place; that of others is free again."""
COMING_S = 900
"""How long somebody who has a place, and has not come yet, is waited for."""
NO_WORK = "All images had been given to others when you came; you were asked for nothing."


class Studies:
    """Creates, grows, publishes and pauses."""

    def __init__(self, options: ProlificOptions, context: Context, service: Service, books: Books) -> None:
        self._options, self._context, self._service, self._books = options, context, service, books

    def need(self, study: Study, places: int, submissions: list[dict[str, Any]], begun: set[str]) -> None:
        """See to it that so many more people can take a study.

        Args:
            submissions: All that there are.
            begun: Ids of those that have got their images.
        """
        if study.id is None:
            study = self._create(study, max(1, places)) if places else study
        if study.id is None:
            return
        found = self._service.call("GET", f"/studies/{study.id}/")
        status, total = found["status"], int(found["total_available_places"])
        taken = [s for s in submissions if s["status"] in TAKES]
        coming = [s for s in taken if s["id"] not in begun and s["status"] in ("RESERVED", "ACTIVE") and _recent(s)]
        over = status in ("AWAITING REVIEW", "COMPLETED")  # nobody comes any more, also where places are left
        have = len(coming) + (0 if over else total - len(taken))
        if places > have:
            self._change(study, {"total_available_places": total + places - have})
        if places and status in ("UNPUBLISHED", "PAUSED"):
            self._move(study, "PUBLISH" if status == "UNPUBLISHED" else "START", status)
        elif not places and status == "ACTIVE" and total > len(taken):
            self._move(study, "PAUSE", status)
        idle = not places and status in ("UNPUBLISHED", "PAUSED", "COMPLETED") and not coming
        self._books.do("UPDATE study SET quiet = ? WHERE number = ?", int(idle), study.number)

    def body(self, study: Study, places: int) -> dict[str, Any]:
        """A draft of a study, as the API wants it."""
        o, pay = self._options, Pay(self._options, 0)
        form = self._context.form
        task = form.task if form else "label images"
        return {
            "name": o.title or f"Label {counted(study.images, 'image')}: {task}",
            "internal_name": study.name,
            "description": o.description or self._describe(study.images),
            "external_study_url": f"{(o.public_url or '').rstrip('/')}{PATH}?{QUERY}",
            "prolific_id_option": "url_parameters",
            "completion_codes": [
                _code(study.code, "COMPLETED", {"action": "MANUALLY_REVIEW"}),
                _code(study.turned, "OTHER", {"action": "REQUEST_RETURN", "return_reason": NO_WORK}),
            ],
            "total_available_places": places,
            "estimated_completion_time": pay.minutes(study.images),
            "maximum_allowed_time": pay.most_minutes(study.images),
            "reward": study.reward,
            "device_compatibility": list(o.devices),
            "peripheral_requirements": [],
            "filters": list(o.filters),
            "submissions_config": {"max_submissions_per_participant": o.submissions_each},
            "study_labels": [o.label],
            **({"project": o.project} if o.project else {}),
        }

    def _describe(self, images: int) -> str:
        form = self._context.form
        said = (form.instructions if form else "").strip()
        return f"You label {counted(images, 'image')} at a web page, and get a code at the end. {said}".strip()[:5000]

    def _create(self, study: Study, places: int) -> Study:
        if study.tried:
            found = self._find(study.name)
            if found is not None:
                return self._adopt(study, found)
        self._books.do("UPDATE study SET tried = 1 WHERE number = ?", study.number)
        try:
            made = self._service.call("POST", "/studies/", self.body(study, places), once=True)
        except Unsure:
            made = self._find(study.name)
            if made is None:
                raise
        return self._adopt(study, made)

    def _find(self, name: str) -> dict[str, Any] | None:
        project = self._options.project
        if project:
            found = list(self._service.pages(f"/projects/{quoted(project)}/studies/"))
        else:
            found = self._service.call("GET", "/studies/")["results"]
        same: list[dict[str, Any]] = [s for s in found if s.get("internal_name") == name]
        used = [s for s in same if s["status"] != "UNPUBLISHED"]
        if len(used) > 1:
            raise ConfigError(f"Prolific has {len(used)} studies called {name!r}: delete all but the one that is used")
        return next(iter(used or same), None)  # any draft will do: all have the same codes

    def _adopt(self, study: Study, found: dict[str, Any]) -> Study:
        self._books.do("UPDATE study SET id = ? WHERE number = ?", found["id"], study.number)
        return study._replace(id=found["id"])

    def _change(self, study: Study, what: dict[str, Any]) -> None:
        self._service.call("PATCH", f"/studies/{study.id}/", what)

    def _move(self, study: Study, action: str, before: str) -> None:
        """A transition; one that broke off, and was done all the same, is refused the second time."""
        try:
            self._service.call("POST", f"/studies/{study.id}/transition/", {"action": action})
        except Refused:
            if self._service.call("GET", f"/studies/{study.id}/")["status"] == before:
                raise


def _code(code: str, kind: str, action: dict[str, str]) -> dict[str, Any]:
    return {"code": code, "code_type": kind, "actions": [action], "actor": "participant"}


def _recent(submission: dict[str, Any]) -> bool:
    started = datetime.fromisoformat(submission["started_at"].replace("Z", "+00:00"))
    if started.tzinfo is None:
        started = started.replace(tzinfo=UTC)
    return (datetime.now(UTC) - started).total_seconds() < COMING_S
