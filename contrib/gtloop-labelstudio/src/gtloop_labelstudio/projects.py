"""The project of a run at the server: found by its key, or made, and checked.

After a call to make it whose answer was lost, or a process that died, it is waited for before it is made again. A
second one that turns up even later, because the server was still at work on it, is marked as not used: people who
opened it would wait there for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from gtloop.errors import ConfigError, Unreachable
from gtloop.interfaces import Context

from gtloop_labelstudio import forms
from gtloop_labelstudio.books import Books
from gtloop_labelstudio.options import LabelStudioOptions
from gtloop_labelstudio.service import FINISH_S, Refused, Service, Unsure

_SKIP = {"cannot_tell": "IGNORE_SKIPPED", "declined": "REQUEUE_FOR_OTHERS"}
"""What skipping means to how the server counts skipped tasks: as answered, or not."""
_FIELDS = "id,description,skip_queue,maximum_annotations,parsed_label_config"


class Projects:
    """Opens the one project of a run."""

    def __init__(self, options: LabelStudioOptions, context: Context, service: Service, books: Books) -> None:
        self._options, self._context, self._service, self._books = options, context, service, books
        self._opened: int | None = None
        self.overlap = 1
        """People that the server asks about a task that is new."""

    def open(self, answers: int) -> int:
        """The id of the project; made for requests that ask for ``answers`` people where there is none.

        Raises:
            GtloopError: It is gone, or is another's.
        """
        if self._opened is not None:
            if self._books.makings > 1:
                self._drop_twins(self._opened)
            return self._opened
        found = self._known() if self._books.project is not None else self._awaited() or self._make(answers)
        if self._books.project is None:
            self._books.write({"project": found["id"]})
        self._check(found)
        if self._books.makings:  # once will do for two: the server itself repeats what its database did not take
            self._drop_twins(int(found["id"]))
        self.overlap = int(found["maximum_annotations"])
        self._opened = int(found["id"])
        return self._opened

    def _known(self) -> dict[str, Any]:
        number = self._books.project
        try:
            found: dict[str, Any] = self._service.call("GET", f"/api/projects/{number}/")
        except Refused as e:
            if e.status != 404:
                raise
            found = {}
        if self._books.key not in (found.get("description") or ""):
            raise ConfigError(
                f"project {number} at {self._options.url} is gone or another's (its description has no "
                f"{self._books.key!r}): restore it, or start another run"
            )
        return found

    def _awaited(self) -> dict[str, Any] | None:
        """The project of this run, where the server has it, or may still be making it and has it soon."""
        end = time.monotonic() + (FINISH_S if self._books.makings else 0)
        while True:
            found = next(self._listed(), None)
            if found is not None or time.monotonic() >= end:
                return found
            time.sleep(0.5)

    def _drop_twins(self, used: int) -> None:
        title = f"not used: {self._title()}"[:50]
        said = f"A second project of the gtloop run {self._context.run}, made by mistake; {used} is used."
        for twin in [p for p in self._listed() if p["id"] != used]:
            body = {"title": title, "description": said}
            self._service.call("PATCH", f"/api/projects/{twin['id']}/", json=body)

    def _listed(self) -> Iterator[dict[str, Any]]:
        """Projects whose description has the key of this run."""
        page, more = 1, True
        while more:
            given = {"page": page, "page_size": 100, "include": _FIELDS}
            found = self._service.call("GET", "/api/projects/", params=given)
            yield from (p for p in found["results"] if self._books.key in (p["description"] or "").split())
            page, more = page + 1, bool(found["next"])

    def _make(self, answers: int) -> dict[str, Any]:
        form = forms.check(self._context.form)
        body = {
            "title": self._title(),
            "description": f"Images of the gtloop run {self._context.run}. Keep what follows: {self._books.key}",
            "label_config": forms.configuration(form),
            "expert_instruction": forms.instructions(form),
            "show_instruction": True,
            "maximum_annotations": answers,
            "skip_queue": _SKIP[self._options.skipped],
            "show_skip_button": True,
            "enable_empty_annotation": form.empty_allowed or any(p.kind == "mask" for p in form.primitives),
            "show_collab_predictions": True,
            "sampling": "Uniform sampling",
        }
        until = time.monotonic() + self._options.patience_s
        while True:
            self._books.write({"making": True})
            try:
                made: dict[str, Any] = self._service.once("POST", "/api/projects/", json=body)
                return made
            except Unsure as e:
                if time.monotonic() > until:
                    raise Unreachable(str(e)) from None
                found = self._awaited()
                if found is not None:
                    return found

    def _title(self) -> str:
        """At most 50 characters, as the server wants."""
        return self._options.title or f"gtloop {self._context.run}".strip()[:50]

    def _check(self, project: dict[str, Any]) -> None:
        """Bring the project in line with form and options."""
        changes: dict[str, Any] = {}
        if project["skip_queue"] != _SKIP[self._options.skipped]:
            changes["skip_queue"] = _SKIP[self._options.skipped]
        form = forms.check(self._context.form)
        parsed = project["parsed_label_config"] or {}
        if any(
            p.name not in parsed or set(forms.labels(p)) - set(parsed[p.name].get("labels") or ())
            for p in form.primitives
        ):
            changes["label_config"] = forms.configuration(form)
        if changes:
            self._service.call("PATCH", f"/api/projects/{project['id']}/", json=changes)
