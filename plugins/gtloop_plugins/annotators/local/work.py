"""The page's side of the desk: leases go out, answers come in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gtloop.ledger import now as timestamp
from gtloop.records import Item, Outcome, Payload, Request
from gtloop_plugins.annotators.local import closing
from gtloop_plugins.annotators.local.people import Person, admit, notice
from gtloop_plugins.annotators.local.refused import Refused

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gtloop_plugins.annotators.local.database import Database
    from gtloop_plugins.annotators.local.tokens import Claim, Tokens

HOLD = 2
"""Leases that one person may hold: the image in work, and one fetched ahead."""

MAY_DO = """r.state = 'open' AND (r.mode <> 'draw' OR :role <> 'reviewer')
    AND NOT EXISTS (SELECT 1 FROM answer a WHERE a.request = r.number AND a.worker = :me)
    AND NOT EXISTS (SELECT 1 FROM excluded e WHERE e.request = r.number AND e.person = :me)"""
IS_FREE = """r.got + (SELECT count(*) FROM lease l WHERE l.request = r.number AND l.person <> :me AND l.until > :now)
    < r.want"""
PICK = f"""SELECT r.number, r.body FROM request r WHERE {MAY_DO} AND {IS_FREE}
    AND (r.deadline IS NULL OR r.deadline > :now)
    AND r.number NOT IN ({{skip}}) ORDER BY r.number LIMIT 1"""
HELD = f"""SELECT r.number, l.task FROM lease l JOIN request r ON r.number = l.request
    WHERE l.person = :me AND l.until > :now AND {MAY_DO} ORDER BY l.since, l.request"""
ASSIGN = """INSERT INTO lease (request, person, task, image, since, until)
    VALUES (:number, :me, :task, :image, :now, :until)
    ON CONFLICT (request, person) DO UPDATE SET until = excluded.until RETURNING draft, since"""
RENEW = f"""UPDATE lease SET until = CASE WHEN until > :until THEN until ELSE :until END
    WHERE task = :task AND person = :me
    AND EXISTS (SELECT 1 FROM request r
        WHERE r.number = lease.request AND {MAY_DO} AND (lease.until > :now OR {IS_FREE}))
    AND (until > :now OR (SELECT count(*) FROM lease m WHERE m.person = :me AND m.until > :now) < {HOLD})"""
TASK = """SELECT r.number, r.body, l.task, l.image, l.since, l.draft
    FROM lease l JOIN request r ON r.number = l.request WHERE l.{key} = :value AND l.person = :me"""
STATE = """SELECT r.number, r.state, l.since, a.outcome, a.payload FROM lease l JOIN request r ON r.number = l.request
    LEFT JOIN answer a ON a.request = l.request AND a.worker = l.person WHERE l.task = :task AND l.person = :me"""
ANSWER = """INSERT INTO answer (request, worker, outcome, payload, seconds, price, at)
    VALUES (:number, :me, :outcome, :payload, :seconds, :price, :at)"""


class Task(NamedTuple):
    """A request in somebody's hands, under names that tell nothing."""

    number: int
    task: str
    image: str
    request: Request
    draft: Any
    since: float


class Idle(NamedTuple):
    """Why there is nothing to do.

    This person is ``blocked``, or is ``holding`` enough; what there is, is ``held`` by others; it is for ``others``,
    as this person has answered it or may not; or ``none`` is asked. The shift of a guest is ``over``.
    """

    state: Literal["blocked", "holding", "held", "others", "none", "over"]
    why: str = ""


class Said(NamedTuple):
    """What somebody answers."""

    outcome: Outcome
    payload: Payload | None
    seconds: float


Check = Callable[[Request, Outcome, Payload | None], Payload | None]


class Work:
    """Gives requests to people and takes their answers.

    Args:
        check: Makes a payload canonical; raises Refused where it does not fit the request.
        price: What one answer costs, micro-dollars.
    """

    def __init__(self, database: Database, tokens: Tokens, lease_s: float, check: Check, price: int) -> None:
        self._database, self._tokens, self._lease_s = database, tokens, lease_s
        self.check, self._price = check, price

    def next(self, claim: Claim, holding: Collection[str], skip: Collection[int] = ()) -> Task | Idle:
        """What a person is to do next: what they hold and the page does not show, else a new lease."""
        with self._database.write(durable=False) as c:
            person = admit(c, claim)
            notice(c, person)
            if person.blocked is not None:
                return Idle("blocked", why=person.blocked)
            at = self._at(person)
            for task in holding:
                c.exec_driver_sql(RENEW, {**at, "task": task})
            held = [row for row in c.exec_driver_sql(HELD, at) if row.number not in set(skip)]
            for row in held:
                if row.task not in holding:
                    c.exec_driver_sql(RENEW, {**at, "task": row.task})
                    return self._task(c, person, row.task)
            if person.role == "guest":
                return Idle("holding" if held else "over")
            if len(held) >= HOLD:
                return Idle("holding")
            return self._lease(c, person, at, [*skip, *(row.number for row in held)])

    def answer(self, claim: Claim, task: str, said: Said) -> None:
        """Take an answer; it is on disk when this returns. The same one again changes nothing.

        Raises:
            Refused: Unknown task, another answer before, too late, or it does not fit.
        """
        with self._database.read() as c:
            person = admit(c, claim)
            request = self._task(c, person, task).request
        # Outside the transaction: a mask of a large image takes a while.
        payload = _dump(self.check(request, said.outcome, said.payload))
        with self._database.write() as c:
            person = admit(c, claim)
            notice(c, person)
            self._take(c, person, task, said, payload)

    def draft(self, claim: Claim, task: str, draft: str) -> float:
        """Keep a draft (JSON) and the lease; returns the seconds that it lasts.

        Raises:
            Refused: Unknown task, or its lease has run out and others have it.
        """
        with self._database.write() as c:
            person = admit(c, claim)
            notice(c, person)
            found = self._task(c, person, task)
            if not c.exec_driver_sql(RENEW, {**self._at(person), "task": task}).rowcount:
                raise Refused(409, "lease_lost", "this image went to somebody else, or is done")
            c.exec_driver_sql(
                "UPDATE lease SET draft = ? WHERE request = ? AND person = ?", (draft, found.number, person.id)
            )
        return self._lease_s

    def renew(self, claim: Claim, tasks: Sequence[str]) -> list[str]:
        """Keep leases; returns those that are lost."""
        with self._database.write(durable=False) as c:
            person = admit(c, claim)
            notice(c, person)
            at = self._at(person)
            return [task for task in tasks if not c.exec_driver_sql(RENEW, {**at, "task": task}).rowcount]

    def release(self, claim: Claim, tasks: Sequence[str]) -> None:
        """Give leases back."""
        with self._database.write(durable=False) as c:
            person = admit(c, claim)
            for task in tasks if person.role != "guest" else ():  # what is set aside for somebody stays so
                c.exec_driver_sql("UPDATE lease SET until = 0 WHERE task = ? AND person = ?", (task, person.id))

    def item(self, claim: Claim, *, image: str = "", task: str = "") -> Item:
        """The image behind an opaque id (or a task), for who holds it or held it.

        Raises:
            Refused: It is unknown, or was never given to this person.
        """
        with self._database.read() as c:
            person = admit(c, claim)
            if person.blocked is not None:
                raise Refused(403, "blocked", person.blocked)
            return self._task(c, person, image or task, "image" if image else "task").request.item

    def _at(self, person: Person) -> dict[str, Any]:
        now = time.time()
        return {"me": person.id, "role": person.role, "now": now, "until": now + self._lease_s}

    def _lease(self, c: Connection, person: Person, at: dict[str, Any], skip: Sequence[int]) -> Task | Idle:
        row = c.exec_driver_sql(PICK.format(skip=",".join(map(str, [0, *skip]))), at).first()
        if row is None:
            if c.exec_driver_sql(f"SELECT 1 FROM request r WHERE {MAY_DO} LIMIT 1", at).first():
                return Idle("held")
            more = c.exec_driver_sql("SELECT 1 FROM request WHERE state = 'open' LIMIT 1").first()
            return Idle("others" if more else "none")
        request = Request.model_validate_json(row.body)
        task = self._tokens.opaque("task", request.id, person.id)
        image = self._tokens.opaque("image", task, request.item.id)
        lease = c.exec_driver_sql(ASSIGN, {**at, "number": row.number, "task": task, "image": image}).one()
        return Task(row.number, task, image, request, _load(lease.draft), lease.since)

    def _task(self, c: Connection, person: Person, value: str, key: Literal["task", "image"] = "task") -> Task:
        row = c.exec_driver_sql(TASK.format(key=key), {"value": value, "me": person.id}).first()
        if row is None:
            raise Refused(404, "unknown_task", "there is no such task, or it was never yours")
        request = Request.model_validate_json(row.body)
        return Task(row.number, row.task, row.image, request, _load(row.draft), row.since)

    def _take(self, c: Connection, person: Person, task: str, said: Said, payload: str | None) -> None:
        row = c.exec_driver_sql(STATE, {"task": task, "me": person.id}).one()
        if row.outcome is not None:
            if (row.outcome, row.payload) == (said.outcome, payload):
                return
            raise Refused(409, "already_answered", "you have answered this image already, in another way")
        if person.blocked is not None:
            raise Refused(403, "blocked", person.blocked)
        if row.state != "open":
            raise Refused(409, "too_late", "others have answered this image, or it is no longer wanted")
        declined = said.outcome == "declined"
        values = {
            "number": row.number,
            "me": person.id,
            "outcome": said.outcome,
            "payload": payload,
            "seconds": min(said.seconds, max(0.0, time.time() - row.since)),
            "price": 0 if declined else self._price,
            "at": timestamp(),
        }
        c.exec_driver_sql(ANSWER, values)
        c.exec_driver_sql("UPDATE lease SET until = 0, draft = NULL WHERE task = ?", (task,))
        closing.count_answer(c, row.number, declined)


def _dump(payload: Payload | None) -> str | None:
    if payload is None:
        return None
    try:
        return json.dumps(payload, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (ValueError, RecursionError):
        raise Refused(422, "bad_payload", "payload: not a number, or nested too deep") from None


def _load(draft: str | None) -> Any:
    return None if draft is None else json.loads(draft)
