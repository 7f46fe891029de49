"""What strangers, other people and hostile text can't do. The application is whole; only the socket is missing."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, NoReturn

import pytest
from deskparts import BOX, HOST, Visitor, gather, links_of, make_local, make_requests, page, site_of

from gtloop.errors import SourceError
from gtloop.interfaces import Form, Primitive, Sample
from gtloop_plugins.annotators.local import Local, pictures
from gtloop_plugins.annotators.local.guard import HEADERS, Limiter
from gtloop_plugins.annotators.local.server import guarded
from gtloop_plugins.annotators.local.site import Address
from gtloop_plugins.annotators.local.tokens import Tokens

HOSTILE = "</script><img src=x onerror=alert(1)>"


class Place(NamedTuple):
    local: Local
    browser: Callable[[], Any]
    links: dict[str, str]

    def visitor(self, who: str) -> Visitor:
        return Visitor(self.browser(), self.links[who])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    local = make_local(tmp_path, people=("anna", "ben", HOSTILE), reviewers=("rita",))
    local.submit(make_requests(tmp_path, 6))
    with page(local) as browser:
        yield Place(local, browser, links_of(local))


def code(response: Any) -> tuple[int, str]:
    said = response.json()
    assert set(said) == {"error", "code"}
    assert "\n" not in said["error"]
    return response.status_code, said["code"]


READS = ("/api/form", "/api/progress", "/api/dashboard", "/image/" + "0" * 32, "/sample/0")
WRITES = ("next", "submit", "draft", "renew", "release", "people", "people/w-1/link", "people/w-1/revoke", "run/pause")


def test_nothing_without_a_session(place: Place) -> None:
    stranger = place.browser()
    for path in READS:
        assert code(stranger.get(path)) == (401, "signed_out")
    for path in WRITES:
        assert code(stranger.post(f"/api/{path}", json={})) == (401, "signed_out")
    for path in ("/", "/dashboard", "/frame/abc"):
        found = stranger.get(path)
        assert (found.status_code, "personal link" in found.text) == (401, True)


def test_forged_expired_and_revoked_links(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    token = place.links["anna"].rsplit("/", 1)[1]
    other = Tokens("another secret", 30).link("w-1", 0)
    session = Tokens(place.local._database.secret, 30)._sign("session", ["w-1", 0, "x"])
    for bad in (token[:-2] + "xx", other, session, "x", "é", "." * 500, ""):
        found = place.browser().post("/join", data={"token": bad})
        assert found.status_code == 401
        assert "set-cookie" not in found.headers
        assert place.browser().get(f"/join/{bad or '%20'}").status_code == 401
    now = time.time()
    with monkeypatch.context() as m:
        m.setattr(time, "time", lambda: now + 31 * 86_400)
        assert place.browser().post("/join", data={"token": token}).status_code == 401
    anna, owner = place.visitor("anna"), place.visitor("dashboard")
    assert anna.get("/api/form").status_code == 200
    person = next(p for p in owner.get("/api/dashboard").json()["desk"]["people"] if p["name"] == "anna")
    assert owner.post(f"/api/people/{person['id']}/revoke").status_code == 200
    assert code(anna.get("/api/form")) == (401, "signed_out")
    assert anna.get("/").status_code == 401
    assert place.browser().post("/join", data={"token": token}).status_code == 401
    fresh = owner.post(f"/api/people/{person['id']}/link").json()
    assert Visitor(place.browser(), fresh["link"]).get("/api/form").status_code == 200
    assert place.browser().post("/join", data={"token": token}).status_code == 401


def test_the_cookie_is_for_this_server_and_no_script(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    with page(local) as browser:
        cookie = Visitor(browser(), links_of(local)["me"]).joined.headers["set-cookie"]
        assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
    address = Address("127.0.0.1", 8765, "https://label.example.org")
    from starlette.testclient import TestClient

    client = TestClient(guarded(local.site(address)), base_url="https://label.example.org", follow_redirects=False)
    joined = client.post("/join", data={"token": links_of(local)["me"].rsplit("/", 1)[1]})
    assert "Secure" in joined.headers["set-cookie"].split("; ")


def test_nobody_reaches_what_others_have(place: Place) -> None:
    anna, ben = place.visitor("anna"), place.visitor("ben")
    mine = anna.task()
    assert ben.task()["id"] != mine["id"]
    assert anna.post("/api/draft", {"task": mine["id"], "draft": {"secret": 1}}).status_code == 200
    assert ben.get(mine["image"]).status_code == 404
    assert code(ben.say(mine["id"])) == (404, "unknown_task")
    assert code(ben.post("/api/draft", {"task": mine["id"], "draft": {}})) == (404, "unknown_task")
    assert ben.post("/api/renew", {"tasks": [mine["id"]]}).json() == {"lost": [mine["id"]]}
    ben.post("/api/release", {"tasks": [mine["id"]]})
    assert anna.task()["draft"] == {"secret": 1}
    assert ben.get(f"/frame/{mine['id']}").status_code == 404
    assert anna.get(mine["image"]).status_code == 200
    for visitor in (anna, place.visitor("rita")):
        assert code(visitor.get("/api/dashboard")) == (403, "owner_only")
        assert code(visitor.post("/api/people", {"name": "x"})) == (403, "owner_only")
        assert code(visitor.post("/api/run/pause")) == (403, "owner_only")
        assert visitor.get("/dashboard").status_code == 403
    assert place.visitor("rita").next()["state"] == "wait"  # nothing to review


def test_ids_and_bodies_tell_nothing_of_files_requests_or_people(place: Place, tmp_path: Path) -> None:
    anna = place.visitor("anna")
    task = anna.task()
    seen = json.dumps(task) + json.dumps(anna.get("/api/form").json()) + str(anna.get(task["image"]).headers)
    for telling in ("tiny", str(tmp_path), "request-", "w-"):
        assert telling not in seen


@pytest.mark.parametrize(
    "path",
    [
        "/image/../../etc/passwd",
        "/image/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/image/..%5c..%5cetc",
        "/image/%00",
        "/sample/-1",
        "/sample/99999999999999999999",
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static//etc/passwd",
        "/static/%00",
        "/frame/..%2f..",
        "/join/..%2f..%2fetc%2fpasswd",
    ],
)
def test_traversal_finds_nothing(place: Place, path: str) -> None:
    found = place.visitor("anna").get(path)
    assert 400 <= found.status_code < 500
    assert "root:" not in found.text
    assert "def " not in found.text


def test_changes_need_the_token_json_and_this_site(place: Place) -> None:
    anna, ben = place.visitor("anna"), place.visitor("ben")
    task = anna.task()["id"]
    body = {"task": task, "outcome": "label", "payload": BOX}
    token = {"X-CSRF-Token": anna.csrf}
    submit = anna.http.post
    assert code(submit("/api/submit", json=body)) == (403, "bad_csrf")
    assert code(submit("/api/submit", json=body, headers={"X-CSRF-Token": ben.csrf})) == (403, "bad_csrf")
    assert code(submit("/api/submit", json=body, headers={"X-CSRF-Token": "é".encode()})) == (403, "bad_csrf")
    for origin in ("https://evil.example", "null", f"https://{HOST}", f"http://{HOST}.evil.example"):
        assert code(submit("/api/submit", json=body, headers={**token, "Origin": origin})) == (403, "other_origin")
    assert code(submit("/api/submit", data={"task": task}, headers=token)) == (400, "not_json")
    plain = {**token, "Content-Type": "text/plain"}
    assert code(submit("/api/submit", content=json.dumps(body), headers=plain)) == (400, "not_json")
    assert gather(place.local)[0] == []
    assert submit("/api/submit", json=body, headers={**token, "Origin": f"http://{HOST}"}).status_code == 200
    evil = {"token": place.links["anna"].rsplit("/", 1)[1]}
    assert place.browser().post("/join", data=evil, headers={"Origin": "https://evil.example"}).status_code == 403
    assert place.browser().post("/join", data=evil, headers={"Origin": "null"}).status_code == 303  # under no-referrer


@pytest.mark.parametrize(
    ("listening", "host", "fine"),
    [
        ("127.0.0.1", "127.0.0.1:8765", True),
        ("127.0.0.1", "localhost:8765", True),
        ("127.0.0.1", "LOCALHOST:8765", True),
        ("127.0.0.1", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1:80", False),
        ("127.0.0.1", "evil.example:8765", False),
        ("127.0.0.1", "10.0.0.7:8765", False),
        ("127.0.0.1", "", False),
        ("0.0.0.0", "10.0.0.7:8765", True),
        ("0.0.0.0", "[fe80::1]:8765", True),
        ("0.0.0.0", "evil.example:8765", False),
        ("0.0.0.0", "10.0.0.7.evil.example:8765", False),
    ],
)
def test_hosts(place: Place, listening: str, host: str, fine: bool) -> None:
    from starlette.testclient import TestClient

    client = TestClient(guarded(place.local.site(Address(listening, 8765))))
    found = client.get("/static/icon.svg", headers={"Host": host})
    assert (found.status_code != 403) == fine
    assert Address("0.0.0.0", 1, "https://l.example").answers_to("l.example")


def test_hostile_text_comes_out_as_text(tmp_path: Path, place: Place) -> None:
    visitor = place.visitor(HOSTILE)
    assert HOSTILE not in visitor.get("/").text
    assert "&lt;img" in visitor.get("/").text
    for link in (place.links[HOSTILE], f"http://{HOST}/join/{HOSTILE}"):
        assert HOSTILE not in visitor.get(link).text
    form = Form(
        task="t", instructions=HOSTILE, primitives=(Primitive(kind="choice", name="c", categories=(HOSTILE, "ok")),)
    )
    local = make_local(tmp_path / "other", form=form)
    with page(local) as browser:
        me = Visitor(browser(), links_of(local)["me"])
        assert HOSTILE not in me.get("/").text
        told = me.get("/api/form")
        assert told.headers["content-type"] == "application/json"
        assert told.json()["instructions"] == HOSTILE


def test_own_html_is_a_sandboxed_page(tmp_path: Path) -> None:
    html = "<script>fetch('/api/form')</script>"
    form = Form(task="t", instructions="", primitives=(Primitive(kind="html", name="own", html=html),))
    local = make_local(tmp_path, form=form)
    local.submit(make_requests(tmp_path, 1))
    with page(local) as browser:
        me = Visitor(browser(), links_of(local)["me"])
        task = me.task()
        frame = me.get(f"/frame/{task['id']}")
        assert frame.text == html
        policy = frame.headers["content-security-policy"].split("; ")
        assert {"sandbox allow-scripts", "default-src 'none'", "frame-ancestors 'self'"} <= set(policy)
        assert not any("connect-src" in p or "allow-same-origin" in p for p in policy)
        assert me.say(task["id"], {"anything": [1, {"at": "all"}]}).status_code == 200


def test_every_response_has_the_headers(place: Place) -> None:
    anna = place.visitor("anna")
    task = anna.task()
    responses = {
        "page": anna.get("/"),
        "join": anna.get(place.links["anna"]),
        "missing page": anna.get("/nope"),
        "missing api": anna.get("/api/nope"),
        "wrong method": anna.http.put("/api/form", headers={"X-CSRF-Token": anna.csrf}, json={}),
        "form": anna.get("/api/form"),
        "image": anna.get(task["image"]),
        "refused": anna.say(task["id"], {"boxes": "no"}),
        "malformed": anna.http.post(
            "/api/next", content="{", headers={"X-CSRF-Token": anna.csrf, "Content-Type": "application/json"}
        ),
        "stranger": place.browser().get("/"),
        "static": anna.get("/static/icon.svg"),
        "no static": anna.get("/static/nope"),
        "host": anna.get("/", headers={"Host": "evil.example"}),
        "head": anna.http.head("/nope"),
    }
    for name, response in responses.items():
        assert response.status_code != 500, name
        for header, value in HEADERS.items():
            assert response.headers[header] == value, (name, header)
        cache = "private, no-cache" if name == "image" else "no-cache" if "static" in name else "no-store"
        assert response.headers["cache-control"] == cache, name


def test_a_fault_is_one_line_with_the_headers_and_logged(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    anna = place.visitor("anna")
    monkeypatch.setattr("gtloop_plugins.annotators.local.figures.progress", lambda *_: 1 / 0)
    found = anna.get("/api/progress")
    assert code(found) == (500, "fault")
    assert "Zero" not in found.text
    assert found.headers["content-security-policy"] == HEADERS["content-security-policy"]
    assert "ZeroDivisionError" in caplog.text


def test_too_large_and_malformed_bodies(place: Place) -> None:
    anna = place.visitor("anna")
    task = anna.task()["id"]
    headers = {"X-CSRF-Token": anna.csrf, "Content-Type": "application/json"}

    def send(path: str, data: bytes, **more: str) -> tuple[int, str]:
        return code(anna.http.post(path, content=data, headers={**headers, **more}))

    assert send("/api/next", b" " * (65 << 10)) == (413, "too_large")
    assert send("/api/submit", b" " * (1100 << 10)) == (413, "too_large")
    assert send("/api/next", b"{}", **{"Content-Length": "9" * 400})[0] == 413

    def drip() -> Iterator[bytes]:
        for _ in range(2000):
            yield b" " * 1024

    found = anna.http.post("/api/draft", content=drip(), headers=headers)
    assert found.status_code == 413
    for bad in (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"holding": [1]}', b'{"holding": ["../x"]}', b"[" * 60_000):
        assert send("/api/next", bad)[0] in (400, 422), bad
    head = f'{{"task": "{task}", "outcome": "label", "active_seconds": 1, "payload": '.encode()
    for bad in (
        b"1}",
        b"null}",
        b'{"boxes": [{"category": "crate", "xyxy": [NaN, 1, 2, 3]}]}}',
        b'{"boxes": [{"category": "crate", "xyxy": [0, 0, 1e400, 3]}]}}',
        b'{"boxes": [{"category": "crate", "xyxy": [5, 5, 1, 1]}]}}',
        b'{"boxes": [{"category": "crate", "xyxy": [0, 0, 999, 9]}]}}',
        b'{"boxes": [{"category": "crate\\ud800", "xyxy": [0, 0, 9, 9]}]}}',
        b'{"boxes": [], "more": 1}}',
        b'{"boxes": [' + b'{"category": "crate", "xyxy": [0, 0, 9, 9]},' * 6000 + b"0]}}",
        b'{"boxes": ' + b"[" * 5000 + b"]" * 5000 + b"}}",
        b'{"boxes": ' + b"9" * 9000 + b"}}",
    ):
        assert send("/api/submit", head + bad)[0] in (400, 422), bad[:80]
    for bad in (b"NaN", b"[" * 900 + b"]" * 900, b'"\\ud800"'):
        data = f'{{"task": "{task}", "draft": {{"x": '.encode() + bad + b"}}"
        assert anna.http.post("/api/draft", content=data, headers=headers).status_code in (200, 400, 422)
    assert gather(place.local)[0] == []
    for outcome, payload in (("wrong", None), ("label", None), ("empty", BOX), ("declined", BOX)):
        assert anna.say(task, payload, outcome).status_code == 422
    assert anna.say(task, None, "empty").status_code == 200


def test_the_rate_is_limited_for_each_session(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("gtloop_plugins.annotators.local.guard.time", SimpleNamespace(monotonic=lambda: now[0]))
    limiter = Limiter(rate=20, burst=60)
    assert [limiter.allows("a") for _ in range(61)] == [True] * 60 + [False]
    assert limiter.allows("b")
    now[0] += 0.06
    assert limiter.allows("a")
    from starlette.testclient import TestClient

    client = TestClient(guarded(site_of(place.local)), base_url=f"http://{HOST}")
    found = [client.get("/api/form") for _ in range(80)]
    assert {r.status_code for r in found} == {401, 429}
    assert code(found[-1]) == (429, "too_fast")


def test_only_images_of_submitted_requests_and_samples_are_served(tmp_path: Path) -> None:
    requests = make_requests(tmp_path, 2)
    form = make_local(tmp_path / "x").context.form
    assert form is not None
    sample = Sample(path=requests[1].item.uri, caption="so")
    local = make_local(tmp_path, form=form.model_copy(update={"samples": (sample,)}))
    local.submit(requests[:1])
    with page(local) as browser:
        me = Visitor(browser(), links_of(local)["me"])
        assert me.get("/api/form").json()["samples"] == [{"url": "/sample/0", "caption": "so", "good": True}]
        assert me.get("/sample/0").status_code == 200
        assert me.get("/sample/1").status_code == 404
        for guess in (requests[1].item.id, requests[1].item.uri, requests[1].item.name):
            assert me.get(f"/image/{guess}").status_code == 404


def test_a_bucket_that_can_not_be_reached_is_no_fault_and_names_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = make_local(tmp_path)
    local.submit(make_requests(tmp_path, 1))
    with page(local) as browser:
        me = Visitor(browser(), links_of(local)["me"])
        first = me.task()

        def away(uri: str) -> NoReturn:
            raise SourceError(f"s3://bucket/cats/{uri} can't be read now")

        monkeypatch.setattr(pictures, "header", away)
        answer = me.get(first["image"])
        assert code(answer) == (503, "images_away")
        assert "cats" not in answer.text
        monkeypatch.undo()
        assert me.get(first["image"]).status_code == 200


def test_an_image_that_vanished_is_passed_over(tmp_path: Path) -> None:
    local = make_local(tmp_path)
    requests = make_requests(tmp_path, 2)
    local.submit(requests)
    with page(local) as browser:
        me = Visitor(browser(), links_of(local)["me"])
        first = me.task()
        Path(requests[0].item.uri).unlink()
        assert code(me.get(first["image"])) == (404, "image_gone")
        second = me.task()
        assert me.get(second["image"]).status_code == 200
        assert me.say(second["id"]).status_code == 200
        waiting = me.next()
        assert waiting["state"] == "wait"
        assert re.search("1 image can't be read", waiting["why"])
        assert me.say(first["id"], None, "declined").status_code == 200
        assert [c.reason for c in gather(local)[1]] == ["complete", "declined"]
