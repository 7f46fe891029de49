"""People from outside: a crowd whose members come without a personal link, work a shift, and are sent back.

A plugin that recruits people elsewhere and lets them label at this page subclasses ``Local`` and gives it a ``Crowd``.
Whoever opens ``/arrive`` is asked for by its ``arrive``, becomes a person of role ``guest``, and gets the images of one
shift, which nobody else gets meanwhile (``shifts``); then the page shows the ``farewell``. What a guest declines counts
as asked: it was paid for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from gtloop_plugins.annotators.local.shifts import Shift

PATH = "/arrive"


class Arrival(NamedTuple):
    """Somebody who comes in.

    Attributes:
        name: Who it is elsewhere; the same name is the same person. It stays in one row, which can be erased.
        shift: Id of what they come for; coming again with it goes on where they were.
        images: How many images they get; with fewer to give, they are turned away.
        lasts_s: Seconds for which the images are kept for them.
        note: For the crowd itself; handed back with the shift.
        greeting: What they read before they start, one or two sentences.
    """

    name: str
    shift: str
    images: int
    lasts_s: float
    note: str = ""
    greeting: str = ""


class Farewell(NamedTuple):
    """What somebody sees at the end: a text, a code to hand in, and where to go back to."""

    text: str
    code: str = ""
    url: str = ""
    label: str = "Go back"


class Crowd(Protocol):
    """Where they come from. Called by the page, in any thread."""

    def arrive(self, query: Mapping[str, str]) -> Arrival:
        """Who comes, by the query of ``/arrive``.

        Raises:
            Refused: Nobody whom this run waits for; the text says what to do.
        """
        ...

    def admits(self, person: str) -> bool:
        """Whether somebody may begin another shift."""
        ...

    def farewell(self, note: str, shift: Shift | None) -> Farewell:
        """The end of a shift (``left``: what time ran out for); None: there was no work, they are turned away."""
        ...
