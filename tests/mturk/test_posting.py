"""Posting: each request once, whatever happens; within the rules of the API and of the money."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from emulator.client import Process
from emulator.crew import look
from mturkkit import Start, build, crew, requests

from gtloop.errors import ConfigError, GtloopError, Unreachable, Unsupported
from gtloop.interfaces import Context, Quote
from gtloop.records import Item
from gtloop_plugins.annotators.mturk import Mturk
from gtloop_plugins.annotators.mturk.options import affordable
from gtloop_plugins.annotators.mturk.service import Refused

DAY = 86_400


def hits(emulator: Process) -> list[dict]:
    return emulator.rows("SELECT * FROM hit ORDER BY number")


def posts(emulator: Process) -> int:
    return int(emulator.ask("books")["calls"].get("CreateHITWithHITType ok", 0))


def age(workdir: Path, seconds: float) -> None:
    """Make what was tried before look older than it is."""
    with sqlite3.connect(workdir / "mturk.sqlite") as db:
        db.execute("UPDATE hit SET tried = tried - ? WHERE tried > 0", (seconds,))


def lose_hit_ids(workdir: Path) -> None:
    """Forget what Amazon answered, as when killed before it was written down."""
    with sqlite3.connect(workdir / "mturk.sqlite") as db:
        db.execute("UPDATE hit SET hit = NULL, posted = 0, type = ''")


def test_one_hit_with_n_assignments(start: Start, tmp_path: Path) -> None:
    emulator = start()
    annotator = build(tmp_path / "work", emulator, min_approval=95, countries=["US", "CA"], masters=True)
    annotator.submit(requests(tmp_path, 3, answers=5))
    posted = hits(emulator)
    assert [h["most"] for h in posted] == [5, 5, 5]
    assert [h["reward"] for h in posted] == [60_000] * 3
    assert [h["fee"] for h in posted] == [15_000] * 3, "20 % and 5 % for Masters"
    assert len({h["type"] for h in posted}) == 1, "one HIT type, so that workers see one queue"
    (kind,) = emulator.rows("SELECT body FROM hittype")
    assert '"000000000000000000L0"' in kind["body"]
    assert '"DiscoverPreviewAndAccept"' in kind["body"]
    assert "misfit" not in str(emulator.ask("books")["calls"])


@pytest.mark.parametrize(
    ("price", "answers", "masters", "expected"),
    [
        (0, 1, False, Quote(10_000, 10_000)),
        (1, 5, False, Quote(10_000, 10_000)),
        (36_000, 5, False, Quote(40_000, 10_000)),
        (60_000, 9, False, Quote(60_000, 12_000)),
        (60_000, 10, False, Quote(60_000, 24_000)),
        (70_000, 3, True, Quote(70_000, 17_500)),
        (1_000_000, 12, True, Quote(1_000_000, 450_000)),
    ],
)
def test_fees_of_the_price_list(
    start: Start, tmp_path: Path, price: int, answers: int, masters: bool, expected: Quote
) -> None:
    emulator = start()
    annotator = build(tmp_path / "work", emulator, price=price, masters=masters)
    assert annotator.quote(price, answers) == expected
    annotator.submit(requests(tmp_path, 1, answers=answers))
    (hit,) = hits(emulator)
    assert (hit["reward"], hit["fee"]) == expected, "the service's books have the same"


def test_no_more_is_posted_than_a_request_may_cost(start: Start, tmp_path: Path) -> None:
    emulator = start()
    build(tmp_path / "work", emulator, price=50_000).submit(requests(tmp_path, 1, max_price=2 * 60_000))
    dearer = build(tmp_path / "work", emulator, price=90_000)
    one, two = requests(tmp_path, 2, max_price=2 * 60_000)
    dearer.submit([one, two.model_copy(update={"id": "r9"})])
    assert [h["most"] * (h["reward"] + h["fee"]) for h in hits(emulator)] == [120_000, 120_000]
    poor = two.model_copy(update={"id": "poor", "max_price": 30_000})
    dearer.submit([poor])
    assert len(hits(emulator)) == 2
    assert [(c.request, c.delivered, c.reason) for c in dearer.collect("", 30).closed] == [("poor", 0, "declined")]
    assert affordable(90_000, 2, False, 30_000) is None


def test_growth_enlarges_the_hit(start: Start, tmp_path: Path) -> None:
    emulator = start(crew=crew())
    annotator = build(tmp_path / "work", emulator)
    (request,) = requests(tmp_path, 1, answers=2)
    annotator.submit([request])
    emulator.ask("work")
    first = annotator.collect("", 30)
    assert [c.delivered for c in first.closed] == [2]
    annotator.submit([request.model_copy(update={"answers": 6})])
    annotator.submit([request.model_copy(update={"answers": 6})])
    assert [h["most"] for h in hits(emulator)] == [6]
    emulator.ask("work")
    second = annotator.collect(first.cursor, 30)
    assert len({a.worker for a in (*first.answers, *second.answers)}) == 6
    assert [c.delivered for c in second.closed] == [6]


def test_growth_beyond_nine_takes_a_second_hit_that_others_answer(start: Start, tmp_path: Path) -> None:
    emulator = start(crew=crew(workers=30))
    annotator = build(tmp_path / "work", emulator)
    (request,) = requests(tmp_path, 1, answers=5)
    annotator.submit([request])
    emulator.ask("work", most=2)
    annotator.submit([request.model_copy(update={"answers": 12})])
    assert [h["most"] for h in hits(emulator)] == [9], "the second waits until all workers of the first are known"
    emulator.ask("work")
    got = annotator.collect("", 30)
    assert [h["most"] for h in hits(emulator)] == [9, 3]
    assert not got.closed
    emulator.ask("work")
    more = annotator.collect(got.cursor, 30)
    answers = [*got.answers, *more.answers]
    assert len({a.worker for a in answers}) == len(answers) == 12
    assert {(a.price, a.fee) for a in answers} == {(60_000, 12_000)}, "neither HIT has ten assignments"
    assert [c.delivered for c in more.closed] == [12]


def test_growth_of_a_large_hit_costs_its_fee(start: Start, tmp_path: Path) -> None:
    emulator = start(crew=crew(workers=30))
    annotator = build(tmp_path / "work", emulator)
    (request,) = requests(tmp_path, 1, answers=10)
    annotator.submit([request])
    annotator.submit([request.model_copy(update={"answers": 14})])
    assert [(h["most"], h["fee"]) for h in hits(emulator)] == [(14, 24_000)]


@pytest.mark.parametrize("lag_s", [0, 600])
def test_posted_but_not_written_down(start: Start, tmp_path: Path, lag_s: float) -> None:
    """Killed between Amazon's answer and the disk: the list of HITs has it, and where that lags, the token says so."""
    emulator = start(lag_s=lag_s)
    build(tmp_path / "work", emulator).submit(requests(tmp_path))
    known = hits(emulator)
    lose_hit_ids(tmp_path / "work")
    build(tmp_path / "work", emulator).submit(requests(tmp_path))
    assert hits(emulator) == known
    assert posts(emulator) == 3


def test_orphans_are_adopted_when_their_token_is_no_longer_good(start: Start, tmp_path: Path) -> None:
    emulator = start(shuffled=True)
    many = [r.model_copy(update={"id": f"{r.id}-{k}"}) for k in range(60) for r in requests(tmp_path)]
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(many)
    known = hits(emulator)
    assert len(known) == 180, "more than a page"
    lose_hit_ids(tmp_path / "work")
    emulator.ask("clock", advance_s=2 * DAY)
    age(tmp_path / "work", 2 * DAY)
    build(tmp_path / "work", emulator).submit(many)
    assert hits(emulator) == known


def test_a_post_that_never_arrived_is_made_after_days(start: Start, tmp_path: Path) -> None:
    """The intent is there, the HIT is not: once that is certain, it is posted with a new token."""
    emulator = start(faults={"share": 1.0, "seed": 0, "hang_s": 0})
    emulator.ask("plan", faults=None)
    annotator = build(tmp_path / "work", emulator, patience_s=0.2)
    emulator.kill()
    with pytest.raises(Unreachable):
        annotator.submit(requests(tmp_path, 1))
    emulator.start()
    emulator.ask("plan", faults=None)
    with sqlite3.connect(tmp_path / "work" / "mturk.sqlite") as db:
        db.execute("UPDATE hit SET tried = 1000.0")  # it was tried, long ago
    build(tmp_path / "work", emulator).submit(requests(tmp_path, 1))
    assert len(hits(emulator)) == 1


def test_a_lost_growth_is_not_made_twice(start: Start, tmp_path: Path) -> None:
    emulator = start()
    (request,) = requests(tmp_path, 1, answers=2)
    build(tmp_path / "work", emulator).submit([request])
    build(tmp_path / "work", emulator).submit([request.model_copy(update={"answers": 5})])
    with sqlite3.connect(tmp_path / "work" / "mturk.sqlite") as db:
        db.execute("UPDATE hit SET posted = 2")
    build(tmp_path / "work", emulator).submit([request])
    assert [h["most"] for h in hits(emulator)] == [5]


def test_another_run_is_not_taken_for_this_one(start: Start, tmp_path: Path) -> None:
    emulator = start()
    build(tmp_path / "one", emulator).submit(requests(tmp_path))
    build(tmp_path / "two", emulator).submit(requests(tmp_path))
    assert len(hits(emulator)) == 6
    assert len({h["annotation"] for h in hits(emulator)}) == 6


def test_cancel_expires_and_closes_when_nobody_is_at_work(start: Start, tmp_path: Path) -> None:
    emulator = start(crew=crew())
    annotator = build(tmp_path / "work", emulator)
    annotator.submit(requests(tmp_path, 2))
    first = hits(emulator)[0]["id"]
    taken = emulator.ask("accept", worker="AHUMAN", hit=first)
    annotator.cancel(["r0", "r1", "no-such"])
    got = annotator.collect("", 30)
    assert [(c.request, c.reason) for c in got.closed] == [("r1", "cancelled")], "somebody is still at work on r0"
    emulator.ask("submit", assignment=taken, answer="")
    more = annotator.collect(got.cursor, 30)
    assert [a.request for a in more.answers] == ["r0"], "who had accepted is heard, and paid"
    assert [(c.request, c.delivered, c.reason) for c in more.closed] == [("r0", 1, "cancelled")]


def test_cancelled_while_it_was_unknown_whether_it_was_posted(start: Start, tmp_path: Path) -> None:
    emulator = start()
    build(tmp_path / "work", emulator).submit(requests(tmp_path, 2))
    lose_hit_ids(tmp_path / "work")
    annotator = build(tmp_path / "work", emulator)
    annotator.cancel(["r0", "r1"])
    assert all(h["expires"] < 1.5e9 for h in hits(emulator))
    assert {c.reason for c in annotator.collect("", 30).closed} == {"cancelled"}


def wait_out(workdir: Path) -> None:
    """The time is over within which the list of HITs has whatever was posted."""
    with sqlite3.connect(workdir / "mturk.sqlite") as db:
        db.execute("UPDATE hit SET ends = 1 WHERE hit IS NULL AND withdrawn = 1")


@pytest.mark.parametrize("worked", [False, True])
def test_a_hit_that_is_listed_late_is_ended_and_its_work_is_heard(start: Start, tmp_path: Path, worked: bool) -> None:
    """Killed while it was posted, then cancelled: the list of HITs does not have it yet."""
    emulator = start(lag_s=600)
    build(tmp_path / "work", emulator).submit(requests(tmp_path, 1))
    (hit,) = hits(emulator)
    lose_hit_ids(tmp_path / "work")
    annotator = build(tmp_path / "work", emulator)
    for _ in range(2):
        annotator.cancel(["r0"])
    got = annotator.collect("", 30)
    assert got.closed == [], "it may be there"
    assert annotator._parts.books.worst_case() == 2 * 72_000
    if worked:
        emulator.ask("submit", assignment=emulator.ask("accept", worker="AHUMAN", hit=hit["id"]), answer="")
    emulator.ask("clock", advance_s=601)
    more = annotator.collect(got.cursor, 30)
    assert hits(emulator)[0]["expires"] < 1.5e9
    assert len(more.answers) == worked
    assert [(c.request, c.delivered, c.reason) for c in more.closed] == [("r0", worked, "cancelled")]
    assert annotator._parts.books.worst_case() == worked * 72_000


def test_cancelled_and_never_posted_closes_in_the_end(start: Start, tmp_path: Path) -> None:
    emulator = start(lag_s=600)
    build(tmp_path / "work", emulator).submit(requests(tmp_path, 1))
    emulator.ask("clock", advance_s=601)
    with sqlite3.connect(tmp_path / "work" / "mturk.sqlite") as db:
        db.execute("UPDATE hit SET hit = NULL, posted = 0, type = '', request = 'r1'")
        db.execute("UPDATE request SET id = 'r1'")  # Amazon has none of that name
    annotator = build(tmp_path / "work", emulator)
    annotator.cancel(["r1"])
    got = annotator.collect("", 30)
    assert got.closed == []
    wait_out(tmp_path / "work")
    more = annotator.collect(got.cursor, 30)
    assert [(c.request, c.delivered, c.reason) for c in more.closed] == [("r1", 0, "cancelled")]
    before = emulator.ask("books")["calls"]
    annotator.collect(more.cursor, 0.5)
    assert emulator.ask("books")["calls"] == before, "nothing is looked for any more"


def test_a_hit_that_was_given_up_and_turns_up_is_ended(start: Start, tmp_path: Path) -> None:
    emulator = start(lag_s=600)
    build(tmp_path / "work", emulator).submit(requests(tmp_path, 2))
    lose_hit_ids(tmp_path / "work")
    annotator = build(tmp_path / "work", emulator)
    annotator.cancel(["r0"])
    wait_out(tmp_path / "work")
    got = annotator.collect("", 30)
    assert [c.request for c in got.closed] == ["r0"]
    first, second = hits(emulator)
    emulator.ask("clock", advance_s=601)
    annotator.cancel(["r1"])
    more = annotator.collect(got.cursor, 30)
    assert [c.request for c in more.closed] == ["r1"], "each is closed once"
    assert {first["id"], second["id"]} == {h["id"] for h in hits(emulator) if h["expires"] < 1.5e9}


def test_cancelled_while_a_look_is_about_to_post(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that looks posts as well; what the driver has withdrawn meanwhile is not posted."""
    emulator = start()
    annotator = build(tmp_path / "work", emulator)
    plain = annotator._parts.posting._question.of

    def cancelling(request: Any) -> Any:
        build(tmp_path / "work", emulator).cancel([request.id])
        return plain(request)

    monkeypatch.setattr(annotator._parts.posting._question, "of", cancelling)
    annotator.submit(requests(tmp_path, 1))
    assert hits(emulator) == []
    assert [(c.request, c.reason) for c in annotator.collect("", 30).closed] == [("r0", "cancelled")]


# --------------------------------------------------------------------------------------------- check


def test_check_passes_and_posts_nothing(start: Start, tmp_path: Path) -> None:
    emulator = start()
    build(tmp_path / "work", emulator).check(9_999_000_000)
    assert set(emulator.ask("books")["calls"]) == {"GetAccountBalance ok"}


def test_check_says_in_one_line_what_is_lacking(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = start()
    with pytest.raises(ConfigError, match=r"has \$10,000.00, and this may cost \$10,000.01"):
        build(tmp_path / "a", emulator).check(10_000_010_000)
    with pytest.raises(ConfigError, match=r"image_url=https://HOST/\{name\}"):
        build(tmp_path / "b", emulator, image_url=None).check(1)
    long = build(tmp_path / "c", emulator)
    form = long.context.form
    assert form is not None
    page = form.model_copy(update={"instructions": "x" * 40_000})
    with pytest.raises(ConfigError, match="MTurk takes pages of 65,535 bytes"):
        Mturk(long.options, Context(**{**long.context.__dict__, "form": page})).check(1)
    twice = form.model_copy(update={"primitives": (*form.primitives, *form.primitives)})
    with pytest.raises(Unsupported, match="more at once"):
        Mturk(long.options, Context(**{**long.context.__dict__, "form": twice})).check(1)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="no AWS credentials: set AWS_PROFILE"):
        build(tmp_path / "d", emulator).check(1)
    with pytest.raises(ConfigError, match="profile"):
        build(tmp_path / "e", emulator, profile="nobody").check(1)


def test_images_at_urls_need_no_other(start: Start, tmp_path: Path) -> None:
    """Web addresses are given to workers as they are, those of S3 are signed; what they can't see is named."""
    emulator = start()
    plain = build(tmp_path / "a", emulator, image_url=None)

    def at(*uris: str, **options: Any) -> Mturk:
        given = plain.options.model_copy(update=options)
        return Mturk(given, dataclasses.replace(plain.context, uris=lambda: uris))

    web, s3 = "https://host/tiny_000.png?X-Amz-Signature=0", "s3://bucket/tiny_001.png"
    for some in ((web,), (s3,), (web, s3)):
        at(*some).check(1)
    with pytest.raises(ConfigError, match=r"can't see the images \(first: /here/b.png\).*image_url=https"):
        at(web, "/here/b.png").check(1)
    with pytest.raises(ConfigError, match=r"can't see the images: publish"):
        at().check(1)
    with pytest.raises(ConfigError, match=r"annotators.mturk: signed URLs of S3 end after 168 hours"):
        at(web, s3, lifetime_hours=170).check(1)
    at(web, lifetime_hours=170).check(1)
    asked = [
        r.model_copy(update={"item": r.item.model_copy(update={"uri": uri})})
        for r, uri in zip(requests(tmp_path, 2), (web, s3), strict=True)
    ]
    at(web, s3).submit(asked)
    one, two = (look(h["question"]).image for h in emulator.rows("SELECT question FROM hit ORDER BY number"))
    assert one == web
    assert "/tiny_001.png?" in two
    assert "Signature" in two


def test_unreachable_is_one_line(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = start()
    annotator = build(tmp_path / "work", emulator)
    emulator.kill()
    monkeypatch.setattr("gtloop_plugins.annotators.mturk.annotator.CHECK_S", 0.3)
    with pytest.raises(Unreachable, match="get_account_balance fails") as e:
        annotator.check(1)
    assert "\n" not in str(e.value)


def test_production_needs_the_dollars_said(start: Start, tmp_path: Path) -> None:
    emulator = start()

    def real(usd: float | None) -> Mturk:
        return build(tmp_path / "work", emulator, production=True, confirm_usd=usd)

    with pytest.raises(ConfigError, match=r"up to \$52.00 .*-o annotators.mturk.confirm_usd=52.00"):
        real(None).check(52_000_000)
    with pytest.raises(ConfigError, match=r"confirm_usd=52.00"):
        real(51.99).check(52_000_000)
    real(52).check(52_000_000)
    with pytest.raises(ConfigError, match=r"confirm_usd=0.29"):
        real(0.28).submit(requests(tmp_path, 2))
    assert hits(emulator) == []
    real(0.29).submit(requests(tmp_path, 2))
    with pytest.raises(ConfigError, match=r"confirm_usd=0.30"):
        real(0.29).check(10_000)
    assert len(hits(emulator)) == 2


def test_a_run_stays_in_its_market(start: Start, tmp_path: Path) -> None:
    emulator = start()
    build(tmp_path / "work", emulator).submit(requests(tmp_path, 1))
    other = build(tmp_path / "work", emulator, production=True, confirm_usd=99)
    with pytest.raises(ConfigError, match="has posted to an endpoint of one's own, not to production"):
        other.check(1)
    with pytest.raises(ConfigError, match="start another run"):
        other.submit(requests(tmp_path, 2))


def test_no_funds_stops_and_goes_on(start: Start, tmp_path: Path) -> None:
    emulator = start()
    emulator.ask("deposit", amount=300_000)
    annotator = build(tmp_path / "work", emulator)
    with pytest.raises(Refused, match="InsufficientFunds"):
        annotator.submit(requests(tmp_path, 3))
    assert len(hits(emulator)) == 2
    emulator.ask("deposit", amount=3_000_000)
    annotator.submit(requests(tmp_path, 3))
    assert len(hits(emulator)) == 3


def test_a_turned_image_needs_a_published_copy(start: Start, tmp_path: Path) -> None:
    from PIL import Image

    emulator = start()
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), (200, 10, 10)).save(path, exif=exif)
    item = Item(row=0, id="i0", name=path.name, uri=str(path), width=40, height=20, orientation=6)
    (request,) = requests(tmp_path, 1)
    turned = request.model_copy(update={"item": item})
    with pytest.raises(GtloopError, match=r"turned.jpg \(EXIF turns it\).*copies_url=https://HOST/\{name\}"):
        build(tmp_path / "work", emulator).submit([turned])
    with Image.open(tmp_path / "work" / "images" / "i0.jpg") as copy:
        assert copy.size == (20, 40)
        assert not copy.getexif().get(0x0112)
    build(tmp_path / "work", emulator, copies_url="https://copies.example/x/{name}").submit([turned])
    assert "https://copies.example/x/i0.jpg" in hits(emulator)[0]["question"]
