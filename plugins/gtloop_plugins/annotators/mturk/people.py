"""Who may not work: people whom a run has asked to stop, and those who know an image already.

Both are kept out by private qualifications that nobody may have (``DoesNotExist``). That is milder than Amazon's
``CreateWorkerBlock``, which counts against a person everywhere and may end their account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gtloop import keyed
from gtloop.records import Request
from gtloop_plugins.annotators.mturk.books import Books
from gtloop_plugins.annotators.mturk.service import Refused, Service


class Gate:
    """Qualifications of this run that keep people out."""

    def __init__(self, service: Service, books: Books) -> None:
        self._service, self._books = service, books

    def closed_to(self, request: Request, part: int) -> tuple[str, ...]:
        """Qualifications whose holders may not work on a HIT of a request."""
        known = set(request.exclude_workers)
        if part > 1:
            known |= self._books.answered(request.id)
        return (self._qualification("no further work"), *self._group(known))

    def block(self, workers: Mapping[str, str]) -> None:
        """Give no more work to these; whoever is forgotten can't be told apart and is left alone."""
        qualification = self._qualification("no further work")
        for worker in workers:
            self._give(qualification, worker)

    def _group(self, workers: Iterable[str]) -> tuple[str, ...]:
        """The qualification of exactly these people; none where nobody is known by name."""
        named = sorted(w for w in workers if self._books.worker_id(w))
        if not named:
            return ()
        qualification = self._qualification(f"have seen it {keyed.digest(*named)}")
        if self._books.known(f"given {qualification}") is None:
            for worker in named:
                self._give(qualification, worker)
            self._books.fact(f"given {qualification}", "all")
        return (qualification,)

    def _give(self, qualification: str, worker: str) -> None:
        name = self._books.worker_id(worker)
        if name is not None:
            self._service.call(
                "associate_qualification_with_worker",
                QualificationTypeId=qualification,
                WorkerId=name,
                IntegerValue=1,
                SendNotification=False,
            )

    def _qualification(self, what: str) -> str:
        """The id of a qualification, made where there is none; names are unique in an account."""
        known = self._books.known(f"qualification {what}")
        if known is not None:
            return known
        name = f"gtloop {self._books.namespace}: {what}"
        try:
            made = self._service.call(
                "create_qualification_type",
                Name=name,
                Description="Kept by a labelling run for its own use; it can't be asked for.",
                QualificationTypeStatus="Active",
            )["QualificationType"]["QualificationTypeId"]
        except Refused:
            made = self._find(name)
            if made is None:
                raise
        return self._books.fact(f"qualification {what}", made)

    def _find(self, name: str) -> str | None:
        own: dict[str, Any] = {"MustBeRequestable": False, "MustBeOwnedByCaller": True, "Query": name}
        for found in self._service.pages("list_qualification_types", "QualificationTypes", **own):
            if found.get("Name") == name:
                return str(found["QualificationTypeId"])
        return None
