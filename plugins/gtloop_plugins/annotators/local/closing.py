"""How requests end; every function is part of the caller's transaction, so that no answer is without its closure."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sqlalchemy import Connection

COUNT = """UPDATE request SET got = got + 1, state = CASE WHEN got + 1 >= want THEN 'complete' ELSE state END
    WHERE number = ? RETURNING id, got, declines, state"""
COUNT_DECLINED = "UPDATE request SET declines = declines + 1 WHERE number = ? RETURNING id, got, declines, state"
NOBODY_LEFT = """
    UPDATE request SET state = 'declined'
    WHERE state = 'open' AND declines > 0 AND got + declines >= want
    AND (CAST(:number AS INTEGER) IS NULL OR number = :number)
    AND NOT EXISTS (
        SELECT 1 FROM person p WHERE p.revoked = 0 AND p.blocked IS NULL
        AND (p.role = 'annotator' OR (p.role = 'reviewer' AND request.mode <> 'draw'))
        AND NOT EXISTS (SELECT 1 FROM answer a WHERE a.request = request.number AND a.worker = p.id)
        AND NOT EXISTS (SELECT 1 FROM excluded e WHERE e.request = request.number AND e.person = p.id))
    RETURNING id, got"""


def count_answer(c: Connection, number: int, declined: bool) -> None:
    """Count an answer that was just written, and end the request where it was the last."""
    query = COUNT_DECLINED if declined else COUNT
    row = c.exec_driver_sql(query, (number,)).one()
    if row.state == "complete":
        _note(c, [(row.id, row.got)], "complete")
    elif row.declines:
        close_declined(c, number)


def close_declined(c: Connection, number: int | None = None) -> None:
    """End a request (all where ``number`` is None) that somebody declined and that nobody is left to answer.

    At least as many people as were wanted have had their say. Owners are not waited for.
    """
    _note(c, c.exec_driver_sql(NOBODY_LEFT, {"number": number}), "declined")


def close_cancelled(c: Connection, request_id: str) -> None:
    """End a request that is withdrawn; one that has ended stays as it is."""
    query = "UPDATE request SET state = 'cancelled' WHERE id = ? AND state = 'open' RETURNING id, got"
    _note(c, c.exec_driver_sql(query, (request_id,)), "cancelled")


def close_expired(c: Connection) -> None:
    """End what is past its deadline."""
    query = """UPDATE request SET state = 'expired'
        WHERE state = 'open' AND deadline IS NOT NULL AND deadline <= ? RETURNING id, got"""
    _note(c, c.exec_driver_sql(query, (time.time(),)), "expired")


def _note(c: Connection, ended: Iterable[Any], reason: Literal["complete", "declined", "cancelled", "expired"]) -> None:
    for request_id, got in list(ended):
        c.exec_driver_sql(
            "INSERT INTO closure (request, delivered, reason) VALUES (?, ?, ?)", (request_id, got, reason)
        )
