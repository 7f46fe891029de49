"""Posting and looking beside the driver: uploads take minutes, and nobody waits for them."""

from __future__ import annotations

from gtloop.errors import GtloopError
from gtloop.interfaces import Context

from gtloop_cvat.books import Books
from gtloop_cvat.collecting import Collecting
from gtloop_cvat.convert import Converter
from gtloop_cvat.options import CvatOptions
from gtloop_cvat.posting import Posting
from gtloop_cvat.server import Server


class Parts:
    """The parts of an annotator, on books that one thread uses."""

    def __init__(self, options: CvatOptions, context: Context) -> None:
        if context.form is None:
            raise GtloopError("annotator 'cvat' has no form to show; use it in a run that has a task")
        self.books, self.server = Books(context.workdir), Server(options)
        converter = Converter(context.form, options.cannot_tell)
        self.posting = Posting(options, self.server, self.books, converter)
        self.collecting = Collecting(self.server, self.books, converter)

    def look(self) -> None:
        """Take in what is done, tell it, then ask for what is lacking."""
        self.collecting.look()
        self.collecting.close()
        self.posting.withdraw()  # before anybody hears that all is over, and looks no more
        self.books.hand_over()
        self.posting.plan()
        self.posting.post()
