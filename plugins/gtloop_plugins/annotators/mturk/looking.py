"""Looking for answers beside the driver: at a few calls a second a look may take minutes, and nobody waits for it."""

from __future__ import annotations

from gtloop.interfaces import Context
from gtloop_plugins.annotators.mturk.books import Books
from gtloop_plugins.annotators.mturk.collecting import Collecting
from gtloop_plugins.annotators.mturk.options import MturkOptions
from gtloop_plugins.annotators.mturk.people import Gate
from gtloop_plugins.annotators.mturk.posting import Posting
from gtloop_plugins.annotators.mturk.service import Service
from gtloop_plugins.annotators.mturk.settling import Settling


class Parts:
    """The parts of an annotator, on books that one thread uses."""

    def __init__(self, options: MturkOptions, context: Context, service: Service) -> None:
        self.books = Books(context.workdir)
        gate = Gate(service, self.books)
        self.gate, self.posting = gate, Posting(options, context, service, self.books, gate)
        self.settling = Settling(service, self.books)
        self.collecting = Collecting(options.assignment_minutes * 60, context, service, self.books)

    def look(self) -> None:
        """Bring the books up to date, then hand over what that has brought, all at once."""
        self.posting.find_withdrawn()
        self.settling.expire()
        self.settling.pay_uncounted()
        self.collecting.look()
        self.posting.post_waiting()
        self.collecting.peek()
        self.books.hand_over()
