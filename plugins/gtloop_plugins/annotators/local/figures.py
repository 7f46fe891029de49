"""Figures of the desk: somebody's progress, who works how fast, answers a minute."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gtloop_plugins.annotators.local.database import Database
    from gtloop_plugins.annotators.local.people import Person

ACTIVE_S = 120.0
"""Seconds for which somebody who was there counts as being there."""
MINUTES = 60
RECENT = 200
"""Answers that a median time is taken of."""

MINE = """SELECT count(*), count(CASE WHEN at >= :today THEN 1 END), coalesce(sum(seconds), 0.0),
    coalesce(sum(CASE WHEN at >= :today THEN seconds END), 0.0) FROM answer
    WHERE worker = :me AND outcome <> 'declined'"""
BATCH = """SELECT coalesce(sum(CASE WHEN state = 'open' THEN want - got END), 0), coalesce(sum(want), 0) FROM request
    WHERE batch >= (SELECT min(batch) FROM request WHERE state = 'open')"""


def progress(database: Database, person: str) -> dict[str, Any]:
    """What one person has done, and what the open batch still wants."""
    with database.read() as c:
        mine, today, seconds, seconds_today = c.exec_driver_sql(MINE, {"me": person, "today": _today()}).one()
        left, total = c.exec_driver_sql(BATCH).one()
    return {
        "mine": mine,
        "today": today,
        "seconds": round(seconds, 1),
        "per_hour": _pace(today, seconds_today),
        "left": left,
        "total": total,
    }


def people(database: Database, everybody: Sequence[Person]) -> list[dict[str, Any]]:
    """A row for each person, for the dashboard."""
    with database.read() as c:
        return [_row(c, person) for person in everybody]


def throughput(database: Database) -> list[dict[str, Any]]:
    """Answers in each of the last 60 minutes, oldest first."""
    this = datetime.now(UTC).replace(second=0, microsecond=0)
    minutes = [this - timedelta(minutes=MINUTES - 1 - n) for n in range(MINUTES)]
    query = "SELECT at FROM answer WHERE at >= ? AND outcome <> 'declined'"
    with database.read() as c:
        found = Counter(at[:16] for (at,) in c.exec_driver_sql(query, (_stamp(minutes[0]),)))
    return [{"at": m.isoformat(), "answers": found[m.isoformat()[:16]]} for m in minutes]


def hours(database: Database) -> float:
    """Active hours of all people together."""
    with database.read() as c:
        seconds: float = c.exec_driver_sql("SELECT coalesce(sum(seconds), 0.0) FROM answer").scalar_one()
    return round(seconds / 3600, 3)


def _row(c: Connection, person: Person) -> dict[str, Any]:
    answers, today, _, seconds = c.exec_driver_sql(MINE, {"me": person.id, "today": _today()}).one()
    query = "SELECT seconds FROM answer WHERE worker = ? AND outcome <> 'declined' ORDER BY at DESC LIMIT ?"
    recent = [s for (s,) in c.exec_driver_sql(query, (person.id, RECENT))]
    return {
        "id": person.id,
        "name": person.name,
        "role": person.role,
        "answers": answers,
        "today": today,
        "per_hour": _pace(today, seconds),
        "median_s": round(median(recent), 1) if recent else None,
        "last_seen": None if person.seen is None else _stamp(datetime.fromtimestamp(person.seen, UTC)),
        "active": person.seen is not None and time.time() - person.seen < ACTIVE_S,
        "blocked": "revoked" if person.revoked else person.blocked,
    }


def _pace(answers: int, seconds: float) -> float:
    """Answers in an hour of work; 0 where nothing was measured."""
    return round(3600 * answers / seconds, 1) if seconds else 0.0


def _today() -> str:
    """When this day began here, as answers are stamped."""
    start = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    return _stamp(start.astimezone(UTC))


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")
