"""What people of a crowd do: images that are set aside for one person, all at once, for as long as they have."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from gtloop.records import Request

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gtloop_plugins.annotators.local.database import Database
    from gtloop_plugins.annotators.local.tokens import Tokens

FREE = """r.want - r.got - r.declines
    - (SELECT count(*) FROM lease l WHERE l.request = r.number AND l.person <> :me AND l.until > :now)"""
# Those that most people are still wanted for come first: then there are enough different ones for the last shift, too.
CHOOSE = f"""SELECT r.number, r.body FROM request r WHERE r.state = 'open'
    AND (r.deadline IS NULL OR r.deadline > :now) AND {FREE} > 0
    AND NOT EXISTS (SELECT 1 FROM answer a WHERE a.request = r.number AND a.worker = :me)
    AND NOT EXISTS (SELECT 1 FROM excluded e WHERE e.request = r.number AND e.person = :me)
    ORDER BY {FREE} DESC, r.number LIMIT :images"""
KEEP = """INSERT INTO lease (request, person, task, image, since, until)
    VALUES (:number, :me, :task, :image, :now, :until)
    ON CONFLICT (request, person) DO UPDATE SET until = excluded.until"""
FOUND = """SELECT s.id, s.person, s.note, s.begun, s.ends, i.request, r.id AS request_id, r.state, a.outcome
    FROM shift s JOIN shift_item i ON i.shift = s.id JOIN request r ON r.number = i.request
    LEFT JOIN answer a ON a.request = i.request AND a.worker = s.person WHERE {which}
    ORDER BY s.begun, s.id, i.request"""


class Shift(NamedTuple):
    """Who has which requests until when (seconds since 1970); ``answered`` of them are done, ``left`` can still be."""

    id: str
    person: str
    note: str
    begun: float
    ends: float
    requests: tuple[str, ...]
    answered: tuple[str, ...]
    left: tuple[str, ...]


class Shifts:
    """The shifts of one desk."""

    def __init__(self, database: Database, tokens: Tokens) -> None:
        self._database, self._tokens = database, tokens

    def begin(self, id: str, person: str, images: int, lasts_s: float, note: str = "") -> Shift | None:
        """Set images aside for a person; None: there are not so many for them. Where it has begun, nothing changes."""
        with self._database.write() as c:
            if (known := self._of(c, "s.id = ?", id)) is not None:
                return known if known.person == person else None
            now = time.time()
            at = {"me": person, "now": now, "until": now + lasts_s, "images": images}
            chosen = c.exec_driver_sql(CHOOSE, at).all()
            if len(chosen) < images:
                return None
            c.exec_driver_sql(
                "INSERT INTO shift (id, person, note, begun, ends) VALUES (?, ?, ?, ?, ?)",
                (id, person, note, now, now + lasts_s),
            )
            for number, body in chosen:
                request = Request.model_validate_json(body)
                task = self._tokens.opaque("task", request.id, person)
                image = self._tokens.opaque("image", task, request.item.id)
                c.exec_driver_sql(KEEP, {**at, "number": number, "task": task, "image": image})
                c.exec_driver_sql("INSERT INTO shift_item VALUES (?, ?)", (id, number))
            return self._of(c, "s.id = ?", id)

    def last(self, person: str) -> Shift | None:
        """What somebody does now, or did last."""
        with self._database.read() as c:
            row = c.exec_driver_sql(
                "SELECT id FROM shift WHERE person = ? ORDER BY begun DESC, id LIMIT 1", (person,)
            ).first()
            return None if row is None else self._of(c, "s.id = ?", row.id)

    def of(self, request: str, person: str) -> str | None:
        """The id of the shift in which somebody has or had a request."""
        query = """SELECT s.id FROM request r JOIN shift_item i ON i.request = r.number JOIN shift s ON s.id = i.shift
            WHERE r.id = ? AND s.person = ? ORDER BY s.begun DESC LIMIT 1"""
        with self._database.read() as c:
            row = c.exec_driver_sql(query, (request, person)).first()
            return None if row is None else str(row.id)

    def running(self) -> list[Shift]:
        """Those that nobody has ended, in the order in which they began."""
        with self._database.read() as c:
            return _shifts(c.exec_driver_sql(FOUND.format(which="s.ended = 0")))

    def end(self, id: str) -> None:
        """Give what is not answered to others; ended again, nothing changes."""
        with self._database.write() as c:
            c.exec_driver_sql("UPDATE shift SET ended = 1 WHERE id = ?", (id,))
            c.exec_driver_sql(
                """UPDATE lease SET until = 0 WHERE until > 0 AND EXISTS (SELECT 1 FROM shift s JOIN shift_item i
                ON i.shift = s.id WHERE s.id = ? AND s.person = lease.person AND i.request = lease.request)""",
                (id,),
            )

    def free(self) -> list[int]:
        """For each request that could be given out now, to how many people."""
        query = f"""SELECT f FROM (SELECT r.number, {FREE} AS f FROM request r WHERE r.state = 'open'
            AND (r.deadline IS NULL OR r.deadline > :now)) AS found WHERE f > 0 ORDER BY number"""
        with self._database.read() as c:
            return [int(f) for (f,) in c.exec_driver_sql(query, {"me": "", "now": time.time()})]

    def _of(self, c: Connection, which: str, *values: str) -> Shift | None:
        found = _shifts(c.exec_driver_sql(FOUND.format(which=which), values))
        return found[0] if found else None


def _shifts(rows: Any) -> list[Shift]:
    found: dict[str, Shift] = {}
    for row in rows:
        s = found.setdefault(row.id, Shift(row.id, row.person, row.note, row.begun, row.ends, (), (), ()))
        answered = (row.request_id,) if row.outcome is not None else ()
        left = (row.request_id,) if row.outcome is None and row.state == "open" else ()
        found[row.id] = s._replace(
            requests=(*s.requests, row.request_id), answered=s.answered + answered, left=s.left + left
        )
    return list(found.values())
