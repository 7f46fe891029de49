"""The annotator keeps gtloop's contract, with people who are played through a real server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from gtloop.interfaces import Annotator
from gtloop.records import Request
from gtloop.testing import AnnotatorContract, checks_annotator
from gtloop.testing.fakes import tiny_truth
from studio import Server

from gtloop_labelstudio import writing
from gtloop_labelstudio.annotator import LabelStudio

_SERVER: list[Server] = []
PATIENCE_S = 120.0


@pytest.fixture(scope="module", autouse=True)
def _server(studio: Server) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABEL_STUDIO_API_KEY", studio.owner.personal)
        # A look is several calls of a real server: on a busy machine it may take longer than the checks' usual limits.
        patch.setattr(checks_annotator, "PATIENCE_S", PATIENCE_S)
        patch.setattr(checks_annotator, "SLACK_S", PATIENCE_S)
        _SERVER.append(studio)
        yield
        _SERVER.clear()


class TestLabelStudio(AnnotatorContract):
    plugin = LabelStudio

    def options_for(self, folder: Path, task: str) -> Mapping[str, Any]:
        return {"url": _SERVER[0].url, "poll_s": 0, "image_url": "http://127.0.0.1:1/{name}"}

    def play_people(self, annotator: Annotator, requests: Sequence[Request], workdir: Path) -> None:
        """Everybody takes what the server offers; who may not answer does so too, and then somebody else is asked."""
        self._play(annotator, requests, workdir)
        if any(r.exclude_workers for r in requests):
            books = cast(LabelStudio, annotator)._books
            end, cursor = time.monotonic() + PATIENCE_S, ""
            while time.monotonic() < end and (not books.asked[requests[0].id].void or books.orders()):
                cursor = annotator.collect(cursor, 0.5).cursor
            self._play(annotator, requests, workdir)

    def _play(self, annotator: Annotator, requests: Sequence[Request], workdir: Path) -> None:
        books = [json.loads(line) for line in (workdir / "labelstudio.jsonl").read_text().splitlines()]
        project = next(entry["project"] for entry in books if "project" in entry)
        form = annotator.context.form
        assert form is not None
        truth = cast(list[Any], tiny_truth(form.task, 10))
        rows = {r.id: r.item.row for r in requests}
        for number in range(1, 6):
            person = _SERVER[0].person(number)
            while (task := person.next(project)) is not None:
                row = rows[task["meta"]["gtloop_request"]]
                person.annotate(task["id"], writing.write(truth[row], form, (96, 64)))
