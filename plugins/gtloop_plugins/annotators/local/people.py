"""Who may label: people with opaque ids, whose names live in one row that can be erased."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from gtloop_plugins.annotators.local.closing import close_declined
from gtloop_plugins.annotators.local.refused import Refused

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gtloop_plugins.annotators.local.database import Database
    from gtloop_plugins.annotators.local.tokens import Claim

Role = Literal["owner", "annotator", "reviewer", "guest"]
"""``guest``: of a crowd (``crowd``); sees the images of a shift, and no others."""
SEEN_EVERY_S = 15.0
"""How often it is written down that somebody was there."""

COLUMNS = "id, name, role, epoch, revoked, blocked, seen"


class Person(NamedTuple):
    """A row of table ``person``; ``seen`` in seconds since 1970, ``name`` empty where it was forgotten."""

    id: str
    name: str
    role: Role
    epoch: int
    revoked: bool
    blocked: str | None
    seen: float | None


class People:
    """The people of one desk."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def everybody(self) -> list[Person]:
        """All but those who were forgotten, in the order in which they came."""
        with self._database.read() as c:
            rows = c.exec_driver_sql(f"SELECT {COLUMNS} FROM person WHERE name <> '' ORDER BY created, id")
            return [Person(*row) for row in rows]

    def ensure(self, name: str, role: Role) -> Person:
        """The person of that name and role, made where there is none."""
        with self._database.write() as c:
            query = f"SELECT {COLUMNS} FROM person WHERE name = ? AND role = ?"
            row = c.exec_driver_sql(query, (name, role)).first()
            return Person(*row) if row else _create(c, name, role)

    def invite(self, name: str, role: Role) -> Person:
        """A new person.

        Raises:
            Refused: Somebody has that name.
        """
        with self._database.write() as c:
            if c.exec_driver_sql("SELECT 1 FROM person WHERE name = ?", (name,)).first():
                raise Refused(
                    409, "name_taken", "somebody has that name already; make a fresh link, or add to the name"
                )
            return _create(c, name, role)

    def relink(self, person: str) -> Person:
        """End all links and sessions of somebody, so that a new link can be given; it takes back a revocation.

        Raises:
            Refused: There is no such person.
        """
        return self._change(person, "epoch = epoch + 1, revoked = 0")

    def revoke(self, person: str) -> Person:
        """Keep somebody out from now on; what they hold goes to others.

        Raises:
            Refused: There is no such person, or it is an owner.
        """
        return self._change(person, "epoch = epoch + 1, revoked = 1", owners=False)

    def block(self, workers: Mapping[str, str]) -> None:
        """Give these people no more work; who is unknown here never had any."""
        with self._database.write() as c:
            for worker, why in workers.items():
                c.exec_driver_sql("UPDATE person SET blocked = ? WHERE id = ?", (why or "no reason given", worker))
                _release(c, worker)
            close_declined(c)

    def forget(self, worker: str) -> bool:
        """Erase a name, and what its links open; False where there is none."""
        with self._database.write() as c:
            erase = (
                "UPDATE person SET name = '', revoked = 1, epoch = epoch + 1, seen = NULL WHERE id = ? AND name <> ''"
            )
            if not c.exec_driver_sql(erase, (worker,)).rowcount:
                return False
            c.exec_driver_sql("UPDATE lease SET draft = NULL WHERE person = ?", (worker,))
            _release(c, worker)
            close_declined(c)
            return True

    def admitted(self, claim: Claim) -> Person:
        """Who holds a token.

        Raises:
            Refused: As ``admit``.
        """
        with self._database.read() as c:
            return admit(c, claim)

    def _change(self, person: str, what: str, owners: bool = True) -> Person:
        with self._database.write() as c:
            row = c.exec_driver_sql(f"SELECT {COLUMNS} FROM person WHERE id = ? AND name <> ''", (person,)).first()
            if row is None:
                raise Refused(404, "unknown_person", "there is no such person")
            if row.role == "owner" and not owners:
                raise Refused(409, "owner", "an owner stays; a fresh link ends the old one")
            c.exec_driver_sql(f"UPDATE person SET {what} WHERE id = ?", (person,))
            changed = Person(*c.exec_driver_sql(f"SELECT {COLUMNS} FROM person WHERE id = ?", (person,)).one())
            if changed.revoked:
                _release(c, person)
                close_declined(c)
            return changed


def admit(c: Connection, claim: Claim) -> Person:
    """Who holds a token, where it still counts.

    Raises:
        Refused: They were kept out since, or have a newer link.
    """
    row = c.exec_driver_sql(f"SELECT {COLUMNS} FROM person WHERE id = ?", (claim.person,)).first()
    if row is None or row.revoked or row.epoch != claim.epoch:
        raise Refused(401, "signed_out", "this link is no longer valid; ask for a new one")
    return Person(*row)


def notice(c: Connection, person: Person) -> None:
    """Write down that somebody is there."""
    now = time.time()
    if person.seen is None or now - person.seen > SEEN_EVERY_S:
        c.exec_driver_sql("UPDATE person SET seen = ? WHERE id = ?", (now, person.id))


def _create(c: Connection, name: str, role: Role) -> Person:
    person = Person(f"w-{secrets.token_hex(4)}", name, role, 0, False, None, None)
    c.exec_driver_sql(
        "INSERT INTO person (id, name, role, created) VALUES (?, ?, ?, ?)", (person.id, name, role, time.time())
    )
    return person


def _release(c: Connection, person: str) -> None:
    c.exec_driver_sql("UPDATE lease SET until = 0 WHERE person = ? AND until > 0", (person,))
