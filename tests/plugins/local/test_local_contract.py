"""Annotator ``local`` keeps the contract, with people who answer over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from deskparts import PEOPLE, Visitor, links_of, page, row_of

from gtloop.interfaces import Annotator
from gtloop.records import Request
from gtloop.testing import AnnotatorContract
from gtloop.testing.fakes import tiny_truth
from gtloop_plugins.annotators.local import Local


class TestLocal(AnnotatorContract):
    plugin = Local
    options = {"people": PEOPLE}

    def play_people(self, annotator: Annotator, requests: Sequence[Request], workdir: Path) -> None:
        """Everybody does what there is for them, by what they see."""
        assert isinstance(annotator, Local)
        assert annotator.context.task is not None
        truths = tiny_truth(annotator.context.task.name)
        assert truths is not None
        items = [r.item for r in requests]
        with page(annotator) as browser:
            for name in PEOPLE:
                visitor = Visitor(browser(), links_of(annotator)[name])
                while (found := visitor.next())["state"] == "task":
                    seen = visitor.get(found["task"]["image"])
                    said = visitor.say(found["task"]["id"], truths[row_of(seen.content, items)])
                    assert said.status_code == 200, said.text


def test_names_come_as_a_list_or_with_commas_and_in_one_role_each() -> None:
    assert Local.Options(people="anna, ben").people == ("anna", "ben")
    assert Local.Options(people=["anna, PhD"]).people == ("anna, PhD",)
    for wrong in ({"people": "anna,,ben"}, {"people": "anna,anna"}, {"people": ["anna"], "reviewers": ["anna"]}):
        with pytest.raises(ValueError, match=r"distinct|in people and in reviewers"):
            Local.Options(**wrong)
