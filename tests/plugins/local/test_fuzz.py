"""Whatever is sent to any route of the OpenAPI description: no fault, and nothing that was not announced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from deskparts import HOST, Visitor, gather, links_of, make_local, make_requests, page, site_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from gtloop_plugins.annotators.local import Local
from gtloop_plugins.annotators.local.server import make_app

STATUSES = {200, 400, 401, 403, 404, 405, 409, 413, 422}


@pytest.fixture(scope="module")
def visitors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, list[Visitor], Local]]:
    folder = tmp_path_factory.mktemp("fuzz")
    local = make_local(folder)
    local.submit(make_requests(folder, 8, answers=3))
    site = site_of(local)
    with page(local, site) as browser:
        links = links_of(local)
        yield make_app(site).openapi(), [Visitor(browser(), links[who]) for who in ("me", "dashboard")], local


@pytest.mark.slow
def test_no_request_makes_a_fault(visitors: tuple[Any, list[Visitor], Local]) -> None:
    description, people, local = visitors
    operations = [found.ok() for found in schemathesis.openapi.from_dict(description).get_all_operations()]
    assert len(operations) >= 11
    for operation in operations:

        @settings(
            max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
        )
        @given(
            case=st.one_of(operation.as_strategy(generation_mode=mode) for mode in GenerationMode), known=st.booleans()
        )
        def send(case: Any, known: bool) -> None:
            for visitor in people:
                _send(visitor, case, known)

        send()
    assert gather(local)[0], "nothing that was sent was an answer"


def _send(visitor: Visitor, case: Any, known: bool) -> None:
    """Send what was drawn, with the task that the person has where ``known``."""
    if known and isinstance(case.body, dict) and "task" in case.body:
        now = visitor.next()
        case.body["task"] = now["task"]["id"] if now["state"] == "task" else "0"
    drawn = case.as_transport_kwargs(base_url=f"http://{HOST}")
    kept = {k: drawn[k] for k in ("method", "url", "params", "json") if drawn.get(k) is not None}
    if "json" not in kept and drawn.get("data") is not None:
        kept["content"] = drawn["data"]
    headers = {"Content-Type": "application/json", "X-CSRF-Token": visitor.csrf}
    found = visitor.http.request(**kept, headers=headers)
    assert found.status_code in STATUSES, (found.status_code, found.text)
    assert found.status_code == 200 or set(found.json()) == {"error", "code"}


def test_the_description_has_every_route(visitors: tuple[Any, list[Visitor], Local]) -> None:
    routes = set(visitors[0]["paths"])
    assert {"/api/next", "/api/submit", "/api/draft", "/api/people/{person}/revoke"} <= routes
