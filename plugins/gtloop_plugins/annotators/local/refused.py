"""Why the desk does not do what somebody asks."""

from __future__ import annotations


class Refused(Exception):
    """A refusal, as HTTP says it; the text is one line for the person at the page.

    Attributes:
        status: HTTP status, 4xx.
        code: The same for programs.
    """

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status, self.code = status, code
