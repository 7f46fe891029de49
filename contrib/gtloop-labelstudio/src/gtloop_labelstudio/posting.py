"""Requests become tasks: one for each, imported once, whatever happens in between.

A task carries the id of its request in its ``meta``. Imports are all or nothing at the server. After one whose answer
was lost, or a process that died, the tasks of the project are looked through before anything is sent again; a twin that
turns up even later, because the server was still at work on it, is taken back, and what people answered there counts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from gtloop.errors import Unreachable
from gtloop.interfaces import Context
from gtloop.records import Request

from gtloop_labelstudio import forms, writing
from gtloop_labelstudio.books import Asked, Books, Order
from gtloop_labelstudio.options import LabelStudioOptions
from gtloop_labelstudio.pictures import Pictures, sized
from gtloop_labelstudio.projects import Projects
from gtloop_labelstudio.service import FINISH_S, Refused, Service, Unsure

REQUEST = "gtloop_request"
"""Key in the ``meta`` of a task."""
MODEL = "gtloop"
"""What predictions are said to come from; the project shows those of one name only."""


class Posting:
    """Sends what is asked and was not sent."""

    def __init__(self, options: LabelStudioOptions, context: Context, service: Service, books: Books) -> None:
        self._options, self._context, self._service, self._books = options, context, service, books
        self._projects = Projects(options, context, service, books)
        self._pictures = Pictures(options, service, books)

    def post(self) -> None:
        """Import what has no task, and let the server ask more people, or nobody any more, where that has changed.

        Raises:
            GtloopError: Posting stops here; asked again, it goes on.
        """
        waiting = self._books.unposted()
        if waiting:
            project = self._projects.open(waiting[0].request.answers)
            if self._books.tried:
                self._find(waiting[0], project)
            until = time.monotonic() + self._options.patience_s
            while waiting := self._books.unposted():
                try:
                    self._import(waiting[: self._options.chunk], project)
                    until = time.monotonic() + self._options.patience_s
                except Unsure as e:
                    if time.monotonic() > until:
                        raise Unreachable(str(e)) from None
                    self._find(waiting[0], project)
        self.settle()

    def settle(self) -> None:
        """Tell the server how many people each task still needs; also those that it may have made all the same."""
        lacking = next((a for a in self._books.asked.values() if a.task is None), None)
        if self._books.tried and self._books.project is not None and lacking is not None:
            self._find(lacking, self._books.project)
        for order in self._books.orders():
            self._books.write(tell(self._service, order))

    def _import(self, chunk: Sequence[Asked], project: int) -> None:
        addresses = self._pictures.addresses([a.request.item for a in chunk], project)
        tasks = [self._task(a.request, addresses[a.request.item.id]) for a in chunk]
        self._books.write({"sent": True})
        params = {"return_task_ids": "true"}
        made = self._service.once("POST", f"/api/projects/{project}/import", params=params, json=tasks)
        ids = zip(made["task_ids"], chunk, strict=True)
        self._books.write(*(self._posted(task, a.request.id) for task, a in ids), {"sent": False})

    def _posted(self, task: int, request: str) -> dict[str, Any]:
        return {"task": task, "request": request, "overlap": self._projects.overlap}

    def _find(self, first: Asked, project: int) -> None:
        """Give the server time to finish what it may still be doing; what it then does not have is to be sent again."""
        end = time.monotonic() + FINISH_S
        self._adopt(project)
        while first.task is None and time.monotonic() < end:
            time.sleep(0.5)
            self._adopt(project)
        self._books.write({"sent": False})

    def _adopt(self, project: int) -> None:
        """Write down tasks that were made, but whose ids never came."""
        newest = max(self._books.of_task, default=0)
        fresh = []
        for page in self._service.tasks(project, "id,meta,overlap", "id", newest):
            for task in page.tasks:
                request = (task["meta"] or {}).get(REQUEST)
                if request in self._books.asked and task["id"] not in self._books.of_task:
                    fresh.append({**self._posted(task["id"], request), "overlap": task["overlap"]})
        self._books.write(*fresh)

    def _task(self, request: Request, address: str) -> dict[str, Any]:
        task: dict[str, Any] = {"data": {forms.IMAGE: address}, "meta": {REQUEST: request.id}}
        if request.mode == "adjust" and request.proposal is not None:
            form = forms.check(self._context.form)
            result = writing.write(request.proposal, form, sized(request.item))
            task["predictions"] = [{"model_version": MODEL, "result": result}]
        return task


def tell(service: Service, order: Order) -> dict[str, Any]:
    """Have the server carry out an order; returns what is to be written down about it."""
    try:
        service.call("PATCH", f"/api/tasks/{order.task}/", json={"overlap": order.overlap, "is_labeled": order.over})
    except Refused as e:
        if e.status != 404:  # somebody deleted it by hand: nothing comes of it any more
            raise
    if order.twin:
        return {"retired_twin": order.task}
    return {"overlap": order.overlap, "request": order.request, "retired": order.over}
